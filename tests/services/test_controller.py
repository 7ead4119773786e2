"""From objects on an API server to the table, with a real kernel underneath."""

import asyncio
import socket
import tempfile
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec import structs

from wherry.kernel.nft import Nft, NftError, NftErrorKind
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.kinds import ENDPOINT_SLICES, EVENTS, NODES, PODS, SERVICES
from wherry.kube.objects import (
    SERVICE_NAME_LABEL,
    Condition,
    Container,
    ContainerPort,
    Endpoint,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
    Node,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import running
from wherry.services import forwarders, names
from wherry.services.content import EMPTY
from wherry.services.controller import ServicesController
from wherry.services.readback import content_of
from wherry.services.sctp import sctp_trouble

pytestmark = pytest.mark.netns


def service(name, ip, port=80):
    return Service(
        metadata=ObjectMeta(name=name, namespace="shop"),
        spec=ServiceSpec(cluster_ip=ip, cluster_ips=(ip,), ports=(ServicePort(port=port),)),
    )


def slice_(name, of, *addresses):
    return EndpointSlice(
        metadata=ObjectMeta(name=name, namespace="shop", labels={SERVICE_NAME_LABEL: of}),
        address_type="IPv4",
        ports=(EndpointPort(port=8080),),
        endpoints=tuple(Endpoint(addresses=(address,)) for address in addresses),
    )


class Harness:
    def __init__(self, server, client, **settings):
        self.server = server
        self.client = client
        self.informers = Informers(client)
        self.recorder = EventRecorder(client, "wherry-services", "node-1")
        self.controller = ServicesController(
            client,
            self.informers,
            self.recorder,
            node_name="node-1",
            ranges=names.Ranges(cluster=("10.42.0.0/16",)),
            **settings,
        )

    async def targets(self, ip):
        """The targets of a service address as the kernel has them; None when it does not know the address."""
        try:
            elements = content_of(await Nft().list_table("inet", names.TABLE), EMPTY).elements
        except NftError as error:
            if error.kind is NftErrorKind.NOT_FOUND:
                return None
            raise
        if (names.ADDRESSES[4], (ip,)) not in elements:
            return None
        return sorted(value for (_, key), value in elements.items() if key[0] == ip and value.endswith("8080"))

    async def until(self, ip, expected):
        async with asyncio.timeout(5):
            while (found := await self.targets(ip)) != expected:  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.005)
        return found

    async def until_led(self, ip, *, whether):
        """Wait until packets to an external address are led to a service, or no more."""
        async with asyncio.timeout(5):
            while True:
                elements = content_of(await Nft().list_table("inet", names.TABLE), EMPTY).elements
                if whether == any(key[0] == ip for container, key in elements if container == "services-4"):
                    return
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def run(self):
        async with running(self.informers.run(), self.recorder.run(), self.controller.run()):
            async with asyncio.timeout(5):
                await self.controller.ready()
            yield


@pytest.fixture
async def harness():
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with FakeApiServer(Path(directory) / "api.sock") as server, server.client() as client:
            yield Harness(server, client)


async def test_services_come_change_and_go(harness):
    server = harness.server
    server.put(SERVICES, service("web", "10.43.0.1"))
    server.put(ENDPOINT_SLICES, slice_("web-1", "web", "10.42.0.1"))
    async with harness.run():
        assert await harness.targets("10.43.0.1") == ["10.42.0.1 . 8080"]
        server.put(ENDPOINT_SLICES, slice_("web-2", "web", "10.42.0.2"))
        await harness.until("10.43.0.1", ["10.42.0.1 . 8080", "10.42.0.2 . 8080"])
        # slices may come before their service
        server.put(ENDPOINT_SLICES, slice_("db-1", "db", "10.42.0.3"))
        server.put(SERVICES, service("db", "10.43.0.2"))
        await harness.until("10.43.0.2", ["10.42.0.3 . 8080"])
        # a slice that goes over to another service
        server.put(ENDPOINT_SLICES, slice_("web-2", "db", "10.42.0.2"))
        await harness.until("10.43.0.1", ["10.42.0.1 . 8080"])
        await harness.until("10.43.0.2", ["10.42.0.2 . 8080", "10.42.0.3 . 8080"])
        server.remove(SERVICES, "web", "shop")
        await harness.until("10.43.0.1", None)


async def test_the_table_stays_when_the_agent_goes_and_is_taken_over(harness):
    server = harness.server
    server.put(SERVICES, service("web", "10.43.0.1"))
    server.put(ENDPOINT_SLICES, slice_("web-1", "web", "10.42.0.1"))
    async with harness.run():
        pass
    assert await harness.targets("10.43.0.1") == ["10.42.0.1 . 8080"]
    server.put(ENDPOINT_SLICES, slice_("web-1", "web", "10.42.0.2"))
    again = Harness(server, harness.client)
    async with again.run():
        assert await again.targets("10.43.0.1") == ["10.42.0.2 . 8080"]


async def test_a_table_that_somebody_removed_is_written_again(harness):
    server = harness.server
    server.put(SERVICES, service("web", "10.43.0.1"))
    async with harness.run():
        nft = Nft()
        await nft.commit(f"delete table inet {names.TABLE}")
        await nft.close()
        server.put(ENDPOINT_SLICES, slice_("web-1", "web", "10.42.0.1"))
        await harness.until("10.43.0.1", ["10.42.0.1 . 8080"])


NODE = Node(metadata=ObjectMeta(name="node-1", labels={"topology.kubernetes.io/zone": "a"}))


async def events(harness, about):
    """The reasons of what was said about an object, once there is something."""
    async with asyncio.timeout(5):
        while True:
            await harness.recorder.flush()
            found = (await harness.client.list(EVENTS)).items
            if said := [event.reason for event in found if event.involved_object.name == about]:
                return said
            await asyncio.sleep(0.005)


HARMS = {
    "the table is deleted": f"delete table inet {names.TABLE}",
    "everything is flushed": "add table ip other; add chain ip other a; flush ruleset",
    "a map is emptied": f"flush map inet {names.TABLE} endpoints-4-tcp",
    "an element is deleted": f"delete element inet {names.TABLE} services-4 {{ 10.43.0.1 . tcp . 80 }}",
    "a chain is emptied": f"flush chain inet {names.TABLE} prerouting",
    "a rule is added": f"insert rule inet {names.TABLE} prerouting accept",
}


async def listed():
    """The table in words, without what counts on."""
    nft = Nft()
    objects = await nft.list_table("inet", names.TABLE)
    for entry in objects:
        for one in entry.values():
            one.pop("handle", None)
    return sorted(map(str, objects[1:]))


@pytest.mark.parametrize("harm", HARMS)
async def test_what_somebody_changed_is_repaired_at_once_and_told(harness, harm):
    server = harness.server
    server.put(NODES, NODE)
    server.put(SERVICES, service("web", "10.43.0.1"))
    server.put(ENDPOINT_SLICES, slice_("web-1", "web", "10.42.0.1"))
    async with harness.run():
        before = await listed()
        nft = Nft()
        await nft.commit(HARMS[harm])
        await nft.close()
        assert await events(harness, "node-1") == ["ServiceRulesChanged"]
        assert await listed() == before
        said = [one.message for one in (await harness.client.list(EVENTS)).items]
        assert "(by nft); it is repaired (repair 1 since the start)" in said[0]
        assert harness.controller.repairs == 1


async def test_two_who_fight_for_the_table_do_not_keep_the_machine_busy(harness, monkeypatch):
    monkeypatch.setattr("wherry.services.controller._REPAIR_SECONDS", 0.3)
    server = harness.server
    server.put(SERVICES, service("web", "10.43.0.1"))
    async with harness.run():
        nft = Nft()
        await nft.commit(f"delete table inet {names.TABLE}")
        await harness.until("10.43.0.1", [])
        for _ in range(5):
            await nft.commit(f"add table inet {names.TABLE}; delete table inet {names.TABLE}")
            await asyncio.sleep(0)
        await nft.close()
        await harness.until("10.43.0.1", [])
        assert 2 <= harness.controller.repairs < 5


async def test_what_is_lost_without_a_word_is_repaired_within_a_resync(harness, monkeypatch):
    server = harness.server
    server.put(SERVICES, service("web", "10.43.0.1"))
    again = Harness(server, harness.client, resync_seconds=0.3)
    monkeypatch.setattr(again.controller, "_noticed_harm", lambda: None)
    async with again.run():
        nft = Nft()
        await nft.commit(f"delete table inet {names.TABLE}")
        await nft.close()
        await again.until("10.43.0.1", [])


async def test_endpoints_are_chosen_by_the_zone_of_the_node(harness):
    server = harness.server
    server.put(NODES, NODE)
    server.put(SERVICES, service("web", "10.43.0.1"))
    ends = tuple(
        Endpoint(addresses=(address,), hints=EndpointHints(for_zones=(ForZone(zone),)))
        for zone, address in (("a", "10.42.0.1"), ("b", "10.42.0.2"))
    )
    server.put(ENDPOINT_SLICES, structs.replace(slice_("web-1", "web"), endpoints=ends))
    async with harness.run():
        await harness.until("10.43.0.1", ["10.42.0.1 . 8080"])
        moved = structs.replace(NODE.metadata, labels={"topology.kubernetes.io/zone": "b"})
        server.put(NODES, structs.replace(NODE, metadata=moved))
        await harness.until("10.43.0.1", ["10.42.0.2 . 8080"])


async def test_local_clients_of_a_second_interface_are_not_led_through_the_pod(harness):
    server = harness.server
    web = service("web", "10.43.0.1")
    local = structs.replace(web.spec, type="LoadBalancer", external_traffic_policy="Local")
    server.put(SERVICES, structs.replace(web, spec=local))
    server.put(ENDPOINT_SLICES, slice_("web-1", "web", "10.42.0.1"))
    labels = {forwarders.SERVICE_NAME: "web", forwarders.SERVICE_NAMESPACE: "shop"}
    port = ContainerPort(container_port=80, host_port=80, host_ip="127.128.0.1")
    server.put(
        PODS,
        Pod(
            metadata=ObjectMeta(
                name="svclb", namespace="kube-system", labels=labels, annotations={forwarders.ON_INTERFACE: "eth1"}
            ),
            spec=PodSpec(node_name="node-1", containers=(Container(name="lb", ports=(port,)),)),
            status=PodStatus(conditions=(Condition(type="Ready", status="True"),)),
        ),
    )
    async with harness.run():
        for address, before in (("198.51.100.1", "198.51.100.2"), ("198.51.100.2", "198.51.100.1")):
            told = structs.replace(NODE.metadata, annotations={forwarders.INTERFACES: f'{{"eth1": ["{address}"]}}'})
            server.put(NODES, structs.replace(NODE, metadata=told))
            await harness.until_led(address, whether=True)
            await harness.until_led(before, whether=False)


async def test_a_service_is_told_what_another_has(harness):
    server = harness.server
    async with harness.run():
        for number in (1, 2):
            one = service(f"s{number}", f"10.43.0.{number}")
            server.put(SERVICES, structs.replace(one, spec=structs.replace(one.spec, external_ips=("192.0.2.1",))))
        assert await events(harness, "s2") == ["FrontendTaken"]
        assert "192.0.2.1:80/tcp is shop/s1's" in str((await harness.client.list(EVENTS)).items)


async def test_a_service_is_told_that_the_kernel_has_no_sctp(harness, monkeypatch):
    server = harness.server
    monkeypatch.setattr("wherry.services.controller.sctp_trouble", lambda: "")
    async with harness.run():
        web, other = service("web", "10.43.0.1"), service("other", "10.43.0.2")
        sctp = structs.replace(web.spec, ports=(ServicePort(port=80, protocol="SCTP"),))
        server.put(SERVICES, structs.replace(web, spec=sctp))
        await harness.until("10.43.0.1", [])
        monkeypatch.setattr("wherry.services.controller.sctp_trouble", lambda: "the kernel has no SCTP (module sctp)")
        server.put(SERVICES, other)
        server.put(SERVICES, structs.replace(web, spec=structs.replace(sctp, session_affinity="ClientIP")))
        for again in (11, 22):
            server.put(ENDPOINT_SLICES, slice_("web-1", "web", f"10.42.0.{again}"))
        assert await events(harness, "web") == ["ProtocolUnavailable"]
        (said,) = (await harness.client.list(EVENTS)).items
        assert said.message == (
            "No program on node node-1 can serve or call its SCTP ports: the kernel has no SCTP (module sctp)"
        )


def test_sctp_is_looked_for_in_the_kernel():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
    except OSError:
        assert "SCTP" in sctp_trouble()
    else:
        assert sctp_trouble() == ""


async def test_one_refused_service_does_not_hold_up_the_others(harness):
    server = harness.server
    async with harness.run():
        # what no API server would store: the kernel refuses such a port
        server.put(SERVICES, service("bad", "10.43.0.9", port=70000))
        server.put(ENDPOINT_SLICES, slice_("bad-1", "bad", "10.42.0.9"))
        for number in range(1, 6):
            server.put(SERVICES, service(f"s{number}", f"10.43.0.{number}"))
            server.put(ENDPOINT_SLICES, slice_(f"s{number}-1", f"s{number}", f"10.42.0.{number}"))
        for number in range(1, 6):
            await harness.until(f"10.43.0.{number}", [f"10.42.0.{number} . 8080"])
        await harness.recorder.flush()
        events = (await harness.client.list(EVENTS)).items
        assert {(event.involved_object.name, event.reason) for event in events} == {("bad", "FailedSync")}
        server.put(SERVICES, service("bad", "10.43.0.9"))
        await harness.until("10.43.0.9", ["10.42.0.9 . 8080"])


async def test_a_refused_service_does_not_hold_up_a_start(harness):
    server = harness.server
    server.put(SERVICES, service("bad", "10.43.0.9", port=70000))
    server.put(ENDPOINT_SLICES, slice_("bad-1", "bad", "10.42.0.9"))
    for number in range(1, 4):
        server.put(SERVICES, service(f"s{number}", f"10.43.0.{number}"))
        server.put(ENDPOINT_SLICES, slice_(f"s{number}-1", f"s{number}", f"10.42.0.{number}"))
    async with harness.run():
        for number in range(1, 4):
            assert await harness.targets(f"10.43.0.{number}") == [f"10.42.0.{number} . 8080"]
        server.put(SERVICES, service("bad", "10.43.0.9"))
        await harness.until("10.43.0.9", ["10.42.0.9 . 8080"])


async def test_many_services_arrive_in_few_commits(harness):
    server = harness.server
    first = ip_address("10.43.1.0")
    for number in range(200):
        server.put(SERVICES, service(f"s{number}", str(first + number)))
        server.put(ENDPOINT_SLICES, slice_(f"s{number}-1", f"s{number}", f"10.42.0.{number + 1}"))
    async with harness.run():
        assert await harness.targets(str(first + 199)) == ["10.42.0.200 . 8080"]
        assert harness.controller._table.batches == 1
