"""Nodes as agents register them, for tests of the cloud controller."""

from __future__ import annotations

from wherry.cloud.ccm import names
from wherry.kube.objects import Node, ObjectMeta
from wherry.kube.objects.cluster import NodeAddress, NodeSpec, NodeStatus, Taint

TAINT = Taint(key=names.UNINITIALIZED, value="true", effect="NoSchedule")


def node(
    name: str = "n1",
    *,
    said: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    taints: tuple[Taint, ...] = (TAINT,),
    provider_id: str = "",
    addresses: tuple[tuple[str, str], ...] = (),
) -> Node:
    """A node; ``said`` are its annotations."""
    return Node(
        metadata=ObjectMeta(name=name, annotations=said or {}, labels=labels or {}),
        spec=NodeSpec(taints=taints, provider_id=provider_id),
        status=NodeStatus(addresses=tuple(NodeAddress(type=kind, address=text) for kind, text in addresses)),
    )


def listed(addresses: tuple[NodeAddress, ...]) -> list[tuple[str, str]]:
    """Addresses as pairs."""
    return [(address.type, address.address) for address in addresses]
