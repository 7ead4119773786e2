from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import node, service
from tests.workloads.test_endpoints import World, backend, only
from wherry.kube.objects import Endpoint, EndpointConditions, EndpointHints, ForZone, Node
from wherry.workloads.endpoints import compile, hints
from wherry.workloads.endpoints.model import ZONE

AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def zoned(name: str, zone: str, cpu: str = "4", **more: Any) -> Node:
    labels = {**({ZONE: zone} if zone else {}), **more.pop("labels", {})}
    return node(name, cpu=cpu, labels=labels, **more)


NODES = {each.name: each for each in (zoned("a", "za"), zoned("b", "zb"))}
PARTS = hints.shares(NODES.values())


def endpoint(number: int, zone: str | None, *, ready: bool = True, hint: str = "") -> Endpoint:
    return Endpoint(
        addresses=(f"10.0.0.{number}",),
        conditions=EndpointConditions(ready=ready),
        zone=zone,
        hints=EndpointHints(for_zones=(ForZone(name=hint),)) if hint else None,
    )


def zones_of(endpoints: list[Endpoint]) -> list[str | None]:
    return [each.hints.for_zones[0].name if each.hints else None for each in endpoints]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([zoned("a", "za", "2"), zoned("b", "zb", "6")], {"za": "1/4", "zb": "3/4"}),
        ([zoned("a", "za"), zoned("b", "za")], {}),
        ([zoned("a", "za"), zoned("b", "")], {}),
        ([zoned("a", "za"), zoned("b", "zb", cpu="0")], {}),
        ([zoned("a", "za"), zoned("b", "zb", ready="False")], {}),
        ([zoned("a", "za"), zoned("b", "zb", labels={"node-role.kubernetes.io/control-plane": ""})], {}),
    ],
    ids=["in proportion", "one zone", "a node without zone", "a node without CPUs", "not ready", "control plane"],
)
def test_parts_of_zones(nodes: list[Node], expected: dict[str, str]) -> None:
    assert {zone: str(part) for zone, part in hints.shares(nodes).items()} == expected


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        (["za", "za", "zb", "zb"], ["za", "za", "zb", "zb"]),
        (["za", "za", "za", "za"], ["zb", "zb", "za", "za"]),
        (["za"] * 4 + ["zb"] * 3, ["za"] * 4 + ["zb"] * 3),
    ],
    ids=["as they are", "half of them given away", "near enough"],
)
def test_endpoints_are_shared_out(zones: list[str], expected: list[str]) -> None:
    endpoints = [endpoint(number, zone) for number, zone in enumerate(zones)]
    ((result,), problem) = hints.spread([(endpoints, True)], PARTS)
    assert (zones_of(result), problem) == (expected, "")


@pytest.mark.parametrize(
    ("endpoints", "parts", "problem"),
    [
        ([endpoint(1, "za")], {},
         "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"),
        ([endpoint(1, "za"), endpoint(2, "zb", ready=False)], PARTS,
         "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        ([endpoint(1, "za"), endpoint(2, "za"), endpoint(3, "zb")], PARTS,
         "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold "
         "(3 endpoints, 2 zones)"),
        ([endpoint(1, "za"), endpoint(2, None)], PARTS, "One or more endpoints do not have a zone specified"),
    ],
)  # fmt: skip
def test_why_there_are_no_hints(endpoints: list[Endpoint], parts: hints.Shares, problem: str) -> None:
    ((result,), said) = hints.spread([(endpoints, False)], parts)
    assert said == problem
    assert zones_of(result) == [None] * len(endpoints)


def test_a_slice_that_is_not_written_keeps_hints_that_do_no_harm() -> None:
    odd = [endpoint(1, "za", hint="zb"), endpoint(2, "zb", hint="za")]
    ((kept, _), problem) = hints.spread([(odd, False), ([endpoint(3, "za"), endpoint(4, "zb")], True)], PARTS)
    assert (zones_of(kept), problem) == (["zb", "za"], "")
    gone = [endpoint(1, "za", hint="zc"), endpoint(2, "zb", hint="za")]
    ((mended,), _) = hints.spread([(gone, False)], PARTS)
    assert zones_of(mended) == ["za", "zb"]


@given(st.lists(st.sampled_from(["za", "zb", "zc"]), max_size=60), st.tuples(*[st.integers(1, 8)] * 3))
def test_no_zone_is_overloaded(zones: list[str], cpus: tuple[int, int, int]) -> None:
    parts = hints.shares([zoned(z, z, str(cpu)) for z, cpu in zip(("za", "zb", "zc"), cpus, strict=True)])
    endpoints = [endpoint(number % 250, zone) for number, zone in enumerate(zones)]
    ((result,), problem) = hints.spread([(endpoints, True)], parts)
    counts = Counter(zones_of(result))
    if problem:
        assert set(counts) <= {None}
        return
    assert sum(counts.values()) == len(zones)
    assert None not in counts
    # Every zone ends within one endpoint of its part, or of the least that it must have.
    for zone, part in parts.items():
        assert counts[zone] > part * len(zones) - 2
        assert counts[zone] >= 1


def test_few_writes_with_hints() -> None:
    world = World()
    world.nodes = NODES
    wanted = service(annotations=AUTO)
    pods = [backend(number, on="ab"[number % 2]) for number in range(250)]
    plan = world.apply(wanted, pods)
    assert plan.hinted == {"IPv4": ""}
    assert compile.plan(wanted, pods, NODES, [*world.slices.values()], PARTS) == compile.Plan()
    less = world.apply(wanted, [*pods[:120], *pods[121:]])
    assert (len(less.create), len(less.update), len(less.delete)) == (0, 1, 0)
    assert all(each.hints for found in world.slices.values() for each in found.endpoints or ())
    plain = world.apply(service(), pods)
    assert plain.hinted == {}
    assert not any(each.hints for found in world.slices.values() for each in found.endpoints or ())


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("PreferClose", EndpointHints(for_zones=(ForZone(name="za"),))),
        ("PreferSameZone", EndpointHints(for_zones=(ForZone(name="za"),))),
        ("PreferSameNode", EndpointHints(for_zones=(ForZone(name="za"),), for_nodes=(ForZone(name="a"),))),
        (None, None),
    ],
)
def test_traffic_distribution(distribution: str | None, expected: EndpointHints | None) -> None:
    world = World()
    world.nodes = NODES
    wanted = service(trafficDistribution=distribution)
    world.apply(wanted, [backend(1, on="a"), backend(2, on="a", ready=False)])
    ready, not_ready = only(world).endpoints or ()
    assert (ready.hints, not_ready.hints) == (expected, None)
    assert world.apply(wanted, [backend(1, on="a"), backend(2, on="a", ready=False)]) == compile.Plan()


def test_the_annotation_wins_over_traffic_distribution() -> None:
    world = World()
    world.nodes = NODES
    wanted = service(annotations=AUTO, trafficDistribution="PreferClose")
    plan = world.apply(wanted, [backend(1, on="a")])
    assert plan.hinted == {"IPv4": "Insufficient number of endpoints (1 endpoints, 2 zones)"}
    assert [each.hints for each in only(world).endpoints or ()] == [None]
