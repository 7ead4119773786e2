"""The plugin `transfer`: whole zones, who gets them, and word to secondaries."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import dns.query
import dns.zone
import pytest

from tests.dns.chains import Answers, World, lines, read, serving, zone
from tests.dns.cluster import api_server, endpoint, endpoint_slice, namespace, service
from tests.dns.serving import PATIENCE, free_port
from tests.dns.serving import serving as running
from wherry.dns import names, records
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.kubernetes.zone import Change
from wherry.dns.message import MAX_SIZE, NOTIFY, REFUSED, SERVFAIL, Message, decode, encode
from wherry.dns.plugins.transfer import Transfer
from wherry.kube import kinds
from wherry.kube.endpoint import Endpoint
from wherry.kube.testing.apiserver import FakeApiServer

CLUSTER = """. {
  errors
  transfer cluster.local in-addr.arpa {
    to %s
  }
  kubernetes cluster.local in-addr.arpa {
    startup_timeout 30s
  }
}"""


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with api_server() as fake:
        fake.put(kinds.NAMESPACES, namespace("default"))
        fake.put(kinds.SERVICES, service("web", "10.3.0.1", "fd00::1", ports=["http:80/TCP", ":53/UDP"]))
        fake.put(kinds.SERVICES, service("bare", "10.3.0.2", ports=[]))
        fake.put(kinds.SERVICES, service("out", external="www.example.com"))
        fake.put(kinds.SERVICES, service("db", "None"))
        fake.put(kinds.SERVICES, service("hidden", "10.3.0.3", namespace="gone"))
        fake.put(
            kinds.ENDPOINT_SLICES, endpoint_slice("db", endpoint("10.0.0.1", hostname="db-0"), endpoint("10.0.0.2"))
        )
        yield fake


async def transferred(
    world: World, name: str, kind: str = "AXFR", *, serial: int | None = None, client: str = "192.0.2.7"
) -> list[Message]:
    """All messages of a transfer, as they arrive."""
    query = world.query(name, kind)
    if serial is not None:
        origin = names.from_text(name)
        query.authority = [records.soa(origin, 0, origin, origin, serial, 0, 0, 0, 0)]
    reply = await world.reply(query, client=client, transport="tcp")
    assert reply is not None
    wires = [encode(message) for message in (reply.message, *reply.following)]
    assert max(map(len, wires)) <= MAX_SIZE
    return [decode(wire) for wire in wires]


async def test_a_clusters_zone_has_the_records_that_coredns_transfers(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(CLUSTER % "*", tmp_path, endpoint=lambda: server.endpoint) as world:
        plugin = world.plugin("kubernetes")
        plugin.options = plugin.options._replace(addresses=(bytes([10, 9, 9, 9]),))
        [message] = await transferred(world, "Cluster.local")
    first, *rest, last = lines(message.answer)
    soa = f"SOA ns.dns.cluster.local. hostmaster.cluster.local. {plugin.zone.serial} 7200 1800 86400 5"
    assert first == last == f"cluster.local. 5 {soa}"
    web, port = "web.default.svc.cluster.local.", "_http._tcp"
    assert sorted(rest) == sorted(
        [
            "cluster.local. 5 NS ns.dns.cluster.local.",
            "ns.dns.cluster.local. 5 A 10.9.9.9",
            f"{web} 5 A 10.3.0.1",
            f"{web} 5 AAAA fd00::1",
            f"{web} 5 SRV 0 100 80 {web}",
            f"{web} 5 SRV 0 100 53 {web}",
            f"{port}.{web} 5 SRV 0 100 80 {web}",
            "bare.default.svc.cluster.local. 5 A 10.3.0.2",
            "out.default.svc.cluster.local. 5 CNAME www.example.com.",
            "db.default.svc.cluster.local. 5 A 10.0.0.1",
            "db.default.svc.cluster.local. 5 A 10.0.0.2",
            "db-0.db.default.svc.cluster.local. 5 A 10.0.0.1",
            "10-0-0-2.db.default.svc.cluster.local. 5 A 10.0.0.2",
            f"{port}.db.default.svc.cluster.local. 5 SRV 0 50 8080 db-0.db.default.svc.cluster.local.",
            f"{port}.db.default.svc.cluster.local. 5 SRV 0 50 8080 10-0-0-2.db.default.svc.cluster.local.",
        ]
    )
    assert message.authoritative


async def test_who_has_the_latest_gets_the_soa_alone(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(CLUSTER % "*", tmp_path, endpoint=lambda: server.endpoint) as world:
        now = world.plugin("kubernetes").zone.serial
        for serial, whole in ((now, False), (now + 1, False), (now - 1, True), ((now + 2**31) % 2**32, True)):
            [message] = await transferred(world, "cluster.local", "IXFR", serial=serial)
            assert (len(message.answer) > 1) is whole, serial
        refused = await world.ask("cluster.local", "IXFR", transport="tcp")
        assert refused.rcode == SERVFAIL


async def test_a_large_zone_takes_several_messages(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(CLUSTER % "*", tmp_path, endpoint=lambda: server.endpoint) as world:
        index = world.plugin("kubernetes").zone
        packed = index.entries[b"\x04bare\x07default"].service
        index.apply(Change(services=tuple((b"\x05%05d\x07default" % number, packed) for number in range(3000))))
        messages = await transferred(world, "cluster.local")
        assert len(messages) > 1
        answers = [record for message in messages for record in message.answer]
        assert answers[0] == answers[-1]
        assert [record.type for record in answers].count(records.SOA) == 2
        assert len([record for record in answers if record.rdata == bytes([10, 3, 0, 2])]) == 3001
        assert all(message.question is not None for message in messages)


async def test_only_those_named_may_ask_and_only_over_tcp(server: FakeApiServer, tmp_path: Path) -> None:
    end = Answers(zone("other.test. 60 IN A 192.0.2.1"))
    who = "192.0.2.7 [2001:DB8::7]:5353"
    async with serving(CLUSTER % who, tmp_path, endpoint=lambda: server.endpoint, end=end) as world:
        for client in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"):
            assert len((await transferred(world, "cluster.local", client=client))[0].answer) > 2
        [message] = await transferred(world, "cluster.local", client="192.0.2.8")
        assert (message.rcode, message.answer) == (REFUSED, [])
        assert (await world.ask("cluster.local", "AXFR")).rcode == REFUSED
        # below a zone there is no zone, and elsewhere somebody else's
        assert (await transferred(world, "default.svc.cluster.local"))[0].rcode == REFUSED
        await transferred(world, "other.test")
        assert [request.type for request in end.asked] == [records.AXFR]


async def test_what_is_not_complete_is_not_transferred(tmp_path: Path) -> None:
    nowhere = Endpoint.unix(tmp_path / "nothing.sock")
    text = (CLUSTER % "*").replace("30s", "0s")
    async with serving(text, tmp_path, endpoint=lambda: nowhere) as world:
        assert (await transferred(world, "cluster.local"))[0].rcode == SERVFAIL


MASTER = """$ORIGIN example.org.
@ 60 IN SOA ns hostmaster 7 3600 600 86400 60
@ 60 IN NS ns
ns 60 IN A 192.0.2.1
*.wild 60 IN TXT "x"
"""


async def test_master_files_are_transferred(tmp_path: Path) -> None:
    (tmp_path / "db").write_text(MASTER)
    text = "example.org {\n transfer {\n to *\n }\n file {dir}/db\n}"
    async with serving(text, tmp_path) as world:
        [message] = await transferred(world, "example.org")
        assert [records.type_name(record.type) for record in message.answer][:: len(message.answer) - 1] == ["SOA"] * 2
        assert {records.type_name(record.type) for record in message.answer} == {"SOA", "NS", "A", "TXT"}
        [message] = await transferred(world, "example.org", "IXFR", serial=7)
        assert len(message.answer) == 1


def test_a_secondary_gets_a_large_zone_from_a_running_server(tmp_path: Path) -> None:
    many = "".join(f"host{number} 60 IN TXT {'x' * 60}\n" for number in range(1500))
    (tmp_path / "db").write_text(MASTER + many)
    port, conf = free_port(), tmp_path / "Corefile"
    conf.write_text(
        f"example.org:{port} {{\n bind 127.0.0.1\n transfer {{\n to 127.0.0.1\n }}\n file {tmp_path}/db\n}}\n"
    )
    copy = dns.zone.Zone("example.org.")
    with running(conf, "--fronts", "1"):
        dns.query.inbound_xfr("127.0.0.1", copy, port=port, lifetime=PATIENCE)
    assert len(copy.nodes) == 1503
    assert copy.get_soa().serial == 7


async def test_secondaries_are_told_of_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as good,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bad,
    ):
        for secondary in (good, bad):
            secondary.bind(("127.0.0.1", 0))
            secondary.setblocking(False)
        ports = [secondary.getsockname()[1] for secondary in (good, bad)]
        text = "\n".join(f"to 127.0.0.1:{port}" for port in ports) + "\nsource 127.0.0.1"
        config, _ = read(f"example.org {{\n transfer {{\n{text}\n}}\n}}", tmp_path)
        plugin = config.blocks[0].plugins["transfer"]
        assert isinstance(plugin, Transfer)

        async def answer(secondary: socket.socket, rcode: int, times: int) -> None:
            for _ in range(times):
                wire, sender = await loop.sock_recvfrom(secondary, 512)
                query = decode(wire)
                assert (query.opcode, query.question) == (NOTIFY, (names.from_text("example.org"), records.SOA, 1))
                await loop.sock_sendto(secondary, encode(query.reply(rcode)), sender)

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(answer(good, 0, 1))
            group.create_task(answer(bad, REFUSED, 3))
            group.create_task(plugin.notify(names.from_text("example.org")))
        assert f"notify of zone example.org. was not accepted by 127.0.0.1 port {ports[1]}: REFUSED" in caplog.text
        assert str(ports[0]) not in caplog.text
        await plugin.notify(names.from_text("example.com"))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("", "'to' is required"),
        ("to", "Wrong argument count"),
        ("to somewhere", "not an IP address: 'somewhere'"),
        ("to 10.0.0.1:port", "'port' is not a whole number"),
        ("to *\nsource here", "invalid source address 'here'"),
        ("to *\nsource 10.0.0.1\nsource 10.0.0.2", "source already specified"),
        ("from *", "unknown property 'from'"),
    ],
)
def test_what_is_wrong_is_said(body: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CorefileError, match=f"^plugin/transfer: {tmp_path}/Corefile:[0-9]+ .*{complaint}"):
        read(f". {{\n transfer {{\n{body}\n}}\n}}", tmp_path)
