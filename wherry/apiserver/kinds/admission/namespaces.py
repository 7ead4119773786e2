"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away, and some may never go."""

from __future__ import annotations

from wherry.apiserver.kinds.model import Context, Object, Resource, refuse_forbidden, refuse_not_found

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


def check_namespace(resource: Resource, obj: Object, ctx: Context) -> None:
    """Refuse a creation where the namespace does not exist or is terminating."""
    metadata = obj.get("metadata") or {}
    namespace = metadata.get("namespace", "")
    found = ctx.get("", "namespaces", "", namespace)
    if found is None:
        raise refuse_not_found("", "namespaces", namespace)
    if (found.get("status") or {}).get("phase") == "Terminating" or "deletionTimestamp" in found["metadata"]:
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        text = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise resource.refuse(metadata.get("name", ""), text, [cause])


def check_deletion(obj: Object, ctx: Context) -> None:
    """Refuse the deletion of the namespaces that every cluster has."""
    name = obj["metadata"]["name"]
    if name in IMMORTAL:
        raise refuse_forbidden("", "namespaces", name, "this namespace may not be deleted")
