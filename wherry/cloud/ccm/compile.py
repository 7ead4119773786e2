"""What a cloud controller makes of a node: pure functions from the node's object to what it should say.

Follows K3s' provider (pkg/cloudprovider) and the node controller around it (k8s.io/cloud-provider, controllers/node),
except that addresses are compared as ordered lists: comparing them by type alone takes every dual-stack node for
changed, every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import msgspec

from wherry.cloud.ccm import names
from wherry.kube.objects import Node
from wherry.kube.objects.cluster import NodeAddress
from wherry.net.types import IPAddress

INTERNAL_IP, EXTERNAL_IP = "InternalIP", "ExternalIP"
INTERNAL_DNS, EXTERNAL_DNS = "InternalDNS", "ExternalDNS"
HOSTNAME = "Hostname"


class NotYet(Exception):
    """The node's agent has not said what is needed."""


class WrongNodeIP(Exception):
    """The address that the kubelet was told is none of the node's."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the provider knows of a node; empty texts are unknown."""

    provider_id: str
    instance_type: str
    zone: str
    region: str
    addresses: tuple[NodeAddress, ...]


def tainted(node: Node) -> bool:
    """Whether the node waits for a cloud controller."""
    return any(taint.key == names.UNINITIALIZED for taint in node.spec.taints)


def metadata_of(node: Node) -> Metadata:
    """Return what is known of the node. Raises NotYet where its agent has not written its addresses."""
    notes, labels = node.metadata.annotations, node.labels
    internal = _listed(notes.get(names.INTERNAL_IP) or labels.get(names.INTERNAL_IP, ""))
    if not internal:
        raise NotYet(f"address annotations not yet set: {names.INTERNAL_IP} is missing")
    lists = (
        (INTERNAL_IP, internal),
        (EXTERNAL_IP, _listed(notes.get(names.EXTERNAL_IP) or labels.get(names.EXTERNAL_IP, ""))),
        (INTERNAL_DNS, _listed(notes.get(names.INTERNAL_DNS, ""))),
        (EXTERNAL_DNS, _listed(notes.get(names.EXTERNAL_DNS, ""))),
        (HOSTNAME, _listed(notes.get(names.HOSTNAME) or labels.get(names.HOSTNAME, ""))[:1]),
    )
    return Metadata(
        provider_id=node.spec.provider_id or f"{names.PROVIDER}://{node.name}",
        instance_type=labels.get(names.INSTANCE_TYPE) or names.PROVIDER,
        zone=labels.get(names.ZONE, ""),
        region=labels.get(names.REGION, ""),
        # The API refuses an address given twice.
        addresses=tuple(dict.fromkeys(NodeAddress(type=kind, address=text) for kind, texts in lists for text in texts)),
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def addresses_of(node: Node, metadata: Metadata) -> tuple[NodeAddress, ...]:
    """Return the addresses the node's status should list, in their order.

    What the kubelet was told as its own comes first, and other addresses of the same type are left out; a host name
    that the provider does not know stays as reported. Raises WrongNodeIP.
    """
    found = metadata.addresses
    provided = node.metadata.annotations.get(names.PROVIDED_NODE_IP, "")
    if provided:
        found = _enforced(node.name, provided, found)
    if not any(address.type == HOSTNAME for address in found):
        found += tuple(address for address in node.status.addresses if address.type == HOSTNAME)[:1]
    return found


def _enforced(node: str, provided: str, known: tuple[NodeAddress, ...]) -> tuple[NodeAddress, ...]:
    first: list[NodeAddress] = []
    for text in _listed(provided):
        try:
            wanted = ip_address(text)
        except ValueError as error:
            raise WrongNodeIP(
                f'provided node ip for node "{node}" is not valid: failed to parse node IP "{provided}": {error}'
            ) from error
        matching = [address for address in known if _ip(address.address) == wanted]
        if not matching:
            raise WrongNodeIP(
                f'provided node ip for node "{node}" is not valid: '
                f"failed to get node address from cloud provider that matches ip: {wanted}"
            )
        first += matching
    types = {address.type for address in first}
    return tuple(dict.fromkeys((*first, *(address for address in known if address.type not in types))))


def _ip(text: str) -> IPAddress | None:
    try:
        return ip_address(text)
    except ValueError:  # A DNS name, which is no address.
        return None


def initialisation(node: Node, metadata: Metadata) -> dict[str, Any]:
    """Return the merge patch that makes a tainted node known: metadata, and with it in one write the taint gone."""
    labels = {names.INSTANCE_TYPE_BETA: metadata.instance_type, names.INSTANCE_TYPE: metadata.instance_type}
    if metadata.zone:
        labels |= {names.ZONE_BETA: metadata.zone, names.ZONE: metadata.zone}
    if metadata.region:
        labels |= {names.REGION_BETA: metadata.region, names.REGION: metadata.region}
    left = [msgspec.to_builtins(taint) for taint in node.spec.taints if taint.key != names.UNINITIALIZED]
    return {
        # A patch replaces the list of taints, to which others write too.
        "metadata": {"uid": node.uid, "resourceVersion": node.metadata.resource_version, "labels": labels},
        "spec": {"providerID": metadata.provider_id, "taints": left or None},
    }


def label_copies(labels: dict[str, str]) -> dict[str, str]:
    """Return the stable labels that must be set because their beta form, where there is one, says otherwise."""
    pairs = (
        (names.ZONE_BETA, names.ZONE),
        (names.REGION_BETA, names.REGION),
        (names.INSTANCE_TYPE_BETA, names.INSTANCE_TYPE),
    )
    return {stable: labels[beta] for beta, stable in pairs if beta in labels and labels.get(stable) != labels[beta]}
