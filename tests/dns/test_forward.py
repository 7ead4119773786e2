"""The plugin `forward` against servers on loopback: transports, choice of upstreams, failures, and bounds."""

import asyncio
import collections
import ssl

import pytest

from tests.dns.chains import Answers, Clock, answering, closed_port, eventually, lines, nameserver, serving, zone
from wherry.dns import records
from wherry.dns.message import FORMERR, NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Edns, Question, decode, encode
from wherry.dns.plugin import Request
from wherry.kube.pki import Authority

FOUND = answering("a.example. 60 A 192.0.2.1")
ANSWER = ["a.example. 60 A 192.0.2.1"]


def forward(to: str, *options: str) -> str:
    """A Corefile that forwards everything."""
    return f". {{\n forward . {to} {{\n" + "\n".join(options) + "\n }\n}"


async def test_a_query_is_forwarded_as_it_is_under_an_id_of_its_own(tmp_path) -> None:
    async with nameserver(FOUND) as up, serving(f". {{\n forward . {up.address}\n}}", tmp_path) as world:
        edns = Edns(1400, dnssec_ok=True, options=((10, b"12345678"), (8, b"\0\1\x18\0\xc0\0\2")))
        for number in range(8):
            reply = await world.reply(world.query("A.Example", edns=edns if number else None, ad=True))
            assert (reply.message.id, reply.message.recursion_available, lines(reply.message.answer)) == (
                4711,
                True,
                ANSWER,
            )
        sent = [decode(wire) for wire in up.udp]
        assert len({query.id for query in sent}) > 1, "ids are drawn"
        assert (sent[0].edns, sent[0].question) == (None, Question(b"\x01A\x07Example\0", records.A))
        assert (sent[1].edns.size, sent[1].edns.dnssec_ok, sent[1].edns.options) == (1400, True, edns.options)
        assert (sent[1].recursion_desired, sent[1].authentic) == (True, True)
        assert not up.tcp
        assert (await world.ask("a.example", transport="tcp")).answer
        assert (await world.ask("a.example", transport="tls")).answer
        assert (len(up.tcp), up.connections) == (2, 1), "connections are kept"
        to = {"proxy_name": "forward", "to": up.address}
        assert world.value("coredns_proxy_request_duration_seconds_count", rcode="NOERROR", **to) == 10
        assert world.value("coredns_proxy_conn_cache_misses_total", proto="udp", **to) == 1
        assert world.value("coredns_proxy_conn_cache_hits_total", proto="udp", **to) == 7
        assert world.value("coredns_proxy_conn_cache_hits_total", proto="tcp", **to) == 1


async def test_queries_at_once_come_from_different_ports(tmp_path) -> None:
    held: list[bytes] = []

    def answer(wire: bytes) -> bytes | None:
        held.append(wire)
        return None

    async with nameserver(answer) as up, serving(f". {{\n forward . {up.address}\n}}", tmp_path) as world:
        tasks = [asyncio.get_running_loop().create_task(world.ask(f"n{n}.example")) for n in range(20)]
        await eventually(lambda: len(held) == 20)
        assert len(up.ports) == 20
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("option", "udp", "tcp"), [("", 1, 0), ("force_tcp", 0, 1), ("prefer_udp", 1, 1)])
async def test_truncated_replies_and_transports(tmp_path, option, udp, tcp) -> None:
    truncated = answering(truncated=True)

    def answer(wire: bytes) -> bytes:
        return FOUND(wire) if up.tcp else truncated(wire)

    async with (
        nameserver(answer) as up,
        serving(f". {{\n forward . {up.address} {{\n {option}\n }}\n}}", tmp_path) as world,
    ):
        reply = await world.ask("a.example", transport="udp")
        assert (len(up.udp), len(up.tcp)) == (udp, tcp)
        assert reply.truncated == (not tcp)
        up.udp.clear()
        up.tcp.clear()
        await world.ask("a.example", transport="tcp")
        assert bool(up.udp) == (option == "prefer_udp")


async def test_what_is_larger_than_asked_for_becomes_an_empty_truncated_reply(tmp_path) -> None:
    many = answering(*(f"a.example. 60 A 192.0.2.{number}" for number in range(100)))
    async with nameserver(many) as up, serving(f". {{\n forward . {up.address}\n}}", tmp_path) as world:
        reply = await world.ask("a.example")
        assert (reply.truncated, reply.answer) == (True, [])
        reply = await world.ask("a.example", edns=Edns(4096))
        assert (reply.truncated, len(reply.answer)) == (False, 100)


async def test_replies_must_be_the_querys(tmp_path) -> None:
    def another_question(wire: bytes) -> bytes:
        reply = decode(FOUND(wire))
        reply.question = Question(b"\1b\7example\0", records.A)
        return encode(reply)

    async with nameserver(another_question) as up, serving(f". {{\n forward . {up.address}\n}}", tmp_path) as world:
        assert (await world.ask("a.example")).rcode == FORMERR

    def another_id(wire: bytes) -> bytes:
        return bytes((wire[0] ^ 1,)) + FOUND(wire)[1:]

    corefile = ". {{\n forward . {0} {{\n read_timeout 20ms\n max_connect_attempts 1\n }}\n}}"
    async with nameserver(another_id) as up, serving(corefile.format(up.address), tmp_path) as world:
        notes: list[str] = []
        assert (await world.ask("a.example")).rcode == SERVFAIL
        assert len(up.udp) == 1, "a stray id is passed over until the time is up"
        assert notes == []


async def test_the_next_upstream_is_asked_when_one_fails_and_the_failed_one_checked(tmp_path) -> None:
    options = ("policy sequential", "max_fails 1", "health_check 10ms no_rec domain check.example")
    with closed_port() as port:
        async with nameserver(FOUND) as up:
            corefile = forward(f"127.0.0.1:{port} {up.address}", *options)
            async with serving(corefile, tmp_path) as world:
                down, well = world.plugin("forward").stanzas[0].upstreams
                assert lines((await world.ask("a.example")).answer) == ANSWER
                await eventually(down.down)
                assert lines((await world.ask("a.example")).answer) == ANSWER
                to = {"proxy_name": "forward", "to": down.address}
                assert world.value("coredns_proxy_healthcheck_failures_total", **to) >= 2
                assert not well.down()
                opened = world.value("coredns_proxy_conn_cache_misses_total", proto="udp", **to)
                await world.ask("a.example")
                assert world.value("coredns_proxy_conn_cache_misses_total", proto="udp", **to) == opened, "left out"
                async with nameserver(FOUND) as other:
                    down._endpoint.port = other.port
                    await eventually(lambda: not down.fails)
                    check = decode(other.udp[0])
                    assert check.question == Question(b"\5check\7example\0", records.NS)
                    assert not check.recursion_desired


async def test_all_down_means_anyone_or_with_failfast_no_one(tmp_path) -> None:
    for failfast, asked in (("", True), ("failfast_all_unhealthy_upstreams", False)):
        async with nameserver(FOUND) as up:
            corefile = f". {{\n forward . {up.address} {{\n {failfast}\n }}\n}}"
            async with serving(corefile, tmp_path) as world:
                world.plugin("forward").stanzas[0].upstreams[0].fails = 3
                assert (await world.ask("a.example")).rcode == (NOERROR if asked else SERVFAIL)
                assert bool(up.udp) == asked
                assert world.value("coredns_forward_healthcheck_broken_total") == 1


async def test_no_way_to_an_upstream_is_a_fast_failure(tmp_path) -> None:
    with closed_port() as port:
        corefile = f". {{\n forward . 127.0.0.1:{port} [fe80::1%2147483647]:1\n}}"
        async with serving(corefile, tmp_path) as world:
            loop = asyncio.get_running_loop()
            started = loop.time()
            assert (await world.ask("a.example")).rcode == SERVFAIL
            assert loop.time() - started < 4, "no time limit was waited for"


async def test_policies(tmp_path) -> None:
    async with nameserver(FOUND) as one, nameserver(FOUND) as two, nameserver(FOUND) as three:
        servers = (one, two, three)
        to = " ".join(server.address for server in servers)
        for policy, expected in (("sequential", [12, 0, 0]), ("round_robin", [4, 4, 4]), ("random", None)):
            async with serving(f". {{\n forward . {to} {{\n policy {policy}\n }}\n}}", tmp_path) as world:
                for server in servers:
                    server.udp.clear()
                for _ in range(12 if expected else 200):
                    await world.ask("a.example")
                counts = [len(server.udp) for server in servers]
                assert counts == expected if expected else min(counts) > 20, policy


async def test_failover_goes_to_other_upstreams_and_next_to_other_directives(tmp_path) -> None:
    async with (
        nameserver(answering(rcode=REFUSED)) as bad,
        nameserver(answering(rcode=NXDOMAIN)) as none,
        nameserver(answering()) as empty,
        nameserver(FOUND) as good,
    ):
        failover = f". {{\n forward . {bad.address} {good.address} {{\n policy sequential\n failover REFUSED\n }}\n}}"
        async with serving(failover, tmp_path) as world:
            assert lines((await world.ask("a.example")).answer) == ANSWER
        last = f". {{\n forward . {bad.address} {{\n failover refused\n }}\n}}"
        async with serving(last, tmp_path) as world:
            assert (await world.ask("a.example")).rcode == REFUSED
        chained = f""". {{
            forward . {none.address} {{
                next NXDOMAIN
            }}
            forward other {bad.address}
            forward . {empty.address} {{
                next_on_nodata
            }}
            forward . {good.address} {{
                next NOERROR
            }}
        }}"""
        async with serving(chained, tmp_path) as world:
            assert lines((await world.ask("a.example")).answer) == ANSWER
            assert [len(server.udp) for server in (none, empty)] == [1, 1]


async def test_names_that_are_forwarded(tmp_path) -> None:
    end = Answers(zone("x.cluster. 1 A 192.0.2.9"))
    async with nameserver(FOUND) as one, nameserver(FOUND) as two:
        corefile = f""". {{
            forward corp.lan {one.address} {{
                except dmz.corp.lan
            }}
            forward . {two.address} {{
                except cluster corp.lan
            }}
        }}"""
        async with serving(corefile, tmp_path, end=end) as world:
            for name in ("corp.lan", "a.CORP.lan", "a.dmz.corp.lan", "x.cluster", "example"):
                await world.ask(name)
            asked = [[decode(wire).question.name for wire in server.udp] for server in (one, two)]
            assert asked == [[b"\4corp\3lan\0", b"\1a\4CORP\3lan\0"], [b"\7example\0"]]
            assert [request.folded[1:2] for request in end.asked] == [b"a", b"x"]
        async with serving(f". {{\n forward 10.0.0.0/23 {one.address}\n}}", tmp_path, end=end) as world:
            one.udp.clear()
            for name in ("1.0.0.10.in-addr.arpa", "1.1.0.10.in-addr.arpa", "1.2.0.10.in-addr.arpa"):
                await world.ask(name, "PTR")
            assert len(one.udp) == 2


async def test_connections_that_an_upstream_closes_are_replaced(tmp_path) -> None:
    async with (
        nameserver(FOUND, close_after=1) as up,
        serving(forward(up.address, "max_connect_attempts 1"), tmp_path) as world,
    ):
        for _ in range(3):
            assert (await world.ask("a.example", transport="tcp")).answer
        assert up.connections == 3


async def test_idle_connections_have_bounds(tmp_path) -> None:
    clock = Clock()
    async with nameserver(FOUND) as up:
        corefile = f". {{\n forward . {up.address} {{\n expire 5s\n max_age 7s\n max_idle_conns 1\n }}\n}}"
        async with serving(corefile, tmp_path, clock=clock) as world:
            for seconds, connections in ((0, 1), (4, 1), (4, 2), (6, 3), (1, 3)):
                clock.now += seconds
                await world.ask("a.example", transport="tcp")
                assert up.connections == connections, seconds
            await asyncio.gather(*(world.ask(f"{n}.example", transport="tcp") for n in range(3)))
            opened = up.connections
            await world.ask("a.example", transport="tcp")
            assert up.connections == opened
            assert len(world.plugin("forward").stanzas[0].upstreams[0]._pool._idle["tcp"]) == 1


async def test_over_tls_to_a_name_that_the_certificate_has(tmp_path) -> None:
    authority, certificate, key = (tmp_path / name for name in ("ca", "certificate", "key"))
    made = Authority.create("test")
    authority.write_bytes(made.certificate)
    made.issue_server("dns", ["dns.example"]).save(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with nameserver(FOUND, tls=context) as up:
        for to, more, rcode in (
            (f"tls://127.0.0.1%dns.example:{up.port}", "", NOERROR),
            (f"tls://127.0.0.1:{up.port}", "tls_servername dns.example", NOERROR),
            (f"tls://127.0.0.1:{up.port}", "tls_servername other.example", SERVFAIL),
        ):
            corefile = f". {{\n forward . {to} {{\n tls {authority}\n {more}\n max_fails 0\n }}\n}}"
            async with serving(corefile, tmp_path) as world:
                assert (await world.ask("a.example")).rcode == rcode, (to, more)
                labels = {"proxy_name": "forward", "to": up.address, "proto": "tcp-tls"}
                assert world.value("coredns_proxy_conn_cache_misses_total", **labels) >= 1
        assert not up.udp


async def test_the_number_of_queries_in_flight_is_bounded(tmp_path) -> None:
    held: collections.deque[bytes] = collections.deque()

    def answer(wire: bytes) -> None:
        held.append(wire)

    async with nameserver(answer) as up:
        corefile = f". {{\n forward . {up.address} {{\n max_concurrent 3\n }}\n}}"
        async with serving(corefile, tmp_path) as world:
            tasks = [asyncio.get_running_loop().create_task(world.ask(f"n{n}.example")) for n in range(3)]
            await eventually(lambda: len(held) == 3)
            assert (await world.ask("b.example")).rcode == REFUSED
            assert world.value("coredns_forward_max_concurrent_rejects_total") == 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            held.clear()
            task = asyncio.get_running_loop().create_task(world.ask("b.example"))
            await eventually(lambda: held)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_without_upstream_names_fail_at_once_and_it_is_said(tmp_path) -> None:
    (tmp_path / "resolv.conf").write_text("search lan\n# nameserver 192.0.2.1\n")
    for name in ("resolv.conf", "missing.conf"):
        async with serving(f". {{\n forward . {{dir}}/{name}\n}}".replace("{dir}", str(tmp_path)), tmp_path) as world:
            assert [problem.reason for problem in world.problems] == ["NoUpstream"]
            assert name in world.problems[0].text
            assert (await world.ask("a.example")).rcode == SERVFAIL


async def test_a_looping_upstream_is_dropped_and_comes_back(tmp_path) -> None:
    async with (
        nameserver(FOUND) as one,
        nameserver(FOUND) as two,
        serving(forward(f"{one.address} {two.address}"), tmp_path) as world,
    ):
        plugin = world.plugin("forward")
        assert plugin.upstreams() == [one.address, two.address]
        request = Request(world.query("loop.example", "HINFO"), "", 0, "", "udp", "", b"\0")
        await plugin.probe(two.address, request)
        assert ([len(one.udp), len(two.udp)], decode(two.udp[0]).question.type) == ([0, 1], records.HINFO)
        plugin.drop(one.address, "it asks us back")
        for _ in range(8):
            assert (await world.ask("a.example")).answer
        assert not one.udp
        plugin.drop(two.address, "too")
        assert (await world.ask("a.example")).rcode == SERVFAIL
        plugin.restore(one.address)
        assert (await world.ask("a.example")).answer
        with pytest.raises(LookupError):
            await plugin.probe("192.0.2.1:53", request)


async def test_an_upstream_by_name_is_looked_up_by_its_resolver(tmp_path) -> None:
    async with nameserver(FOUND) as up, nameserver(answering("dns.example. 60 A 127.0.0.1")) as resolver:
        corefile = f". {{\n forward . dns.example:{up.port} {{\n resolver {resolver.address}\n }}\n}}"
        async with serving(corefile, tmp_path) as world:
            await eventually(world.plugin("forward").upstreams)
            assert world.plugin("forward").upstreams() == [up.address]
            assert lines((await world.ask("a.example")).answer) == ANSWER
