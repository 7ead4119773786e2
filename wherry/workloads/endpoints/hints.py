"""Which zones and nodes should use an endpoint. Pure.

``spec.trafficDistribution`` hints every ready endpoint at its own zone, or node (KEP-4444, KEP-3015). The annotation
``service.kubernetes.io/topology-mode: Auto`` shares the endpoints out among the zones in proportion to their CPUs, so
that none of them takes over 20 % more than its part (KEP-2433); the annotation wins where a service has both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec

from wherry.kube import quantity
from wherry.kube.objects import Endpoint, EndpointHints, ForZone, Node, Service
from wherry.workloads.endpoints.model import ZONE

MODE = "service.kubernetes.io/topology-mode"
OLD_MODE = "service.kubernetes.io/topology-aware-hints"
_CLOSE = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})
_NOT_COUNTED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")

_OVERLOAD = Fraction(1, 5)
"""How much more than its part an endpoint may get before the hints are dropped."""

ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
_FEW_FACTS = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
_FEW_ENDPOINTS = "Insufficient number of endpoints"
_OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
_NO_ZONE = "One or more endpoints do not have a zone specified"
_NOTHING = "No hints allocated for zones"

Shares = Mapping[str, Fraction]
"""The part of all CPUs that each zone has; empty where zones or CPUs are not known, or there is one zone only."""


def automatic(service: Service) -> bool:
    """Whether a service asks for hints in proportion to CPUs."""
    notes = service.metadata.annotations
    return notes.get(OLD_MODE, notes.get(MODE)) in ("Auto", "auto")


def shares(nodes: Iterable[Node]) -> dict[str, Fraction]:
    """The zones' parts, counted over ready nodes that are not for the control plane alone."""
    cpus: Counter[str] = Counter()
    for node in nodes:
        if not node.ready or any(label in node.labels for label in _NOT_COUNTED):
            continue
        zone = node.labels.get(ZONE)
        cpu = quantity.milli(node.status.allocatable.get("cpu", 0))
        if not zone or not cpu:
            return {}
        cpus[zone] += cpu
    whole = sum(cpus.values())
    return {zone: Fraction(cpu, whole) for zone, cpu in sorted(cpus.items())} if len(cpus) > 1 else {}


def close(service: Service, endpoint: Endpoint) -> Endpoint:
    """The endpoint with the hints that ``spec.trafficDistribution`` gives it."""
    wanted = service.spec.traffic_distribution
    if wanted not in _CLOSE or automatic(service) or not endpoint.conditions.ready:
        return endpoint
    zones = (ForZone(name=endpoint.zone),) if endpoint.zone is not None else ()
    own = endpoint.node_name if wanted == "PreferSameNode" else None
    nodes = (ForZone(name=own),) if own is not None else ()
    return hinted(endpoint, EndpointHints(for_zones=zones, for_nodes=nodes) if zones or nodes else None)


def hinted(endpoint: Endpoint, hints: EndpointHints | None) -> Endpoint:
    """The endpoint with other hints."""
    return endpoint if endpoint.hints == hints else msgspec.structs.replace(endpoint, hints=hints)


@dataclass(frozen=True, slots=True)
class _Allocation:
    """How many endpoints a zone should have, and the most it may without another getting too few."""

    desired: Fraction
    maximum: int


def spread(slices: Sequence[tuple[Sequence[Endpoint], bool]], parts: Shares) -> tuple[list[list[Endpoint]], str]:
    """The endpoints of the slices of one family with hints in proportion to CPUs, and why there are none.

    Each slice comes with whether it is written anyway. One that is not keeps its hints as long as they do no harm, so
    that a change of one endpoint does not write all slices. The second value is empty where there are hints.
    """
    bare = [[hinted(endpoint, None) for endpoint in endpoints] for endpoints, _ in slices]
    count = sum(bool(each.conditions.ready) for endpoints in bare for each in endpoints)
    allocations = _allocate(count, parts)
    if isinstance(allocations, str):
        return bare, allocations
    result = [[*endpoints] for endpoints, _ in slices]
    given: Counter[str] = Counter()
    free: list[int] = []
    for at, (endpoints, written) in enumerate(slices):
        found = None if written else _hints(endpoints, given, allocations)
        if found is None:
            free.append(at)
        else:
            given.update(found)
    for at in free:
        result[at] = [*bare[at]]
        for number, endpoint in enumerate(bare[at]):
            if endpoint.conditions.ready:
                if not endpoint.zone:
                    return bare, _NO_ZONE
                given[endpoint.zone] += 1
                result[at][number] = _for_zone(endpoint, endpoint.zone)
    if not given:
        return bare, _NOTHING
    _redistribute([result[at] for at in free], *_exchange(allocations, given))
    return result, ""


def _allocate(count: int, parts: Shares) -> dict[str, _Allocation] | str:
    if not parts:
        return _FEW_FACTS
    where = f"({count} endpoints, {len(parts)} zones)"
    if len(parts) > count:
        return f"{_FEW_ENDPOINTS} {where}"
    least = {zone: math.ceil(part * count / (1 + _OVERLOAD)) for zone, part in parts.items()}
    spare = count - sum(least.values())
    if spare < 0:
        return f"{_OVERLOADED} {where}"
    return {
        zone: _Allocation(max(part * count, Fraction(least[zone])), least[zone] + spare) for zone, part in parts.items()
    }


def _hints(
    endpoints: Sequence[Endpoint], given: Mapping[str, int], allocations: Mapping[str, _Allocation]
) -> Counter[str] | None:
    """The hints that a slice has by zone; None where one is missing, or a zone would get too many."""
    found: Counter[str] = Counter()
    for endpoint in endpoints:
        if not endpoint.conditions.ready:
            continue
        zones = endpoint.hints.for_zones if endpoint.hints else ()
        if not zones or any(each.name not in allocations for each in zones):
            return None
        found.update(each.name for each in zones)
    if any(number + given.get(zone, 0) > allocations[zone].maximum for zone, number in found.items()):
        return None
    return found


def _exchange(allocations: Mapping[str, _Allocation], given: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """How many endpoints zones should hand over, and get."""
    above = {zone: given.get(zone, 0) - each.desired for zone, each in allocations.items()}
    giving: Counter[str] = Counter()
    getting: Counter[str] = Counter()
    while True:
        richest = max(above, key=lambda zone: above[zone])
        poorest = min(above, key=lambda zone: above[zone])
        more, less = above[richest], -above[poorest]
        if more < Fraction(1, 2) or less < Fraction(1, 2) or (more < 1 and less < 1):
            return giving, getting
        giving[richest] += 1
        getting[poorest] += 1
        # A zone that has given too much by rounding does not become one that gets, nor the other way round.
        above[richest] = max(above[richest] - 1, Fraction(0))
        above[poorest] = min(above[poorest] + 1, Fraction(0))


def _redistribute(slices: Iterable[list[Endpoint]], giving: Counter[str], getting: Counter[str]) -> None:
    for endpoints in slices:
        for number, endpoint in enumerate(endpoints):
            zone = endpoint.zone or ""
            if endpoint.conditions.ready and giving[zone] > 0 and (other := next(iter(+getting), None)) is not None:
                endpoints[number] = _for_zone(endpoint, other)
                giving[zone] -= 1
                getting[other] -= 1


def _for_zone(endpoint: Endpoint, zone: str) -> Endpoint:
    return hinted(endpoint, EndpointHints(for_zones=(ForZone(name=zone),)))
