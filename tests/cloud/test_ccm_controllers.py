"""The cloud controller, what stands in for it, and the passwords of nodes, against an API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.cloud.ccm_nodes import listed, node
from wherry.cloud.ccm import names
from wherry.cloud.ccm.absent import REASON, AbsentCloudController
from wherry.cloud.ccm.nodes import CloudNodeController
from wherry.cloud.ccm.passwords import NodePasswords
from wherry.cloud.leading import Led, Runnable
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.lease import LeaseTimes
from wherry.kube.objects import Event, Lease, LeaseSpec, Node, ObjectMeta, Pod, Secret
from wherry.kube.objects.base import Condition
from wherry.kube.objects.pods import PodStatus
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import running
from wherry.kube.times import format_micro_time

QUICK = LeaseTimes(lease_duration=0.6, renew_deadline=0.4, retry_period=0.05)


class Seen:
    """What is in the API, as it changes."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.client = client
        self.nodes = informers.informer(kinds.NODES)
        self.events = informers.informer(kinds.EVENTS)
        self.secrets = informers.informer(kinds.SECRETS)
        self.pods = informers.informer(kinds.PODS)
        self._changed = asyncio.Event()
        for informer in (self.nodes, self.events, self.secrets, self.pods):
            informer.add_handler(lambda *_: self._changed.set())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def node(self, name: str = "n1") -> Node | None:
        return next((one for one in self.nodes.list() if one.name == name), None)

    def addresses(self, name: str = "n1") -> list[tuple[str, str]]:
        found = self.node(name)
        return listed(found.status.addresses) if found else []

    def told(self, reason: str) -> list[Event]:
        return [event for event in self.events.list() if event.reason == reason]


@asynccontextmanager
async def cluster(
    server: FakeApiServer, make: Callable[[Client, Informers, EventRecorder], Runnable]
) -> AsyncIterator[Seen]:
    async with server.client(retry_for=5.0) as client:
        informers, watching = Informers(client), Informers(client)
        recorder = EventRecorder(client, "cloud-node-controller")
        part = make(client, informers, recorder)
        seen = Seen(client, watching)
        async with running(informers.run(), watching.run(), recorder.run(), part.run()):
            yield seen


def ccm(client: Client, informers: Informers, recorder: EventRecorder) -> Runnable:
    return CloudNodeController(client, informers, recorder)


async def annotate(seen: Seen, **said: Any) -> None:
    notes = {f"k3s.io/{key.replace('_', '-')}": text for key, text in said.items()}
    await seen.client.patch(kinds.NODES, "n1", {"metadata": {"annotations": notes}})


async def test_promise_26_a_node_is_made_known_and_loses_the_taint(server: FakeApiServer) -> None:
    async with cluster(server, ccm) as seen:
        await seen.client.create(kinds.NODES, node(said={names.INTERNAL_IP: "10.0.0.1,fd00::1", names.HOSTNAME: "m"}))
        await seen.until(lambda: seen.told("Synced"))
        await seen.until(lambda: seen.addresses() == [
            ("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1"), ("Hostname", "m")])  # fmt: skip
        found = seen.node()
        assert found is not None
        assert (found.spec.provider_id, found.spec.taints) == ("k3s://n1", ())
        assert found.labels[names.INSTANCE_TYPE] == "k3s"
        (event,) = seen.told("Synced")
        assert (event.type, event.message, event.source.component) == (
            "Normal", "Node synced successfully", "cloud-node-controller")  # fmt: skip


async def test_promise_24_addresses_follow_what_the_agent_says(server: FakeApiServer) -> None:
    async with cluster(server, ccm) as seen:
        await seen.client.create(kinds.NODES, node(said={names.INTERNAL_IP: "10.0.0.1"}))
        await seen.until(lambda: seen.addresses() == [("InternalIP", "10.0.0.1")])
        await annotate(seen, external_ip="5.5.5.5,6.6.6.6")
        await seen.until(lambda: seen.addresses()[1:] == [("ExternalIP", "5.5.5.5"), ("ExternalIP", "6.6.6.6")])
        await annotate(seen, external_ip="6.6.6.6,5.5.5.5")
        await seen.until(lambda: seen.addresses()[1:] == [("ExternalIP", "6.6.6.6"), ("ExternalIP", "5.5.5.5")])
        await annotate(seen, external_ip=None)
        await seen.until(lambda: seen.addresses() == [("InternalIP", "10.0.0.1")])
        # Written over by somebody: put right.
        rows = {"status": {"addresses": [{"type": "InternalIP", "address": "9.9.9.9"}]}}
        await seen.client.patch(kinds.NODES, "n1", rows, subresource="status")
        await seen.until(lambda: seen.addresses() == [("InternalIP", "10.0.0.1")])


async def test_the_taint_stays_until_the_addresses_are_said(server: FakeApiServer) -> None:
    async with cluster(server, ccm) as seen:
        await seen.client.create(kinds.NODES, node())
        await seen.client.create(kinds.NODES, node("n2", said={names.INTERNAL_IP: "10.0.0.2"}))
        await seen.until(lambda: (found := seen.node("n2")) and not found.spec.taints)
        assert (found := seen.node())
        assert found.spec.taints
        await annotate(seen, internal_ip="10.0.0.1")
        await seen.until(lambda: (found := seen.node()) and not found.spec.taints)


async def test_the_taint_stays_while_the_kubelets_address_is_another(server: FakeApiServer) -> None:
    async with cluster(server, ccm) as seen:
        said = {names.INTERNAL_IP: "10.0.0.1", names.PROVIDED_NODE_IP: "10.0.0.9"}
        await seen.client.create(kinds.NODES, node(said=said))
        await seen.until(lambda: seen.told("SyncFailed"))
        assert seen.told("SyncFailed")[0].type == "Warning"
        assert (found := seen.node())
        assert found.spec.taints
        assert not found.spec.provider_id
        await annotate(seen, internal_ip="10.0.0.9,10.0.0.1")
        await seen.until(lambda: seen.addresses() == [("InternalIP", "10.0.0.9")])
        assert (found := seen.node())
        assert not found.spec.taints


async def test_promise_27_nodes_of_another_cloud_controller_are_left_alone(server: FakeApiServer) -> None:
    async with cluster(server, ccm) as seen:
        await seen.client.create(kinds.NODES, node("theirs", taints=(), addresses=(("InternalIP", "10.0.0.7"),)))
        await seen.client.create(kinds.NODES, node(said={names.INTERNAL_IP: "10.0.0.1"}))
        await seen.until(lambda: seen.told("Synced"))
        assert (found := seen.node("theirs"))
        assert (found.spec.provider_id, seen.addresses("theirs")) == ("", [("InternalIP", "10.0.0.7")])


class Part:
    """Something led: knows whether it runs."""

    def __init__(self) -> None:
        self.started, self.stopped = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.stopped.set()


async def test_run_twice_one_leads_and_the_other_takes_over(server: FakeApiServer) -> None:
    async with server.client() as client:
        first, second = Part(), Part()

        def led(identity: str, *parts: Runnable) -> Led:
            where = {"lease": names.LEASE, "namespace": names.LEASE_NAMESPACE}
            return Led(client, parts, identity=identity, times=QUICK, **where)

        async with asyncio.timeout(5), AsyncExitStack() as stack:
            (task,) = await stack.enter_async_context(running(led("one", first, Done()).run()))
            await first.started.wait()
            await stack.enter_async_context(running(led("two", second).run()))
            lease = server.get(kinds.LEASES, "k3s-cloud-controller-manager", "kube-system")
            assert lease["spec"]["holderIdentity"] == "one"
            assert not second.started.is_set()
            task.cancel()
            await second.started.wait()
            assert first.stopped.is_set()


class Done:
    """Something led that has no more to do."""

    async def run(self) -> None:
        """Be done."""


async def test_a_leader_killed_and_started_again_goes_on_at_once(server: FakeApiServer) -> None:
    async with server.client() as client:
        spec = LeaseSpec(holder_identity="one", lease_duration_seconds=600, renew_time=format_micro_time(time.time()))
        metadata = ObjectMeta(name=names.LEASE, namespace=names.LEASE_NAMESPACE)
        await client.create(kinds.LEASES, Lease(metadata=metadata, spec=spec))
        part = Part()
        led = Led(client, [part], lease=names.LEASE, namespace=names.LEASE_NAMESPACE, identity="one", times=QUICK)
        async with asyncio.timeout(5), running(led.run()):
            await part.started.wait()


def waiting_pod(name: str = "p") -> Pod:
    condition = Condition(type="PodScheduled", status="False", reason="Unschedulable", message="no node")
    return Pod(metadata=ObjectMeta(name=name, namespace="default"), status=PodStatus(conditions=(condition,)))


async def test_promise_28_what_is_wrong_is_said(server: FakeApiServer) -> None:
    def absent(client: Client, informers: Informers, recorder: EventRecorder) -> Runnable:
        return AbsentCloudController(informers, recorder, patience=0.05)

    async with cluster(server, absent) as seen:
        await seen.client.create(kinds.NODES, node())
        await seen.client.create(kinds.NODES, node("n2", taints=()))
        await seen.client.create(kinds.PODS, waiting_pod())
        await seen.until(lambda: len(seen.told(REASON)) == 2)
        by_kind = {event.involved_object.kind: event for event in seen.told(REASON)}
        assert by_kind["Node"].involved_object.name == "n1"
        assert "--disable-cloud-controller" in by_kind["Node"].message
        assert (
            f"node(s) n1 wait for a cloud controller (taint {names.UNINITIALIZED}), and none runs"
            in by_kind["Pod"].message
        )
        # One that comes later is told as well, once each.
        await seen.client.create(kinds.PODS, waiting_pod("q"))
        await seen.until(lambda: len(seen.told(REASON)) == 3)
        assert {event.count for event in seen.told(REASON)} == {1}


async def test_promise_27_an_external_cloud_controller_in_time_is_not_complained_about(server: FakeApiServer) -> None:
    now = 0.0

    def absent(client: Client, informers: Informers, recorder: EventRecorder) -> Runnable:
        return AbsentCloudController(informers, recorder, patience=0.05, monotonic=lambda: now)

    async with cluster(server, absent) as seen:
        await seen.client.create(kinds.NODES, node())
        await seen.client.create(kinds.NODES, node("n2"))
        await seen.until(lambda: seen.node("n2"))
        await seen.client.patch(kinds.NODES, "n1", {"spec": {"taints": None, "providerID": "aws://x"}})
        await seen.until(lambda: (found := seen.node()) and not found.spec.taints)
        now = 60.0
        await seen.until(lambda: seen.told(REASON))
        assert {event.involved_object.name for event in seen.told(REASON)} == {"n2"}


@pytest.mark.parametrize("late", [False, True])
async def test_a_deleted_node_gives_its_name_free(server: FakeApiServer, late: bool) -> None:
    """Also one that was deleted while no controller ran, once no machine can be about to join by that name."""
    async with server.client() as client:
        for name in ("n1", "n2"):
            secret = Secret(metadata=ObjectMeta(name=name + names.PASSWORD_SUFFIX, namespace="kube-system"))
            await client.create(kinds.SECRETS, secret)
            if not late or name == "n2":
                await client.create(kinds.NODES, node(name))
        informers, watching = Informers(client), Informers(client)
        seen = Seen(client, watching)
        part = NodePasswords(client, informers, clock=lambda: 1e11 if late else 0.0)
        async with running(informers.run(), watching.run(), part.run()):
            await seen.until(lambda: len(seen.nodes.list()) == (1 if late else 2))
            if not late:
                await seen.until(lambda: len(seen.secrets.list()) == 2)
                await client.delete(kinds.NODES, "n1")
            await seen.until(lambda: [each.name for each in seen.secrets.list()] == ["n2" + names.PASSWORD_SUFFIX])
