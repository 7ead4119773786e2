"""From wanted endpoints and present slices to the fewest writes. Pure.

An endpoint stays in the slice it is in. New ones fill slices that are written anyway, then others with room; a slice
that would end empty is used for a new one of its family before anything is created or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.kube.kinds import SERVICES
from wherry.kube.objects import Endpoint, EndpointPort, EndpointSlice, Node, OwnerReference, Pod, Service
from wherry.kube.objects.network import SERVICE_NAME_LABEL
from wherry.workloads import templates
from wherry.workloads.endpoints.model import Group, Ports, families, groups
from wherry.workloads.kinds import controller_reference

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"

MAX_ENDPOINTS = 100
"""Endpoints per slice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Slices to create (plain data), to change (with the fields to set) and to delete."""

    create: tuple[dict[str, Any], ...] = ()
    update: tuple[tuple[EndpointSlice, dict[str, Any]], ...] = ()
    delete: tuple[EndpointSlice, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """What all slices of one service have in common; names are made from ``prefix``."""

    prefix: str
    namespace: str
    labels: dict[str, str]
    owner: OwnerReference


@dataclass(slots=True)
class _Draft:
    """A slice as it shall be; ``slice`` is what is there, if anything."""

    family: str
    ports: Ports
    slice: EndpointSlice | None = None
    endpoints: list[Endpoint] = field(default_factory=list)
    dirty: bool = False

    @property
    def room(self) -> int:
        return MAX_ENDPOINTS - len(self.endpoints)


def labels_of(service: Service) -> dict[str, str]:
    """The labels of a service's slices: the service's own and those that say whose they are."""
    own = {key: value for key, value in service.labels.items() if key not in (SERVICE_NAME_LABEL, MANAGED_BY, HEADLESS)}
    marks = {SERVICE_NAME_LABEL: service.name, MANAGED_BY: MANAGER}
    return own | marks | ({HEADLESS: ""} if service.headless else {})


def plan(service: Service, pods: Sequence[Pod], nodes: Mapping[str, Node], present: Sequence[EndpointSlice]) -> Plan:
    """What brings the slices of a service to its pods; ``present`` are the slices this controller manages for it."""
    head = Head(
        prefix=templates.name_prefix(service.name),
        namespace=service.namespace,
        labels=labels_of(service),
        owner=controller_reference(SERVICES, service),
    )
    return arrange(head, families(service, pods), groups(service, pods, nodes), present)


def arrange(head: Head, families: Sequence[str], wanted: Sequence[Group], present: Sequence[EndpointSlice]) -> Plan:
    """The fewest writes that make ``present`` hold the wanted groups; each of ``families`` has at least one slice."""
    unused = {each.name: each for each in sorted(present, key=lambda each: each.name) if not each.deleting}
    drafts: list[_Draft] = []
    for group in wanted:
        drafts += _fit(group, unused)
    for family in families:
        if not any(draft.family == family for draft in drafts):
            # A service without endpoints still has one slice, so that readers see it has been looked at.
            drafts.append(_Draft(family, (), dirty=True))
    _reuse(drafts, unused)
    return Plan(
        create=tuple(_new(head, draft) for draft in drafts if draft.slice is None),
        update=tuple(
            (draft.slice, change)
            for draft in drafts
            if draft.slice is not None and (change := _difference(draft.slice, draft, head.labels))
        ),
        delete=tuple(unused.values()),
    )


def _identity(endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
    return endpoint.target_ref.uid if endpoint.target_ref else "", endpoint.addresses or ()


def _port_set(ports: Sequence[EndpointPort]) -> frozenset[tuple[Any, ...]]:
    return frozenset((each.name or "", each.protocol or "TCP", each.port, each.app_protocol) for each in ports)


def _fit(group: Group, unused: dict[str, EndpointSlice]) -> list[_Draft]:
    """Drafts for one group, taking the present slices with its ports out of ``unused``."""
    missing = {_identity(each): each for each in group.endpoints}
    drafts = []
    for present in [*unused.values()]:
        if present.address_type != group.family or _port_set(present.ports or ()) != _port_set(group.ports):
            continue
        kept = [missing.pop(_identity(each)) for each in present.endpoints or () if _identity(each) in missing]
        if kept:
            del unused[present.name]
            dirty = tuple(kept) != tuple(present.endpoints or ())
            drafts.append(_Draft(group.family, group.ports, present, kept, dirty))
    rest = [*missing.values()]
    if not rest:
        return drafts
    # Prefer slices that are written anyway; of the others the fullest that takes everything, so that one is enough.
    for draft in sorted(drafts, key=lambda each: (not each.dirty, each.room < len(rest), each.room)):
        take = min(draft.room, len(rest))
        if take:
            draft.endpoints += rest[:take]
            draft.dirty = True
            del rest[:take]
    while rest:
        drafts.append(_Draft(group.family, group.ports, endpoints=rest[:MAX_ENDPOINTS], dirty=True))
        del rest[:MAX_ENDPOINTS]
    return drafts


def _reuse(drafts: list[_Draft], unused: dict[str, EndpointSlice]) -> None:
    """Write new drafts into slices that would be deleted, those with the same ports first."""
    for draft in drafts:
        if draft.slice is not None:
            continue
        fitting = [each for each in unused.values() if each.address_type == draft.family]
        fitting.sort(key=lambda each: (_port_set(each.ports or ()) != _port_set(draft.ports), each.name))
        if fitting:
            draft.slice = unused.pop(fitting[0].name)


def _content(endpoints: Sequence[Endpoint], ports: Ports) -> dict[str, Any]:
    return {
        "endpoints": [_endpoint(each) for each in endpoints],
        "ports": [_port(each) for each in ports],
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    plain: dict[str, Any] = templates.plain(endpoint)
    plain["conditions"] = {
        name: bool(getattr(endpoint.conditions, name)) for name in ("ready", "serving", "terminating")
    }
    return plain


def _port(port: EndpointPort) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": port.name or "", "protocol": port.protocol or "TCP", "port": port.port}
    return plain | ({"appProtocol": port.app_protocol} if port.app_protocol else {})


def _new(head: Head, draft: _Draft) -> dict[str, Any]:
    return {
        "metadata": {
            "generateName": head.prefix,
            "namespace": head.namespace,
            "labels": head.labels,
            "ownerReferences": [templates.plain(head.owner)],
        },
        "addressType": draft.family,
        **_content(draft.endpoints, draft.ports),
    }


def _difference(present: EndpointSlice, draft: _Draft, labels: dict[str, str]) -> dict[str, Any]:
    """The merge patch that makes a slice the draft; empty when it is."""
    patch: dict[str, Any] = {}
    if tuple(draft.endpoints) != tuple(present.endpoints or ()):
        patch["endpoints"] = _content(draft.endpoints, ())["endpoints"]
    if _port_set(draft.ports) != _port_set(present.ports or ()):
        patch["ports"] = _content((), draft.ports)["ports"]
    if present.labels != labels:
        stale: dict[str, str | None] = {key: None for key in present.labels if key not in labels}
        patch["metadata"] = {"labels": stale | labels}
    return patch
