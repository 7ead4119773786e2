"""All built-in rows, in the order of discovery."""

from __future__ import annotations

from wherry.apiserver.kinds.core.pods import BINDINGS, PODS
from wherry.apiserver.kinds.model import Resource
from wherry.apiserver.kinds.services.row import SERVICES


def builtin_resources() -> tuple[Resource, ...]:
    """Every built-in kind, each once."""
    return (BINDINGS, PODS, SERVICES)
