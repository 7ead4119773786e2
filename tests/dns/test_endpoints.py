"""What is served over HTTP: `health`, `ready` and `prometheus`, and the small server under them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.dns.chains import read, serving
from wherry.dns import message as m
from wherry.dns import records
from wherry.dns.front.protocol import SIZES, Row
from wherry.dns.http import HttpHub, Page
from wherry.dns.traffic import DROPPED, Traffic


async def talk(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def get(port: int, path: str) -> tuple[int, str]:
    head, _, body = (await talk(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def one() -> Page:
    return Page(b"one")


async def two() -> Page:
    return Page(b"two", 503)


@pytest.fixture
async def hub() -> AsyncIterator[tuple[HttpHub, int]]:
    hub = HttpHub()
    port = await hub.serve("127.0.0.1", 0, "/one", one)
    yield hub, port
    await hub.release("127.0.0.1", port, "/one", one)


async def test_blocks_share_a_listener(hub: tuple[HttpHub, int]) -> None:
    server, port = hub
    assert await server.serve("127.0.0.1", port, "/two", two) == port
    assert await get(port, "/one") == (200, "one")
    assert await get(port, "/two?x=1") == (503, "two")
    assert (await get(port, "/three"))[0] == 404
    await server.release("127.0.0.1", port, "/two", two)
    assert (await get(port, "/two"))[0] == 404


async def test_a_successor_answers_and_gives_way(hub: tuple[HttpHub, int]) -> None:
    server, port = hub
    await server.serve("127.0.0.1", port, "/one", two)
    assert await get(port, "/one") == (503, "two")
    await server.release("127.0.0.1", port, "/one", two)
    assert await get(port, "/one") == (200, "one")
    await server.serve("127.0.0.1", port, "/one", two)
    await server.release("127.0.0.1", port, "/one", one)
    assert await get(port, "/one") == (503, "two")
    await server.serve("127.0.0.1", port, "/one", one)
    await server.release("127.0.0.1", port, "/one", two)


async def test_the_last_path_closes_the_listener() -> None:
    hub = HttpHub()
    port = await hub.serve("127.0.0.1", 0, "/one", one)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /one HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"one")
    await hub.release("127.0.0.1", port, "/one", one)
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_connection_carries_many_requests(hub: tuple[HttpHub, int]) -> None:
    request = b"GET /one HTTP/1.1\r\n\r\n"
    assert (await talk(hub[1], request * 3)).count(b"HTTP/1.1 200 OK\r\n") == 3
    assert (await talk(hub[1], b"GET /one HTTP/1.1\r\nConnection: close\r\n\r\n" + request)).count(b"200 OK") == 1
    assert (await talk(hub[1], b"GET /one HTTP/1.0\r\n\r\n" + request)).count(b"200 OK") == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /one HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"POST /one HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 405 Method Not Allowed\r\n"),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET /one HTTP/1.1\r\n" + b"x" * 40_000, b""),
        (b"", b""),
    ],
)
async def test_odd_requests(hub: tuple[HttpHub, int], request_: bytes, status: bytes) -> None:
    answer = await talk(hub[1], request_)
    assert answer.startswith(status)
    assert (not answer) == (not status)
    assert b"\r\n\r\none" not in answer


async def test_health(tmp_path: Path) -> None:
    async with serving(". {\nhealth 127.0.0.1:0\n}\na {\nhealth 127.0.0.1:0\n}", tmp_path) as world:
        assert await get(world.plugin("health").port, "/health") == (200, "OK")
        world.config.stopping = True
        assert await get(world.plugin("health").port, "/health") == (200, "OK")


async def test_health_looks_at_itself(tmp_path: Path) -> None:
    async with serving(". {\nhealth 127.0.0.1:0\n}", tmp_path) as world:
        await world.plugin("health").look()
        assert world.value("coredns_health_request_duration_seconds_count") == 1
        assert world.value("coredns_health_request_failures_total") == 0
        plugin = world.plugin("health")
        await plugin.stop()
        await plugin.look()
        assert world.value("coredns_health_request_failures_total") == 1
        await plugin.start()


@pytest.mark.parametrize("monitor", ["until-ready", "continuously"])
async def test_ready(tmp_path: Path, monitor: str) -> None:
    erratic = "erratic {\ndrop 0\n}"
    text = f". {{\nready 127.0.0.1:0 {{\nmonitor {monitor}\n}}\n{erratic}\n}}\nb {{\n{erratic}\n}}"
    async with serving(text, tmp_path) as world:
        port = world.plugin("ready").port
        assert await get(port, "/ready") == (503, "erratic")
        for _ in range(3):
            await world.ask("a.")
        assert await get(port, "/ready") == (503, "erratic")
        for _ in range(3):
            await world.ask("a.b.")
        assert await get(port, "/ready") == (200, "OK")
        for _ in range(3):
            await world.ask("a.")
        assert await get(port, "/ready") == ((200, "OK") if monitor == "until-ready" else (503, "erratic"))
        world.config.stopping = True
        assert await get(port, "/ready") == (503, "Shutting down")


async def test_an_address_that_is_taken_is_an_error(tmp_path: Path, hub: tuple[HttpHub, int]) -> None:
    config, _ = read(f". {{\nready 127.0.0.1:{hub[1]}\n}}", tmp_path)
    with pytest.raises(OSError, match=f"cannot serve HTTP on 127.0.0.1:{hub[1]}: Address already in use"):
        await config.blocks[0].plugins["ready"].start()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["", "localhost", "::1"])
async def test_addresses(host: str) -> None:
    addresses = {"": ("127.0.0.1", "::1"), "localhost": ("127.0.0.1",), "::1": ("::1",)}[host]
    if not has_ipv6() and "::1" in addresses:
        pytest.skip("this machine has no IPv6")
    hub = HttpHub()
    port = await hub.serve(host, 0, "/one", one)
    try:
        for address in addresses:
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET /one HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\none")
            writer.close()
    finally:
        await hub.release(host, port, "/one", one)


async def test_prometheus(tmp_path: Path) -> None:
    text = ". a.b {\nbind 127.0.0.2 ::1\nprometheus 127.0.0.1:0 {\nruntime_metrics\n}\nwhoami\n}\nc {\nerratic\n}"
    async with serving(text, tmp_path) as world:
        refreshed = 0

        async def refresh() -> None:
            nonlocal refreshed
            refreshed += 1

        world.config.metrics.traffic.refresh = refresh
        status, body = await get(world.plugin("prometheus").port, "/metrics")
    assert (status, refreshed) == (200, 1)
    assert 'coredns_plugin_enabled{name="whoami",server="dns://127.0.0.2:53",view="",zone="."} 1.0' in body
    assert 'coredns_plugin_enabled{name="prometheus",server="dns://[::1]:53",view="",zone="a.b."} 1.0' in body
    assert "erratic" not in body
    assert "coredns_build_info{goversion=" in body
    assert "\ncoredns_panics_total 0.0\n" in body
    assert "\nprocess_resident_memory_bytes " in body
    assert "\npython_info{" in body
    assert "_created" not in body


def count(traffic: Traffic, **changes: object) -> None:
    values: dict[str, object] = {
        "server": "dns://:53", "zone": ".", "view": "", "transport": "udp", "client": "192.0.2.1", "type": records.A,
        "dnssec_ok": False, "rcode": m.NOERROR, "plugin": "hosts", "seconds": 0.0003, "request_size": 40,
        "response_size": 511,
    }  # fmt: skip
    traffic.count(**values | changes)  # type: ignore[arg-type]


def samples(traffic: Traffic) -> dict[str, float]:
    return {
        f"{sample.name} {' '.join(f'{key}={value}' for key, value in sorted(sample.labels.items()))}": sample.value
        for metric in traffic.collect()
        for sample in metric.samples
    }


def test_traffic_of_the_back() -> None:
    traffic = Traffic()
    assert samples(traffic) == {}
    count(traffic)
    count(
        traffic, transport="tls", client="2001:db8::1", type=65280, dnssec_ok=True, rcode=m.NXDOMAIN, response_size=512
    )
    count(traffic, zone=DROPPED, rcode=m.REFUSED, plugin="")
    found = samples(traffic)
    where = "server=dns://:53"
    assert found[f"coredns_dns_requests_total family=1 proto=udp {where} type=A view= zone=."] == 1
    assert found[f"coredns_dns_requests_total family=2 proto=tcp {where} type=other view= zone=."] == 1
    assert found[f"coredns_dns_requests_total family=1 proto=udp {where} type=A view= zone=dropped"] == 1
    assert found[f"coredns_dns_do_requests_total {where} view= zone=."] == 1
    assert found[f"coredns_dns_responses_total plugin=hosts rcode=NXDOMAIN {where} view= zone=."] == 1
    assert found[f"coredns_dns_responses_total plugin= rcode=REFUSED {where} view= zone=dropped"] == 1
    durations = "coredns_dns_request_duration_seconds"
    assert found[f"{durations}_bucket le=0.00025 {where} type=A view= zone=."] == 0
    assert found[f"{durations}_bucket le=0.0005 {where} type=A view= zone=."] == 1
    assert found[f"{durations}_bucket le=8.192 {where} type=A view= zone=."] == 1
    assert found[f"{durations}_sum {where} type=A view= zone=."] == pytest.approx(0.0003)
    sizes = "coredns_dns_response_size_bytes"
    assert found[f"{sizes}_bucket le=400.0 proto=udp {where} view= zone=."] == 0
    assert found[f"{sizes}_bucket le=511.0 proto=udp {where} view= zone=."] == 1
    assert found[f"{sizes}_bucket le=511.0 proto=tcp {where} view= zone=."] == 0
    assert found[f"{sizes}_bucket le=+Inf proto=tcp {where} view= zone=."] == 1
    assert found[f"coredns_dns_request_size_bytes_count proto=udp {where} view= zone=."] == 1


def test_traffic_of_fronts_adds_up() -> None:
    request = tuple(5 if bound == 100 else 0 for bound in (*SIZES, 0))
    response = tuple(2 if bound == 200 else 3 if bound == 511 else 0 for bound in (*SIZES, 0))
    row = Row(
        1, ".", "v", "udp", 2, records.AAAA, True, m.NOERROR, "kubernetes", "", 5, 0.001, 300, request, 1900, response
    )
    traffic = Traffic()
    traffic.add([row, row], ["dns://:53", "dns://:54"])
    found = samples(traffic)
    where = "server=dns://:54"
    assert found[f"coredns_dns_requests_total family=2 proto=udp {where} type=AAAA view=v zone=."] == 10
    assert found[f"coredns_dns_do_requests_total {where} view=v zone=."] == 10
    assert found[f"coredns_dns_responses_total plugin=kubernetes rcode=NOERROR {where} view=v zone=."] == 10
    assert found[f"coredns_dns_request_duration_seconds_bucket le=0.00025 {where} type=AAAA view=v zone=."] == 10
    assert found[f"coredns_dns_request_duration_seconds_sum {where} type=AAAA view=v zone=."] == pytest.approx(0.002)
    assert found[f"coredns_dns_request_size_bytes_bucket le=0.0 proto=udp {where} view=v zone=."] == 0
    assert found[f"coredns_dns_request_size_bytes_bucket le=100.0 proto=udp {where} view=v zone=."] == 10
    assert found[f"coredns_dns_response_size_bytes_bucket le=200.0 proto=udp {where} view=v zone=."] == 4
    assert found[f"coredns_dns_response_size_bytes_sum proto=udp {where} view=v zone=."] == 3800
