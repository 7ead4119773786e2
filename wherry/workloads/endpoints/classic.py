"""Classic ``Endpoints``, both ways. Pure.

For a service with a selector an Endpoints object is made beside its slices, for clients that have not moved on; for a
service without one, Endpoints written by hand are mirrored into slices, which is what carries traffic
(KEP-752, https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#mirroring).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.kube.objects import Endpoint, EndpointConditions, EndpointPort, Node, ObjectReference, Pod, Service
from wherry.kube.objects.network import SERVICE_NAME_LABEL
from wherry.workloads import templates
from wherry.workloads.endpoints.compile import HEADLESS, MANAGED_BY, Head
from wherry.workloads.endpoints.model import Group, Ports, counts, families, family_of, ports_of
from wherry.workloads.endpoints.trigger import ANNOTATION
from wherry.workloads.kinds import ENDPOINTS, Endpoints, controller_reference

CLASSIC_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CLASSIC_MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
MIRROR = "endpointslicemirroring-controller.k8s.io"

_NOT_MIRRORED = ("kubectl.kubernetes.io/last-applied-configuration", ANNOTATION)

MAX_ADDRESSES = 1000
"""Addresses in one Endpoints object, and of one mirrored subset; what is more is left out."""


def wanted_endpoints(service: Service, pods: Iterable[Pod], nodes: Mapping[str, Node]) -> dict[str, Any]:
    """``metadata.labels``, ``metadata.annotations`` and ``subsets`` of a service's Endpoints, as plain data."""
    usable = sorted((pod for pod in pods if counts(pod)), key=lambda pod: pod.name)
    family = next(iter(families(service, usable)), "IPv4")
    publish = service.spec.publish_not_ready_addresses
    found: dict[Ports, dict[str, list[dict[str, Any]]]] = {}
    for pod in usable:
        address = next((each.ip for each in pod.status.pod_ips if family_of(each.ip) == family), None)
        if address is None or (pod.deleting and not publish) or (pod.spec.node_name not in nodes and not publish):
            continue
        ports = ports_of(service, pod)
        if service.spec.ports and not ports:
            # The pod has none of the named ports: unlike in a slice there is nothing to say of it.
            continue
        kind = "addresses" if publish or pod.ready else "notReadyAddresses"
        found.setdefault(ports, {}).setdefault(kind, []).append(_address(service, pod, address))
    truncated = _truncate([*found.values()])
    own = {key: value for key, value in service.labels.items() if key != HEADLESS}
    labels = own | {CLASSIC_MANAGED_BY: CLASSIC_MANAGER} | ({HEADLESS: ""} if service.headless else {})
    return {
        "metadata": {
            "labels": labels,
            "annotations": {OVER_CAPACITY: "truncated"} if truncated else {},
        },
        "subsets": [
            {**addresses, **({"ports": [_port(each) for each in ports]} if ports else {})}
            for ports, addresses in found.items()
            if addresses
        ],
    }


def _truncate(subsets: list[dict[str, list[dict[str, Any]]]]) -> bool:
    """Cut subsets to the most that one object may hold, those that are not ready first; whether there was a need.

    What has to go is shared among the subsets in proportion to their sizes.
    """
    room = MAX_ADDRESSES
    if sum(len(addresses) for subset in subsets for addresses in subset.values()) <= room:
        return False
    for kind in ("addresses", "notReadyAddresses"):
        sizes = [len(subset.get(kind, ())) for subset in subsets]
        whole = sum(sizes)
        if whole > room:
            kept = [size * room // whole for size in sizes]
            # Rounding down leaves fewer places than there are subsets that were cut.
            for at in [at for at, size in enumerate(sizes) if size > kept[at]][: room - sum(kept)]:
                kept[at] += 1
            for subset, number in zip(subsets, kept, strict=True):
                if kind in subset:
                    subset[kind] = subset[kind][:number]
                    if not number:
                        del subset[kind]
            whole = room
        room -= whole
    return True


def _address(service: Service, pod: Pod, address: str) -> dict[str, Any]:
    named = pod.spec.hostname and pod.spec.subdomain == service.name
    return {
        "ip": address,
        **({"hostname": pod.spec.hostname} if named else {}),
        **({"nodeName": pod.spec.node_name} if pod.spec.node_name else {}),
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
    }


def _port(port: EndpointPort) -> dict[str, Any]:
    plain: dict[str, Any] = templates.plain(port)
    return {key: value for key, value in plain.items() if value}


def difference(present: Endpoints, wanted: dict[str, Any]) -> dict[str, Any]:
    """The merge patch that makes Endpoints what is wanted; empty when they are."""
    patch: dict[str, Any] = {}
    if list(present.subsets) != wanted["subsets"]:
        patch["subsets"] = wanted["subsets"] or None
    labels, annotations = wanted["metadata"]["labels"], wanted["metadata"]["annotations"]
    meta: dict[str, Any] = {}
    if present.labels != labels:
        meta["labels"] = {key: None for key in present.labels if key not in labels} | labels
    if present.metadata.annotations.get(OVER_CAPACITY) != annotations.get(OVER_CAPACITY):
        meta["annotations"] = {OVER_CAPACITY: annotations.get(OVER_CAPACITY)}
    return patch | ({"metadata": meta} if meta else {})


def mirrored(endpoints: Endpoints) -> bool:
    """Whether Endpoints are of the kind that is mirrored: written by hand and not opted out."""
    return (
        endpoints.labels.get(CLASSIC_MANAGED_BY) != CLASSIC_MANAGER
        and endpoints.labels.get(SKIP_MIRROR) != "true"
        and "control-plane.alpha.kubernetes.io/leader" not in endpoints.metadata.annotations
    )


def mirror_head(endpoints: Endpoints) -> Head:
    """What the mirrored slices have in common."""
    own = {key: value for key, value in endpoints.labels.items() if key not in (MANAGED_BY, SERVICE_NAME_LABEL)}
    notes = endpoints.metadata.annotations
    return Head(
        prefix=templates.name_prefix(endpoints.name),
        namespace=endpoints.namespace,
        labels=own | {SERVICE_NAME_LABEL: endpoints.name, MANAGED_BY: MIRROR},
        owner=controller_reference(ENDPOINTS, endpoints),
        annotations={key: value for key, value in notes.items() if key not in _NOT_MIRRORED},
        capacity=MAX_ADDRESSES,
    )


@dataclass(slots=True)
class Mirrored:
    """The subsets of Endpoints as groups of one family and one set of ports, and how many addresses were left out."""

    groups: list[Group]
    invalid: int = 0
    """Addresses that are none, such as host names."""
    skipped: int = 0
    """Addresses beyond what is mirrored of one subset."""


def mirror_groups(endpoints: Endpoints) -> Mirrored:
    """What to mirror of Endpoints."""
    found: dict[tuple[str, Ports], Group] = {}
    result = Mirrored([])
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointPort(
                name=each.get("name") or "",
                protocol=each.get("protocol") or "TCP",
                port=each.get("port"),
                app_protocol=each.get("appProtocol"),
            )
            for each in subset.get("ports") or ()
        )
        taken = 0
        for kind, ready in (("addresses", True), ("notReadyAddresses", False)):
            for each in subset.get(kind) or ():
                if taken >= MAX_ADDRESSES:
                    result.skipped += 1
                    continue
                try:
                    family = family_of(each.get("ip") or "")
                except ValueError:
                    result.invalid += 1
                    continue
                taken += 1
                group = found.setdefault((family, ports), Group(family, ports))
                group.endpoints.append(_mirrored_endpoint(each, ready=ready))
    result.groups = [*found.values()]
    return result


def _mirrored_endpoint(address: dict[str, Any], *, ready: bool) -> Endpoint:
    target = address.get("targetRef")
    return Endpoint(
        addresses=(address["ip"],),
        conditions=EndpointConditions(ready=ready),
        hostname=address.get("hostname") or None,
        node_name=address.get("nodeName") or None,
        target_ref=msgspec.convert(target, ObjectReference) if target else None,
    )
