"""Patches: JSON patch, JSON merge patch and strategic merge patch of one object, with the answers Kubernetes gives."""

from wherry.apiserver.patch.apply_patch import (
    APPLY,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Patched,
    apply_patch,
)

__all__ = ["APPLY", "JSON_PATCH", "MERGE_PATCH", "STRATEGIC_MERGE_PATCH", "Patched", "apply_patch"]
