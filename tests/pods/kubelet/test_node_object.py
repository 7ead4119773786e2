"""The node's own object: what it says, and that it says it only when it has changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.kube.informer import Informers
from wherry.kube.kinds import LEASES, NODES
from wherry.kube.objects import Condition, NodeStatus, Taint
from wherry.kube.objects import Node as NodeObject
from wherry.pods.machine import Machine, Pressure, read_machine, read_pressure
from wherry.pods.node import NodeController
from wherry.pods.nodeobject import NodeSettings, news, node_labels, node_status, status_difference
from wherry.pods.testing.node import Node

MACHINE = Machine(
    cpus=2,
    memory=8 * 2**30,
    storage=100 * 2**30,
    architecture="amd64",
    kernel="6.18",
    os_image="Debian",
    machine_id="m",
    boot_id="b",
)


def settings(**changes: Any) -> NodeSettings:
    given = {"name": "node-1", "data_dir": Path("/"), "internal_ips": ("172.30.0.11", "fd00:30::11")} | changes
    return NodeSettings(**given)


@asynccontextmanager
async def registered(node: Node, **changes: Any) -> AsyncIterator[NodeController]:
    informers = Informers(node.client)
    controller = NodeController(node.client, informers, settings=settings(**changes), machine=MACHINE)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in (informers.run(), controller.run())]
        yield controller
        for task in tasks:
            task.cancel()


def ready(node: Node) -> tuple[str, str] | None:
    for found in node.server.get(NODES, "node-1")["status"].get("conditions", ()):
        if found["type"] == "Ready":
            return found["status"], found["message"]
    return None


def give_range(node: Node) -> None:
    found = node.server.get(NODES, "node-1")
    node.server.put(NODES.as_dict(), found | {"spec": found["spec"] | {"podCIDRs": ["10.42.1.0/24"]}})


async def test_a_node_is_ready_once_it_has_a_range(node: Node) -> None:
    ranges: list[tuple[str, ...]] = []
    taint = Taint(key="dedicated", value="db", effect="NoSchedule")
    async with registered(
        node, labels={"node-role.kubernetes.io/control-plane": "true"}, taints=(taint,)
    ) as controller:
        controller.on_ranges(ranges.append)
        assert "no range of pod addresses" in (await node.until(lambda: ready(node)))[1]
        give_range(node)
        await node.until(lambda: ready(node) == ("True", "kubelet is posting ready status"))
        assert await controller.ranges() == ("10.42.1.0/24",)
    assert ranges == [("10.42.1.0/24",)]
    found = node.server.get(NODES, "node-1")
    assert found["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == "true"
    assert found["metadata"]["labels"]["beta.kubernetes.io/os"] == "linux"
    assert found["spec"]["taints"] == [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]
    assert found["status"]["capacity"]["pods"] == "110"
    assert found["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    lease = node.server.get(LEASES, "node-1", "kube-node-lease")
    assert lease["spec"]["holderIdentity"] == "node-1"
    assert lease["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]


async def test_a_deleted_node_registers_anew(node: Node) -> None:
    async with registered(node):
        first = (await node.until(lambda: node.server.get(NODES, "node-1") if ready(node) else None))["metadata"]["uid"]
        give_range(node)
        await node.until(lambda: ready(node) == ("True", "kubelet is posting ready status"))
        node.server.remove(NODES, "node-1")
        await node.until(lambda: node.server.get(NODES, "node-1")["metadata"]["uid"] != first and ready(node))
    # Its pods are still there, and have addresses of this range.
    assert node.server.get(NODES, "node-1")["spec"]["podCIDRs"] == ["10.42.1.0/24"]
    assert node.server.get(NODES, "node-1")["spec"]["podCIDR"] == "10.42.1.0/24"


@pytest.mark.parametrize(
    ("before", "now", "reasons"),
    [
        ({}, {"Ready": "False", "DiskPressure": "False"}, ["NodeHasNoDiskPressure"]),
        ({"Ready": "False"}, {"Ready": "True"}, ["NodeReady"]),
        ({"Ready": "Unknown"}, {"Ready": "True", "PIDPressure": "True"}, ["NodeReady", "NodeHasInsufficientPID"]),
        ({"Ready": "True", "MemoryPressure": "False"}, {"Ready": "True", "MemoryPressure": "False"}, []),
        ({"Ready": "True"}, {"Ready": "False"}, ["NodeNotReady"]),
    ],
)
def test_changes_of_conditions_are_events(before: dict[str, str], now: dict[str, str], reasons: list[str]) -> None:
    there = NodeObject(
        status=NodeStatus(conditions=tuple(Condition(type=type_, status=status) for type_, status in before.items()))
    )
    wanted = {"conditions": [{"type": type_, "status": status} for type_, status in now.items()]}
    assert news(there, wanted) == reasons


async def test_registration_survives_an_absent_api_server(node: Node) -> None:
    await node.server.stop()
    async with registered(node):
        await node.server.start()
        await node.until(lambda: ready(node))


async def test_the_lease_is_renewed_and_the_status_left_alone(node: Node) -> None:
    async with registered(node, lease_interval=0.02):
        give = await node.until(lambda: ready(node))
        assert give
        renewals = [path for method, path in node.server.requests if method == "PATCH" and "/leases/" in path]
        before = len([path for method, path in node.server.requests if method == "PATCH" and "/status" in path])
        await node.until(lambda: len([path for _, path in node.writes("/leases/")]) > len(renewals) + 3)
        assert len([path for _, path in node.writes("/status")]) == before


async def test_other_parts_can_hold_the_node_back(node: Node) -> None:
    async with registered(node) as controller:
        await node.until(lambda: ready(node))
        give_range(node)
        await node.until(lambda: ready(node)[0] == "True")
        controller.set_problem("runtime", "the runtime is down")
        await node.until(lambda: ready(node) == ("False", "the runtime is down"))
        controller.set_problem("runtime", None)
        await node.until(lambda: ready(node)[0] == "True")


async def test_a_ready_node_whose_agent_starts_again_stays_ready_for_a_while(node: Node) -> None:
    async with registered(node) as controller:
        controller.set_problem("agent", "it is being set up", patience=3600)
        await node.until(lambda: "it is being set up" in (ready(node) or ("", ""))[1])
        give_range(node)
        controller.set_problem("agent", None)
        await node.until(lambda: (ready(node) or ("", ""))[0] == "True")
    async with registered(node, max_pods=99) as controller:
        controller.set_problem("agent", "it is being set up", patience=3600)
        await node.until(lambda: node.server.get(NODES, "node-1")["status"]["capacity"]["pods"] == "99")
        assert (ready(node) or ("", ""))[0] == "True"
        controller.set_problem("other", "it takes too long", patience=0.01)
        await node.until(lambda: "it takes too long" in (ready(node) or ("", ""))[1])


def test_addresses_of_one_type_are_replaced_not_merged() -> None:
    wanted = node_status(settings(), MACHINE, NodeObject(), pressure=Pressure(), problems=(), now=0.0)
    assert [entry["type"] for entry in wanted["addresses"]] == ["InternalIP", "InternalIP", "Hostname"]
    reported = msgspec.convert({"status": wanted}, NodeObject)
    assert status_difference(reported, wanted, heartbeat=False) == {}
    moved = node_status(
        settings(internal_ips=("1.2.3.4",)), MACHINE, reported, pressure=Pressure(), problems=(), now=9.0
    )
    changed = status_difference(reported, moved, heartbeat=False)
    assert changed == {"addresses": [*moved["addresses"], {"$patch": "replace"}]}
    assert list(status_difference(reported, moved | {"addresses": wanted["addresses"]}, heartbeat=True)) == [
        "conditions"
    ]


def test_pressure_is_reported_with_the_kubelets_reasons() -> None:
    wanted = node_status(settings(), MACHINE, NodeObject(), pressure=Pressure(disk=True), problems=(), now=0.0)
    found = {entry["type"]: (entry["status"], entry["reason"]) for entry in wanted["conditions"]}
    assert found["DiskPressure"] == ("True", "KubeletHasDiskPressure")
    assert found["MemoryPressure"] == ("False", "KubeletHasSufficientMemory")
    assert found["Ready"] == ("True", "KubeletReady")


def test_the_machine_under_this_test_can_be_read(tmp_path: Path) -> None:
    one, two = read_machine("node-1", tmp_path / "not" / "yet"), read_machine("node-2", tmp_path)
    assert one.cpus >= 1
    assert one.memory > 0
    assert one.machine_id != two.machine_id
    assert isinstance(read_pressure(tmp_path), Pressure)
    assert node_labels(settings(), one)["kubernetes.io/hostname"] == "node-1"


def addresses(node: Node) -> list[str]:
    return [each["address"] for each in node.server.get(NODES, "node-1")["status"].get("addresses", ())]


async def test_promise_27_without_a_cloud_controller_the_kubelet_tells_all_addresses(node: Node) -> None:
    names = {"external_ips": ("5.5.5.5",), "internal_dns": ("a.internal",), "external_dns": ("a.example",)}
    async with registered(node, **names):
        await node.until(lambda: ready(node))
        wanted = ["172.30.0.11", "fd00:30::11", "5.5.5.5", "a.internal", "a.example", "node-1"]
        assert addresses(node) == wanted
        found = node.server.get(NODES, "node-1")
        node.server.put(NODES.as_dict(), found | {"status": found["status"] | {"addresses": []}})
        await node.until(lambda: addresses(node) == wanted)


async def test_promise_24_addresses_of_a_cloud_controller_stay(node: Node) -> None:
    async with registered(node, external_cloud=True, external_ips=("5.5.5.5",)) as controller:
        await node.until(lambda: ready(node))
        assert addresses(node) == ["172.30.0.11", "fd00:30::11", "node-1"]
        found = node.server.get(NODES, "node-1")
        told = [{"type": "InternalIP", "address": "10.9.9.9"}]
        node.server.put(NODES.as_dict(), found | {"status": found["status"] | {"addresses": told}})
        controller.set_problem("test", "it is being tested")
        await node.until(lambda: (ready(node) or ("", ""))[1].startswith("it is being tested"))
        assert addresses(node) == ["10.9.9.9"]


async def test_annotations_of_an_earlier_start_are_removed(node: Node) -> None:
    metadata = {"name": "node-1", "annotations": {"gone": "x", "kept": "x", "said": "old"}}
    node.server.put(NODES.as_dict(), {"metadata": metadata, "spec": {}, "status": {}})
    async with registered(node, annotations={"said": "new"}, stale_annotations=("gone", "never")):
        await node.until(lambda: ready(node))
        there = node.server.get(NODES, "node-1")["metadata"]["annotations"]
        assert {key: there.get(key) for key in ("gone", "kept", "said")} == {"gone": None, "kept": "x", "said": "new"}


@pytest.mark.parametrize("now", [{"said": "wrong", "kept": "x"}, {"kept": "x"}])
async def test_annotations_that_somebody_changed_are_said_again(node: Node, now: dict[str, str]) -> None:
    async with registered(node, annotations={"said": "right"}):
        await node.until(lambda: ready(node))
        found = node.server.get(NODES, "node-1")
        node.server.put(NODES.as_dict(), found | {"metadata": found["metadata"] | {"annotations": now}})
        right = {"said": "right", "kept": "x"}
        await node.until(lambda: node.server.get(NODES, "node-1")["metadata"]["annotations"] == right)
