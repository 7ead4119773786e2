"""Fronts on real sockets, in network namespaces of their own."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dns.front.serving import PORT, SERVER, Tcp, ask, echo, question, serving, tcp, udp
from wherry.dns import records as r
from wherry.dns.front.link import Fronts
from wherry.dns.front.listen import ListenError, own_addresses
from wherry.dns.front.protocol import Answer, Listener, Query
from wherry.dns.message import SERVFAIL, decode, encode
from wherry.kernel.netlink import Netlink
from wherry.kube.pki import Authority

pytestmark = pytest.mark.netns
LOCAL = question("web.default.svc.cluster.local")
DISTANT = question("www.example.com", r.TXT)


def text(reply: bytes) -> str:
    return reply[1:].decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_udp_of_both_families(host: str) -> None:
    async with serving(udp(host)):
        assert (await ask(LOCAL, host)).answer[0].rdata == bytes([10, 43, 0, 7])
        assert text((await ask(DISTANT, host)).answer[0].rdata) == f"{host} {host} udp"


async def test_replies_leave_from_the_address_asked_also_one_that_came_later() -> None:
    with Netlink() as link:
        link.addr_add("lo", "192.0.2.1", 32)
        link.addr_add("lo", "2001:db8::1", 128)
        assert own_addresses(six=False) == ["127.0.0.1", "192.0.2.1"]
        assert set(own_addresses(six=True)) == {"::1", "2001:db8::1"}
        async with serving(udp("0.0.0.0"), udp("::")):
            link.addr_add("lo", "192.0.2.2", 32)
            link.addr_add("lo", "2001:db8::2", 128)
            for host in ("127.0.0.1", "127.1.2.3", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
                assert (await ask(LOCAL, host)).answer[0].rdata == bytes([10, 43, 0, 7])
                assert text((await ask(DISTANT, host)).answer[0].rdata).split(" ")[1:] == [host, "udp"]


async def test_queries_from_port_0_disturb_nobody() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        async with serving(udp(), udp("0.0.0.0")) as fronts:
            for host in ("127.0.0.1", "127.0.0.9"):
                for wire in (LOCAL, DISTANT) * 20:
                    raw.sendto(struct.pack("!HHHH", 0, PORT, 8 + len(wire), 0) + wire, (host, 0))
                assert (await ask(LOCAL, host)).answer
                assert (await ask(DISTANT, host)).answer
            assert sum(row.queries for row in await fronts.counts()) == 42


async def test_pipelined_queries_are_all_answered_whoever_answers_them() -> None:
    async with serving(tcp()):
        client = await Tcp.connect()
        wanted = [
            question("web.default.svc.cluster.local" if n % 3 else "www.example.com", number=n) for n in range(500)
        ]
        client.send(*wanted)
        client.writer.write_eof()
        replies = [await client.receive() for _ in wanted]
        assert {reply.id for reply in replies} == set(range(500))
        assert all(len(reply.answer) == 1 for reply in replies)
        assert await client.ended() == b""
        await client.close()


async def test_queries_may_come_octet_by_octet() -> None:
    async with serving(tcp("::1")):
        client = await Tcp.connect("::1")
        for octet in len(DISTANT).to_bytes(2, "big") + DISTANT:
            client.writer.write(bytes([octet]))
            await client.writer.drain()
        assert text((await client.receive()).answer[0].rdata) == "::1 ::1 tcp"
        await client.close()


@pytest.mark.parametrize("first", [b"", b"\x00", len(LOCAL).to_bytes(2, "big") + LOCAL + b"\x00"])
async def test_connections_end_in_time(first: bytes) -> None:
    async with serving(tcp(), plan=SERVER._replace(read=0.1, idle=0.2)):
        client = await Tcp.connect()
        client.writer.write(first)
        assert bool(await client.ended()) == (len(first) > 1)
        await client.close()


async def test_a_connection_has_as_many_queries_as_the_plan_says() -> None:
    async with serving(tcp(), plan=SERVER._replace(queries=3)):
        client = await Tcp.connect()
        client.send(LOCAL, DISTANT, LOCAL, LOCAL)
        assert [len((await client.receive()).answer) for _ in range(3)] == [1, 1, 1]
        assert await client.ended() == b""
        await client.close()


async def test_who_does_not_read_is_cut_off_and_others_are_served() -> None:
    async with serving(tcp(), plan=SERVER._replace(write=0.2)):
        slow, other = socket.create_connection(("127.0.0.1", PORT)), await Tcp.connect()
        large = question("many.default.svc.cluster.local", r.SRV)
        slow.setblocking(False)
        with pytest.raises(ConnectionError):
            await _send_on(slow, (len(large).to_bytes(2, "big") + large) * 1000)
        other.send(LOCAL)
        assert (await other.receive()).answer
        slow.close()
        await other.close()


async def _send_on(slow: socket.socket, data: bytes) -> None:
    while True:  # until the connection is reset
        await asyncio.get_running_loop().sock_sendall(slow, data)


async def test_new_connections_push_out_the_idlest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.dns.front.tcp.CONNECTIONS", 5)
    async with serving(tcp()):
        clients = []
        for _ in range(8):
            clients.append(await Tcp.connect())
            clients[-1].send(LOCAL)
            assert (await clients[-1].receive()).answer
        assert [await client.ended() for client in clients[:3]] == [b""] * 3
        for client in clients[3:]:
            client.send(LOCAL)
            assert (await client.receive()).answer
        for client in clients:
            await client.close()


async def test_an_answer_of_several_messages() -> None:
    async def transfer(query: Query) -> Iterator[Answer]:
        return iter([Answer(encode(decode(query.wire).reply())) for _ in range(5)])

    async with serving(tcp(), serve=transfer):
        client = await Tcp.connect()
        client.send(DISTANT, question("a.example", number=7))
        assert sorted([(await client.receive()).id for _ in range(10)]) == [1] * 5 + [7] * 5
        client.writer.write_eof()
        assert await client.ended() == b""
        await client.close()


@pytest.mark.parametrize("clients", ["none", "optional", "required"])
async def test_tls(tmp_path: Path, clients: str) -> None:
    authority = Authority.create("test")
    files = [tmp_path / name for name in ("cert", "key", "client-cert", "client-key", "ca")]
    authority.issue_server("dns", ["127.0.0.1"]).save(files[0], files[1])
    authority.issue_client("someone").save(files[2], files[3])
    files[4].write_bytes(authority.certificate)
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    listener = Listener("tls", "127.0.0.1", PORT, 0, (str(files[0]), str(files[1]), str(files[4]), clients))
    async with serving(listener):
        plain = await Tcp.connect()
        plain.send(LOCAL)
        await plain.ended()
        await plain.close()
        stranger = await Tcp.connect(ssl=context)
        stranger.send(LOCAL)
        if clients == "required":
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await stranger.receive()
            context.load_cert_chain(files[2], files[3])
        else:
            assert (await stranger.receive()).answer
            await stranger.close()
        client = await Tcp.connect(ssl=context)
        client.send(*[DISTANT, LOCAL] * 100)
        said = [reply.answer[0] for reply in [await client.receive() for _ in range(200)]]
        assert sum(each.type == r.TXT and text(each.rdata) == "127.0.0.1 127.0.0.1 tls" for each in said) == 100
        await client.close()


async def test_a_port_that_is_taken_is_named_and_nothing_changes() -> None:
    with socket.create_server(("127.0.0.2", PORT)):
        async with serving(udp()) as fronts:
            with pytest.raises(ListenError, match=r"tcp on 127\.0\.0\.2:5353: Address already in use"):
                await fronts.configure([udp("127.0.0.3"), tcp("127.0.0.2")], [SERVER])
            assert (await ask(LOCAL)).answer


def _flood(stop: threading.Event, counts: list[int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", PORT))
        while not stop.is_set():
            client.send(LOCAL)
            counts[0] += 1
            client.recv(512)
            counts[1] += 1


async def test_no_query_is_lost_while_it_is_configured_anew() -> None:
    async with serving(udp(), count=2) as fronts:
        stop, counts = threading.Event(), [[0, 0] for _ in range(3)]
        clients = [threading.Thread(target=_flood, args=(stop, each)) for each in counts]
        for client in clients:
            client.start()
        for turn in range(10):
            await fronts.configure([udp(), udp(f"127.0.1.{turn}"), tcp()], [SERVER, SERVER._replace(label=str(turn))])
            fronts.ready(1)
        stop.set()
        for client in clients:
            await asyncio.to_thread(client.join)
        assert all(sent == answered > 0 for sent, answered in counts)
        assert (await ask(LOCAL, "127.0.1.9")).answer


async def test_more_than_the_back_can_take_is_refused() -> None:
    release = asyncio.Event()

    async def slow(query: Query) -> Answer:
        await release.wait()
        return await echo(query)

    async with serving(tcp(), serve=slow):
        clients = [await Tcp.connect() for _ in range(20)]
        for client in clients:
            client.send(*[DISTANT] * 120)
        refused = [client for client in clients if (await clients[-1].receive()).rcode == SERVFAIL][:1]
        assert refused
        assert (await _local(clients[-1])).answer
        release.set()
        for client in clients[:10]:
            assert [len((await client.receive()).answer) for _ in range(120)] == [1] * 120
        for client in clients:
            await client.close()


async def _local(client: Tcp) -> object:
    client.send(question("web.default.svc.cluster.local", number=99))
    while (reply := await client.receive()).id != 99:
        pass
    return reply


async def test_counts_are_complete_also_at_the_end() -> None:
    async with serving(udp(), tcp()) as fronts:
        for _ in range(3):
            await ask(LOCAL)
        await ask(DISTANT)  # the back counts its own
        assert [(row.transport, row.type, row.queries) for row in await fronts.counts()] == [("udp", 1, 3)]
        client = await Tcp.connect()
        client.send(LOCAL, LOCAL)
        await client.receive()
        await client.receive()
        assert [(row.transport, row.queries) for row in await fronts.stop(5)] == [("tcp", 2)]
        await client.close()


async def test_what_is_under_way_is_answered_before_the_end() -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(query: Query) -> Answer:
        asked.set()
        await release.wait()
        return await echo(query)

    async with serving(udp(), tcp(), serve=slow) as fronts, asyncio.TaskGroup() as tasks:
        reply = tasks.create_task(ask(DISTANT))
        await asked.wait()
        end = tasks.create_task(_stop(fronts))
        release.set()
        assert (await reply).answer
        await end


async def _stop(fronts: Fronts) -> None:
    await fronts.stop(10)
