"""Admission of a request: the checks that all kinds share, then the row's own."""

from __future__ import annotations

from wherry.apiserver.kinds.admission.namespaces import check_namespace
from wherry.apiserver.kinds.model import Context, Object, Resource


def create(resource: Resource, obj: Object, ctx: Context) -> None:
    """Change and check a defaulted object before its creation; raises Refusal."""
    obj.setdefault("metadata", {})
    if resource.namespaced:
        check_namespace(resource, obj, ctx)
    resource.admit_create(obj, ctx)


def check_create(resource: Resource, obj: Object, ctx: Context) -> None:
    """Check the valid object, which has its name by now, before its creation; raises Refusal."""
    resource.check_create(obj, ctx)


def update(resource: Resource, new: Object, old: Object, ctx: Context) -> None:
    """Change and check a defaulted new version (of the object, not of a subresource); raises Refusal."""
    resource.admit_update(new, old, ctx)


def delete(resource: Resource, obj: Object, ctx: Context) -> None:
    """Check a deletion; raises Refusal."""
    resource.admit_delete(obj, ctx)
