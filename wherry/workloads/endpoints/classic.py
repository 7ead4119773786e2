"""Classic ``Endpoints``, both ways. Pure.

For a service with a selector an Endpoints object is made beside its slices, for clients that have not moved on; for a
service without one, Endpoints written by hand are mirrored into slices, which is what carries traffic
(KEP-752, https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#mirroring).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from wherry.kube.objects import Endpoint, EndpointConditions, EndpointPort, Node, ObjectReference, Pod, Service
from wherry.kube.objects.network import SERVICE_NAME_LABEL
from wherry.workloads import templates
from wherry.workloads.endpoints.compile import HEADLESS, MANAGED_BY, Head
from wherry.workloads.endpoints.model import Group, Ports, counts, families, family_of, ports_of
from wherry.workloads.kinds import ENDPOINTS, Endpoints, controller_reference

CLASSIC_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CLASSIC_MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
MIRROR = "endpointslicemirroring-controller.k8s.io"

MAX_ADDRESSES = 1000
"""Addresses in one Endpoints object, and of one mirrored subset; what is more is left out."""


def wanted_endpoints(service: Service, pods: Iterable[Pod], nodes: Mapping[str, Node]) -> dict[str, Any]:
    """``metadata.labels``, ``metadata.annotations`` and ``subsets`` of a service's Endpoints, as plain data."""
    usable = sorted((pod for pod in pods if counts(pod)), key=lambda pod: pod.name)
    family = next(iter(families(service, usable)), "IPv4")
    publish = service.spec.publish_not_ready_addresses
    found: dict[Ports, dict[str, list[dict[str, Any]]]] = {}
    total = 0
    for pod in usable:
        address = next((each.ip for each in pod.status.pod_ips if family_of(each.ip) == family), None)
        if address is None or (pod.deleting and not publish) or (pod.spec.node_name not in nodes and not publish):
            continue
        total += 1
        if total > MAX_ADDRESSES:
            continue
        kind = "addresses" if publish or pod.ready else "notReadyAddresses"
        found.setdefault(ports_of(service, pod), {}).setdefault(kind, []).append(_address(service, pod, address))
    own = {key: value for key, value in service.labels.items() if key != HEADLESS}
    labels = own | {CLASSIC_MANAGED_BY: CLASSIC_MANAGER} | ({HEADLESS: ""} if service.headless else {})
    return {
        "metadata": {
            "labels": labels,
            "annotations": {OVER_CAPACITY: "truncated"} if total > MAX_ADDRESSES else {},
        },
        "subsets": [
            {**addresses, **({"ports": [_port(each) for each in ports]} if ports else {})}
            for ports, addresses in found.items()
        ],
    }


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
    return Head(
        prefix=templates.name_prefix(endpoints.name),
        namespace=endpoints.namespace,
        labels=own | {SERVICE_NAME_LABEL: endpoints.name, MANAGED_BY: MIRROR},
        owner=controller_reference(ENDPOINTS, endpoints),
    )


def mirror_groups(endpoints: Endpoints) -> list[Group]:
    """The subsets of Endpoints as groups of one family and one set of ports."""
    found: dict[tuple[str, Ports], Group] = {}
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
        for kind, ready in (("addresses", True), ("notReadyAddresses", False)):
            for each in (subset.get(kind) or ())[:MAX_ADDRESSES]:
                family = family_of(each["ip"])
                group = found.setdefault((family, ports), Group(family, ports))
                group.endpoints.append(_mirrored_endpoint(each, ready=ready))
    return [*found.values()]


def _mirrored_endpoint(address: dict[str, Any], *, ready: bool) -> Endpoint:
    target = address.get("targetRef")
    return Endpoint(
        addresses=(address["ip"],),
        conditions=EndpointConditions(ready=ready, serving=ready, terminating=False),
        hostname=address.get("hostname") or None,
        node_name=address.get("nodeName") or None,
        target_ref=msgspec.convert(target, ObjectReference) if target else None,
    )
