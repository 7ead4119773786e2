from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import STAMP, meta, node, pod, service
from wherry.kube.objects import EndpointSlice, Node, Pod, Service
from wherry.workloads.endpoints import compile, hints
from wherry.workloads.endpoints.model import ports_of
from wherry.workloads.endpoints.trigger import ANNOTATION, TriggerTimes, stamped

NODES: dict[str, Node] = {"n": node("n", labels={"topology.kubernetes.io/zone": "z1"})}


def backend(number: int, **more: Any) -> Pod:
    settings: dict[str, Any] = {"on": "n", "ready": True, "ips": (f"10.42.{number // 250}.{number % 250 + 1}",)}
    return pod(f"p{number:03}", **(settings | more))


class World:
    """Slices as the server would hold them."""

    def __init__(self) -> None:
        self.slices: dict[str, EndpointSlice] = {}
        self.serial = 0
        self.nodes = NODES

    def apply(self, wanted: Service, pods: list[Pod]) -> compile.Plan:
        parts = hints.shares(self.nodes.values())
        plan = compile.plan(wanted, pods, self.nodes, [*self.slices.values()], parts)
        for body in plan.create:
            self.serial += 1
            name = f"{body['metadata']['generateName']}{self.serial:05}"
            plain = {**body, "metadata": {**meta(name, "default"), "labels": body["metadata"]["labels"]}}
            self.slices[name] = msgspec.convert(plain, EndpointSlice)
        for there, change in plan.update:
            plain = msgspec.to_builtins(there)
            labels = plain["metadata"].get("labels", {}) | change.get("metadata", {}).get("labels", {})
            plain |= {key: change[key] for key in ("endpoints", "ports") if key in change}
            plain["metadata"]["labels"] = {key: value for key, value in labels.items() if value is not None}
            self.slices[there.name] = msgspec.convert(plain, EndpointSlice)
        for there in plan.delete:
            del self.slices[there.name]
        return plan

    def addresses(self) -> list[str]:
        return sorted(
            address
            for each in self.slices.values()
            for endpoint in each.endpoints or ()
            for address in endpoint.addresses or ()
        )


def only(world: World) -> EndpointSlice:
    (found,) = world.slices.values()
    return found


def test_one_endpoint_in_full() -> None:
    plan = compile.plan(service(labels={"team": "x"}), [backend(1)], NODES, [])
    (body,) = plan.create
    assert body["addressType"] == "IPv4"
    assert body["metadata"]["generateName"] == "web-"
    assert body["metadata"]["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert body["metadata"]["ownerReferences"][0]["kind"] == "Service"
    assert body["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
    assert body["endpoints"] == [
        {
            "addresses": ("10.42.0.2",),
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "n",
            "zone": "z1",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "p001", "uid": "uid-p001"},
        }
    ]


def states(wanted: Service, *pods: Pod) -> list[tuple[bool | None, bool | None, bool | None]]:
    world = World()
    world.apply(wanted, [*pods])
    found = only(world).endpoints or ()
    return [(each.conditions.ready, each.conditions.serving, each.conditions.terminating) for each in found]


def test_conditions() -> None:
    assert states(service(), backend(1, ready=False)) == [(False, False, False)]
    assert states(service(), backend(1, deleting=True)) == [(False, True, True)]
    assert states(service(publishNotReadyAddresses=True), backend(1, ready=False)) == [(True, False, False)]
    assert states(service(publishNotReadyAddresses=True), backend(1, deleting=True)) == [(True, True, True)]


def test_pods_that_are_no_endpoints() -> None:
    assert states(service(), backend(1, ips=()), backend(2, phase="Succeeded"), backend(3, on="unknown")) == []


def test_a_service_without_endpoints_has_an_empty_slice_which_is_used_later() -> None:
    world = World()
    world.apply(service(), [])
    first = only(world)
    assert (first.endpoints, first.ports) == ((), ())
    world.apply(service(), [backend(1)])
    assert only(world).name == first.name
    assert world.addresses() == ["10.42.0.2"]
    world.apply(service(), [])
    assert only(world).name == first.name
    assert world.apply(service(), []) == compile.Plan()


def test_named_ports_follow_the_pod() -> None:
    ports = [
        {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "h2c"},
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "web"},
        {"name": "plain", "port": 9},
    ]
    wanted = service(ports=ports)

    def with_port(number: int, container_port: int) -> Pod:
        declared = [{"name": "web", "containerPort": container_port}]
        return backend(number, containers=[{"name": "m", "ports": declared}])

    numbers = [(each.name, each.protocol, each.port, each.app_protocol) for each in ports_of(wanted, with_port(1, 8))]
    assert numbers == [("http", "TCP", 8, "h2c"), ("plain", "TCP", 9, None)]
    world = World()
    world.apply(wanted, [with_port(1, 8080), with_port(2, 9090), with_port(3, 8080)])
    assert sorted(len(each.endpoints or ()) for each in world.slices.values()) == [1, 2]


def test_families() -> None:
    dual = backend(1, ips=("10.42.0.2", "fd42::2"))
    world = World()
    world.apply(service(families=("IPv4", "IPv6")), [dual, backend(2, ips=("10.42.0.3",))])
    assert {each.address_type: len(each.endpoints or ()) for each in world.slices.values()} == {"IPv4": 2, "IPv6": 1}
    world.apply(service(families=("IPv6",)), [dual])
    assert world.addresses() == ["fd42::2"]


def test_host_names_of_a_headless_service() -> None:
    named = backend(1, hostname="db-0", subdomain="web")
    world = World()
    world.apply(service(clusterIP="None", labels={"service.kubernetes.io/headless": "mine"}), [named])
    assert [each.hostname for each in only(world).endpoints or ()] == ["db-0"]
    assert only(world).labels["service.kubernetes.io/headless"] == ""
    other = World()
    other.apply(service(name="other"), [named])
    assert [each.hostname for each in only(other).endpoints or ()] == [None]


def test_labels_follow_the_service() -> None:
    world = World()
    world.apply(service(labels={"a": "1", "b": "2"}), [backend(1)])
    plan = world.apply(service(labels={"b": "3"}), [backend(1)])
    assert [[*change] for _, change in plan.update] == [["metadata"]]
    assert only(world).labels == compile.labels_of(service(labels={"b": "3"}))


def test_a_change_writes_one_slice() -> None:
    pods = [backend(number) for number in range(250)]
    world = World()
    world.apply(service(), pods)
    assert sorted(len(each.endpoints or ()) for each in world.slices.values()) == [50, 100, 100]
    less = world.apply(service(), pods[:120] + pods[121:])
    assert (len(less.create), len(less.update), len(less.delete)) == (0, 1, 0)
    swapped = world.apply(service(), [*pods[:7], *pods[8:120], *pods[121:], backend(300)])
    assert (len(swapped.create), len(swapped.update), len(swapped.delete)) == (0, 1, 0)
    flip = world.apply(service(), [*pods[:7], *pods[8:120], *pods[121:249], backend(249, ready=False), backend(300)])
    assert (len(flip.create), len(flip.update), len(flip.delete)) == (0, 1, 0)


def test_new_endpoints_fill_one_slice_or_a_new_one() -> None:
    pods = [backend(number) for number in range(300)]
    world = World()
    world.apply(service(), pods)
    world.apply(service(), [*pods[:60], *pods[100:160], *pods[200:270]])
    there = [*pods[:60], *pods[100:160], *pods[200:270]]
    fitting = compile.plan(
        service(), [*there, *[backend(400 + at) for at in range(30)]], NODES, [*world.slices.values()]
    )
    assert (len(fitting.create), [len(change["endpoints"]) for _, change in fitting.update]) == (0, [100])
    large = compile.plan(service(), [*there, *[backend(400 + at) for at in range(50)]], NODES, [*world.slices.values()])
    assert ([len(each["endpoints"]) for each in large.create], len(large.update)) == ([50], 0)


def test_what_is_written_says_when_the_change_happened() -> None:
    times = TriggerTimes()
    first = times.take(service(), [backend(1)])
    assert first == STAMP
    assert times.take(service(), [backend(1)]) is None
    later = [backend(1, ready_at="2023-11-14T22:14:00Z"), backend(2, ready_at="2023-11-14T22:15:00Z")]
    assert times.take(service(), later) == "2023-11-14T22:14:00Z"
    world = World()
    plan = stamped(compile.plan(service(), [backend(1)], NODES, []), first)
    assert plan.create[0]["metadata"]["annotations"] == {ANNOTATION: STAMP}
    world.apply(service(), [backend(1)])
    change = stamped(compile.plan(service(), later, NODES, [*world.slices.values()]), "2023-11-14T22:14:00Z").update
    assert [each["metadata"]["annotations"] for _, each in change] == [{ANNOTATION: "2023-11-14T22:14:00Z"}]
    unstamped = stamped(compile.plan(service(), later, NODES, [*world.slices.values()]), None).update
    assert ["metadata" in each for _, each in unstamped] == [False]


sets = st.sets(st.integers(0, 260), max_size=260)


@given(st.lists(sets, min_size=1, max_size=4))
def test_slices_always_hold_just_the_pods(steps: list[set[int]]) -> None:
    world = World()
    for wanted in steps:
        pods = [backend(number) for number in sorted(wanted)]
        world.apply(service(), pods)
        assert world.addresses() == sorted(ip.ip for each in pods for ip in each.status.pod_ips)
        assert all(len(each.endpoints or ()) <= compile.MAX_ENDPOINTS for each in world.slices.values())
        assert Counter(bool(each.endpoints) for each in world.slices.values())[False] == (0 if pods else 1)
        assert compile.plan(service(), pods, NODES, [*world.slices.values()]) == compile.Plan()


def test_external_names_have_no_slices() -> None:
    world = World()
    world.apply(service(), [backend(1)])
    world.apply(service(type="ExternalName"), [backend(1)])
    assert world.slices == {}
