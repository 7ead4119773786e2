"""Pods and hashes out of pod templates. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from wherry.kube.objects import OwnerReference
from wherry.workloads.kinds import Template

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""Characters that names are made of at random: no vowels, so no words, and nothing that looks alike."""

_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193


def _fnv32a(data: bytes) -> int:
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def template_hash(template: Template, collision_count: int | None = None) -> str:
    """A short name for a template: equal templates have equal hashes, a collision count makes another one."""
    data = msgspec.json.encode(normal(template), order="sorted")
    if collision_count is not None:
        data += str(collision_count).encode()
    return "".join(_SAFE[ord(digit) % len(_SAFE)] for digit in str(_fnv32a(data)))


def normal(template: Template, *, without: Iterable[str] = ()) -> Template:
    """A template without nulls, without the creation time that old clients send, and without some labels."""
    plain: Template = _without_nulls(template)
    meta = {key: value for key, value in plain.get("metadata", {}).items() if key != "creationTimestamp"}
    dropped = frozenset(without)
    labels = {key: value for key, value in meta.pop("labels", {}).items() if key not in dropped}
    if labels:
        meta["labels"] = labels
    return {**plain, "metadata": meta}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def same_template(one: Template, other: Template, *, without: Iterable[str] = ()) -> bool:
    """Whether two templates make the same pods, leaving some labels out of account."""
    return normal(one, without=without) == normal(other, without=without)


def labels(template: Template) -> dict[str, str]:
    """The labels of the pods that a template makes."""
    return (template.get("metadata") or {}).get("labels") or {}


def with_labels(template: Template, extra: Mapping[str, str]) -> Template:
    """A copy of a template with more labels."""
    changed = copy.deepcopy(template)
    meta = changed["metadata"] = changed.get("metadata") or {}
    meta["labels"] = {**(meta.get("labels") or {}), **extra}
    return changed


def plain(value: Any) -> Any:
    """A struct as plain data."""
    return msgspec.to_builtins(value)


def pod_of(template: Template, *, owner: OwnerReference, namespace: str, prefix: str, name: str = "") -> dict[str, Any]:
    """A pod as the template says, owned by ``owner``; without a ``name`` the server makes one from ``prefix``."""
    meta = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "generateName": prefix,
        "namespace": namespace,
        "ownerReferences": [plain(owner)],
    }
    if name:
        metadata["name"] = name
    for field in ("labels", "annotations", "finalizers"):
        if value := meta.get(field):
            metadata[field] = copy.copy(value)
    return {"metadata": metadata, "spec": copy.deepcopy(template.get("spec") or {})}


def name_prefix(name: str) -> str:
    """What generated names start with; cut so that the server can add its five characters."""
    return f"{name}-"
