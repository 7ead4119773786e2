"""Checks of a write that depend on who writes: RBAC escalation, and what a node may touch.

A node's credentials reach only that node: its own Node and Lease, pods bound to it and tokens for those pods
(https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction).
"""

from __future__ import annotations

from collections.abc import Callable

from wherry.apiserver.authz.escalation import BINDINGS, ROLES, check_binding, check_role
from wherry.apiserver.authz.rbac import GROUP
from wherry.apiserver.authz.rules import Attributes
from wherry.apiserver.core import Call
from wherry.apiserver.kinds.model import Object, Refusal, User

NODES_GROUP = "system:nodes"
_NODE_PREFIX = "system:node:"
_RESTRICTED_LABELS = "node-restriction.kubernetes.io/"
_CERTIFICATES = "certificates.k8s.io"
_LOCAL_NODE = "local.path.provisioner/selected-node"

_Guard = Callable[[Call, str, Object, Object | None], None]


def node_of(user: User) -> str:
    """The node whose credentials these are, or nothing."""
    if NODES_GROUP in user.groups and user.name.startswith(_NODE_PREFIX):
        return user.name.removeprefix(_NODE_PREFIX)
    return ""


def guard_write(call: Call, new: Object, old: Object | None) -> None:
    """Raises Refusal where the caller may not write this object, although the kind is allowed."""
    row = call.served.resource
    if row.group == GROUP:
        namespace = call.route.namespace
        if row.plural in ROLES:
            check_role(call.core.rbac, call.identity, row.plural, namespace, new, old)
        elif row.plural in BINDINGS:
            check_binding(call.core.rbac, call.identity, row.plural, namespace, new, old)
    if row.group == _CERTIFICATES and old is not None:
        _guard_signing_request(call, new, old)
    node = node_of(call.identity)
    if node:
        guard = _NODE_GUARDS.get((row.group, row.plural))
        if guard is not None:
            guard(call, node, new, old)


def _guard_signing_request(call: Call, new: Object, old: Object) -> None:
    """Who approves or signs needs that right for the signer (CertificateApproval and CertificateSigning admission)."""
    part = call.route.subresource
    if part == "approval":
        verb = "approve"
    elif part == "status" and new.get("status") != old.get("status"):
        verb = "sign"
    else:
        return
    signer = str(old["spec"].get("signerName", ""))
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        asked = Attributes(verb, _CERTIFICATES, "signers", name=name)
        if call.core.rbac.decide(call.identity, asked)[0]:
            return
    name = call.route.name
    raise _refused(call, name, f'user not permitted to {verb} requests with signerName "{signer}"')


def guard_delete(call: Call, old: Object) -> None:
    """Raises Refusal where the caller may not delete this object, although the kind is allowed."""
    node = node_of(call.identity)
    row = call.served.resource
    guard = _NODE_GUARDS.get((row.group, row.plural)) if node else None
    if guard is not None:
        guard(call, node, old, old)


def guard_token(call: Call, bound: Object | None) -> None:
    """Raises Refusal where a node asks for a token that is not for a pod of its own."""
    node = node_of(call.identity)
    if not node:
        return
    pod = None
    if bound is not None and bound.get("kind") == "Pod":
        entry = call.core.registry.bucket("", "pods").head(f"{call.route.namespace}/{bound.get('name', '')}")
        pod = entry.object() if entry is not None else None
    if pod is None or pod.get("spec", {}).get("nodeName") != node:
        raise _refused(call, call.route.name, f"node {node} can only request tokens bound to pods scheduled on itself")


def _refused(call: Call, name: str, text: str) -> Refusal:
    return call.served.resource.refuse(name, text)


def _name(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


def _guard_node(call: Call, node: str, new: Object, old: Object | None) -> None:
    name = _name(new)
    if name != node:
        raise _refused(call, name, f"node {node} is not allowed to modify node {name}")
    before = (old["metadata"].get("labels") or {}) if old is not None else {}
    for key, value in (new["metadata"].get("labels") or {}).items():
        if key.partition("/")[0].endswith(_RESTRICTED_LABELS[:-1]) and before.get(key) != value:
            raise _refused(call, name, f"is not allowed to modify labels: {key}")


def _guard_pod(call: Call, node: str, new: Object, old: Object | None) -> None:
    there = old if old is not None else new
    if there.get("spec", {}).get("nodeName") != node:
        text = f"node {node} can only update pod status for pods with spec.nodeName set to itself"
        raise _refused(call, _name(there), text)


def _guard_lease(call: Call, node: str, new: Object, old: Object | None) -> None:
    if call.route.namespace == "kube-node-lease" and _name(new) != node:
        raise _refused(call, _name(new), "can only access node lease with the same name as the requesting node")


def _guard_volume(call: Call, node: str, new: Object, old: Object | None) -> None:
    """A node lets go of local volumes of its own disk, and changes nothing else of them."""
    there = old if old is not None else new
    annotations = there["metadata"].get("annotations") or {}
    if annotations.get(_LOCAL_NODE) != node:
        raise _refused(call, _name(there), f"node {node} can only update volumes of its own disk")
    if new.get("spec") != there.get("spec"):
        raise _refused(call, _name(there), f"node {node} can only update the metadata of volumes")


_NODE_GUARDS: dict[tuple[str, str], _Guard] = {
    ("", "nodes"): _guard_node,
    ("", "pods"): _guard_pod,
    ("", "persistentvolumes"): _guard_volume,
    ("coordination.k8s.io", "leases"): _guard_lease,
}
