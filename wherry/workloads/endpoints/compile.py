"""From wanted endpoints and present slices to the fewest writes. Pure.

An endpoint stays in the slice it is in. New ones fill slices that are written anyway, then one other that has room
for what is left; a slice that would end empty is used for a new one of its family before anything is made or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wherry.kube.kinds import SERVICES
from wherry.kube.objects import Endpoint, EndpointPort, EndpointSlice, Node, OwnerReference, Pod, Service
from wherry.kube.objects.network import SERVICE_NAME_LABEL
from wherry.workloads import templates
from wherry.workloads.endpoints import hints
from wherry.workloads.endpoints.model import Group, Ports, families, groups
from wherry.workloads.kinds import controller_reference

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"

MAX_ENDPOINTS = 100
"""Endpoints per slice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Slices to create (plain data), to change (with the fields to set) and to delete.

    ``hinted`` says for each family of a service with hints in proportion to CPUs why there are none; empty: there are.
    """

    create: tuple[dict[str, Any], ...] = ()
    update: tuple[tuple[EndpointSlice, dict[str, Any]], ...] = ()
    delete: tuple[EndpointSlice, ...] = ()
    hinted: dict[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Head:
    """What all slices of one service have in common; names are made from ``prefix``.

    ``annotations`` are all that they have; None leaves those that are there alone. ``capacity`` is the most endpoints
    of a slice.
    """

    prefix: str
    namespace: str
    labels: dict[str, str]
    owner: OwnerReference
    annotations: dict[str, str] | None = None
    capacity: int = MAX_ENDPOINTS


@dataclass(slots=True)
class _Draft:
    """A slice as it shall be; ``slice`` is what is there, if anything."""

    family: str
    ports: Ports
    slice: EndpointSlice | None = None
    endpoints: list[Endpoint] = field(default_factory=list)
    dirty: bool = False


def labels_of(service: Service) -> dict[str, str]:
    """The labels of a service's slices: the service's own and those that say whose they are."""
    own = {key: value for key, value in service.labels.items() if key not in (SERVICE_NAME_LABEL, MANAGED_BY, HEADLESS)}
    marks = {SERVICE_NAME_LABEL: service.name, MANAGED_BY: MANAGER}
    return own | marks | ({HEADLESS: ""} if service.headless else {})


def plan(
    service: Service,
    pods: Sequence[Pod],
    nodes: Mapping[str, Node],
    present: Sequence[EndpointSlice],
    parts: hints.Shares | None = None,
) -> Plan:
    """What brings the slices of a service to its pods; ``present`` are the slices this controller manages for it.

    ``parts`` of the zones are needed for a service that asks for hints in proportion to CPUs.
    """
    head = Head(
        prefix=templates.name_prefix(service.name),
        namespace=service.namespace,
        labels=labels_of(service),
        owner=controller_reference(SERVICES, service),
    )
    wanted = groups(service, pods, nodes)
    for group in wanted:
        group.endpoints = [hints.close(service, each) for each in group.endpoints]
    share = (parts or {}) if hints.automatic(service) else None
    return arrange(head, families(service, pods), wanted, present, parts=share)


def arrange(
    head: Head,
    families: Sequence[str],
    wanted: Sequence[Group],
    present: Sequence[EndpointSlice],
    *,
    parts: hints.Shares | None = None,
) -> Plan:
    """The fewest writes that make ``present`` hold the wanted groups; each of ``families`` has at least one slice.

    With ``parts`` the endpoints are shared out among the zones.
    """
    unused = {each.name: each for each in sorted(present, key=lambda each: each.name) if not each.deleting}
    drafts: list[_Draft] = []
    for group in wanted:
        drafts += _fit(group, unused, head.capacity, keep_hints=parts is not None)
    for family in families:
        if not any(draft.family == family for draft in drafts):
            # A service without endpoints still has one slice, so that readers see it has been looked at.
            drafts.append(_Draft(family, (), dirty=True))
    _reuse(drafts, unused)
    hinted = {family: _share(drafts, family, parts) for family in families} if parts is not None else {}
    return Plan(
        create=tuple(_new(head, draft) for draft in drafts if draft.slice is None),
        update=tuple(
            (draft.slice, change)
            for draft in drafts
            if draft.slice is not None and (change := _difference(draft.slice, draft, head))
        ),
        delete=tuple(unused.values()),
        hinted=hinted,
    )


def _identity(endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
    return endpoint.target_ref.uid if endpoint.target_ref else "", endpoint.addresses or ()


def _port_set(ports: Sequence[EndpointPort]) -> frozenset[tuple[Any, ...]]:
    return frozenset((each.name or "", each.protocol or "TCP", each.port, each.app_protocol) for each in ports)


def _fit(group: Group, unused: dict[str, EndpointSlice], capacity: int, *, keep_hints: bool) -> list[_Draft]:
    """Drafts for one group, taking the present slices with its ports out of ``unused``.

    With ``keep_hints`` hints make no difference, and endpoints that stay where they are keep theirs.
    """
    missing = {_identity(each): each for each in group.endpoints}
    drafts = []
    for present in [*unused.values()]:
        if present.address_type != group.family or _port_set(present.ports or ()) != _port_set(group.ports):
            continue
        kept = [
            hints.hinted(missing.pop(_identity(each)), each.hints) if keep_hints else missing.pop(_identity(each))
            for each in present.endpoints or ()
            if _identity(each) in missing
        ]
        if kept:
            del unused[present.name]
            dirty = tuple(kept) != tuple(present.endpoints or ())
            drafts.append(_Draft(group.family, group.ports, present, kept, dirty))
    rest = [*missing.values()]

    def fill(draft: _Draft) -> None:
        take = max(0, min(capacity - len(draft.endpoints), len(rest)))
        draft.endpoints += rest[:take]
        draft.dirty |= take > 0
        del rest[:take]

    fullest_first = sorted(drafts, key=lambda each: -len(each.endpoints))
    for draft in fullest_first:
        if draft.dirty:
            fill(draft)
    while rest:
        # Rather one new slice than several changed ones: watchers get each of them whole.
        fits = (each for each in fullest_first if not each.dirty and len(each.endpoints) + len(rest) <= capacity)
        draft = next(fits, None) or _Draft(group.family, group.ports)
        if draft.slice is None:
            drafts.append(draft)
        fill(draft)
    return drafts


def _share(drafts: Sequence[_Draft], family: str, parts: hints.Shares) -> str:
    """Give the endpoints of a family hints in proportion to CPUs; why there are none, or nothing."""
    mine = [draft for draft in drafts if draft.family == family]
    spread, problem = hints.spread([(draft.endpoints, draft.dirty or draft.slice is None) for draft in mine], parts)
    for draft, endpoints in zip(mine, spread, strict=True):
        draft.endpoints = endpoints
    return problem


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
    # The encoding of structs leaves out what is null or default; here false and unsaid are two things.
    conditions = msgspec.structs.asdict(endpoint.conditions)
    plain["conditions"] = {name: value for name, value in conditions.items() if value is not None}
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
            **({"annotations": head.annotations} if head.annotations else {}),
            "ownerReferences": [templates.plain(head.owner)],
        },
        "addressType": draft.family,
        **_content(draft.endpoints, draft.ports),
    }


def _replacing(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    stale: dict[str, str | None] = {key: None for key in present if key not in wanted}
    return {**stale, **wanted}


def _difference(present: EndpointSlice, draft: _Draft, head: Head) -> dict[str, Any]:
    """The merge patch that makes a slice the draft; empty when it is."""
    patch: dict[str, Any] = {}
    if tuple(draft.endpoints) != tuple(present.endpoints or ()):
        patch["endpoints"] = _content(draft.endpoints, ())["endpoints"]
    if _port_set(draft.ports) != _port_set(present.ports or ()):
        patch["ports"] = _content((), draft.ports)["ports"]
    meta: dict[str, Any] = {}
    if present.labels != head.labels:
        meta["labels"] = _replacing(present.labels, head.labels)
    if head.annotations is not None and present.metadata.annotations != head.annotations:
        meta["annotations"] = _replacing(present.metadata.annotations, head.annotations)
    return patch | ({"metadata": meta} if meta else {})
