"""Ten thousand services of five endpoints each: cold start, one change, connections; beside iptables rules.

Everything happens in network namespaces of its own. The peer is the shape of what kube-proxy's iptables mode writes for
such services: a chain for each service and one for each endpoint, all reached through one list. It is written by nft
in one transaction, as iptables need not be there; in the kernel iptables-nft keeps the same rules.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

from msgspec import structs

from bench.report import report
from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft
from wherry.kernel.testing import isolate
from wherry.kernel.transaction import Transaction
from wherry.kube.keys import Key
from wherry.kube.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from wherry.services.apply import ServiceTable
from wherry.services.compile import compile_service
from wherry.services.model import ServiceState
from wherry.services.names import Ranges
from wherry.services.topology import Place

SERVICES = 10_000
ENDPOINTS = 5
CHANGES = 300
PLACE = Place("node-1")
RANGES = Ranges(cluster=("10.32.0.0/13",), own=("10.32.0.0/24",), services=("10.96.0.0/12",))
SERVER = "10.41.0.2"
SHAPE = "a list of 10,000 jumps, as in kube-proxy's iptables mode, written by nft"
FIRST_SERVICE, FIRST_POD = ip_address("10.96.0.10"), ip_address("10.33.0.1")


def measure() -> None:
    """Measure in a child process, as its namespaces cannot be left again."""
    subprocess.run([sys.executable, "-m", "bench.services"], check=True)


def _service(number: int) -> Service:
    return Service(
        metadata=ObjectMeta(namespace="bench", name=f"service-{number}"),
        spec=ServiceSpec(cluster_ips=(str(FIRST_SERVICE + number),), ports=(ServicePort(name="http", port=80),)),
    )


def _slices(number: int, shift: int = 0) -> list[EndpointSlice]:
    pods = (str(FIRST_POD + number * 2 * ENDPOINTS + shift + index) for index in range(ENDPOINTS))
    ends = tuple(Endpoint(addresses=(address,), node_name=f"node-{index}") for index, address in enumerate(pods))
    return [EndpointSlice(address_type="IPv4", endpoints=ends, ports=(EndpointPort(name="http", port=8080),))]


def _compiled(number: int, shift: int = 0) -> ServiceState:
    return compile_service(_service(number), _slices(number, shift), place=PLACE)


def _key(number: int) -> Key:
    return Key("bench", f"service-{number}")


class _Timed(ServiceTable):
    """Notes how long each commit takes."""

    def __init__(self) -> None:
        super().__init__(ranges=RANGES)
        self.commits: list[float] = []

    async def _commit(self, batch: Transaction) -> None:
        began = time.perf_counter()
        await super()._commit(batch)
        self.commits.append(time.perf_counter() - began)


def _rss() -> float:
    """Megabytes of this process and of its nft child, shared pages in both."""
    children = Path("/proc/thread-self/children").read_text().split()
    lines = [line for pid in ("self", *children) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss:"))


async def _ours() -> None:
    empty = _rss()
    objects = [(_key(number), _service(number), _slices(number)) for number in range(SERVICES)]
    table = _Timed()
    began = time.perf_counter()
    states = {key: compile_service(service, slices, place=PLACE) for key, service, slices in objects}
    compiled = time.perf_counter() - began
    await table.sync(states)
    report("services_10000_cold", time.perf_counter() - began, "s", target=6, compile=round(compiled, 3))
    report("services_10000_longest_transaction", 1000 * max(table.commits), "ms", target=300, of=len(table.commits))
    times = []
    chance = random.Random(1)
    for number in chance.sample(range(SERVICES), CHANGES):
        began = time.perf_counter()
        await table.update({_key(number): _compiled(number, 1)})
        times.append(1000 * (time.perf_counter() - began))
    spread = statistics.quantiles(times, n=100)
    report("services_10000_one_endpoint_p99", spread[98], "ms", target=25, p50=round(spread[49], 2))
    report("services_10000_rss", _rss(), "MB", target=150, before=round(empty, 1))
    await table.update(states)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-m", "bench.services", "restart"], check=True)
    await table.remove()
    await table.close()


CONNECTS = """
import socket, struct, sys, time
# Closing by a reset leaves no port in TIME_WAIT; after some 14,000 of those, finding a free one takes milliseconds.
RESET = struct.pack("ii", 1, 0)
def rate(place):
    n, end = 0, time.monotonic() + 0.05
    while time.monotonic() < end:
        with socket.create_connection(place, 5) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        n += 1
    return n / 0.05
places = [(host, int(port)) for host, port in (text.rsplit(":", 1) for text in sys.argv[1:])]
for _ in range(20):
    print(*(rate(place) for place in places))
"""
SERVES = """
import socket
server = socket.create_server(("", 8080), backlog=4000)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""


class _Machines:
    """A client and a server, each in a namespace of its own, on both sides of this one."""

    def __init__(self) -> None:
        self._paths = {"client": 40, "server": 41}
        sysctl.set("net.ipv4.ip_forward", 1)
        for name, number in self._paths.items():
            netns.create(f"/run/netns/{name}")
            with Netlink() as link, Netlink(f"/run/netns/{name}") as inside:
                link.link_add_veth(name, "eth0", f"/run/netns/{name}", up=True)
                link.addr_add(name, f"10.{number}.0.1", 24)
                inside.link_set("eth0", up=True)
                inside.addr_add("eth0", f"10.{number}.0.2", 24)
                inside.route_replace("0.0.0.0/0", via=f"10.{number}.0.1")
        with netns.entered("/run/netns/server"):
            self._server = subprocess.Popen([sys.executable, "-c", SERVES], stdout=subprocess.PIPE)
        assert self._server.stdout is not None
        self._server.stdout.readline()

    def rates(self, *places: str) -> list[list[float]]:
        """Connections a second to the server itself and to each of these places, for a number of short rounds."""
        with netns.entered("/run/netns/client"):
            said = subprocess.run(
                [sys.executable, "-c", CONNECTS, f"{SERVER}:8080", *places],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        return [[float(rate) for rate in line.split()] for line in said.stdout.splitlines()]

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


def _reached() -> ServiceState:
    """A service whose one endpoint is the server, by its own address, a node port and a load balancer's address."""
    service = _service(SERVICES)
    port = ServicePort(name="http", port=80, node_port=30080)
    spec = structs.replace(service.spec, type="LoadBalancer", ports=(port,))
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=(LoadBalancerIngress(ip="192.0.2.1"),)))
    end = Endpoint(addresses=(SERVER,), node_name=PLACE.node)
    slice_ = EndpointSlice(address_type="IPv4", endpoints=(end,), ports=(EndpointPort(name="http", port=8080),))
    return compile_service(structs.replace(service, spec=spec, status=status), [slice_], place=PLACE)


def _parts(rounds: list[list[float]], at: int = 1) -> float:
    """The rate to a place as part of the rate to the server itself just before."""
    return statistics.median(each[at] / each[0] for each in rounds)


async def _connects(machines: _Machines) -> None:
    cluster = f"{FIRST_SERVICE + SERVICES}:80"
    found: dict[int, list[list[float]]] = {10: [], SERVICES: []}
    for count in (*found, *found, *found, *found):  # by turns, as the machine's load changes meanwhile
        table = ServiceTable(ranges=RANGES)
        states = {_key(number): _compiled(number) for number in range(count)}
        await table.sync(states | {_key(SERVICES): _reached()})
        found[count] += machines.rates(cluster, "10.40.0.1:30080", "192.0.2.1:80")
        await table.remove()
        await table.close()
    linear = await _compare(machines, cluster)
    # the list is walked for every connection, also for one straight to the server: rates, not parts, can be compared
    peer = {"peer": statistics.median(each[1] for each in linear), "peer_name": SHAPE}
    for at, name in enumerate(("cluster_ip", "node_port", "load_balancer"), 1):
        report(
            f"services_10000_connect_rate_{name}",
            statistics.median(each[at] for each in found[SERVICES]),
            "connects/s",
            of_10_services=round(_parts(found[SERVICES], at) / _parts(found[10], at), 3),
            target_of_10_services=0.97,
            of_direct=round(_parts(found[SERVICES], at), 3),
            **(peer if name == "cluster_ip" else {}),
        )


async def _compare(machines: _Machines, cluster: str) -> list[list[float]]:
    """The peer's load, change and connections."""
    nft = Nft()
    began = time.perf_counter()
    await nft.commit("\n".join(_linear()))
    report("services_iptables_shape_load", time.perf_counter() - began, "s", what=SHAPE)
    rounds = machines.rates(cluster)
    began = time.perf_counter()
    await nft.commit(f"flush chain ip linear sep-7-0; add rule ip linear sep-7-0 tcp dport 80 dnat to {SERVER}:8080")
    report("services_iptables_shape_one_change", 1000 * (time.perf_counter() - began), "ms", what=SHAPE)
    await nft.close()
    return rounds


def _linear() -> list[str]:
    """The peer's rules for the same services; the one that is measured comes last, as any of them may."""
    lines = ["add table ip linear", "add chain ip linear nat { type nat hook prerouting priority dstnat; }"]
    lines += ["add chain ip linear services"]
    for number in range(SERVICES + 1):
        targets = [SERVER] if number == SERVICES else [str(FIRST_POD + number * 10 + at) for at in range(ENDPOINTS)]
        lines.append(f"add chain ip linear svc-{number}")
        for at, target in enumerate(targets):
            left = len(targets) - at
            chance = f"numgen random mod {left} 0 " if left > 1 else ""
            lines += [
                f"add chain ip linear sep-{number}-{at}",
                f"add rule ip linear sep-{number}-{at} tcp dport 80 dnat to {target}:8080",
                f"add rule ip linear svc-{number} {chance}jump sep-{number}-{at}",
            ]
        lines.append(f"add rule ip linear services ip daddr {FIRST_SERVICE + number} tcp dport 80 jump svc-{number}")
    return [*lines, "add rule ip linear nat jump services"]


async def _restart() -> None:
    """In a process that finds the table complete."""
    states = {_key(number): _compiled(number) for number in range(SERVICES)}
    table = ServiceTable(ranges=RANGES)
    began = time.perf_counter()
    await table.sync(states)
    report("services_10000_restart", time.perf_counter() - began, "s", commits=table.batches)
    report("services_10000_restart_rss", _rss(), "MB", target=150)
    await table.close()


def _main() -> None:
    if sys.argv[1:] == ["restart"]:
        asyncio.run(_restart())
        return
    isolate()
    asyncio.run(_ours())
    machines = _Machines()
    try:
        asyncio.run(_connects(machines))
    finally:
        machines.close()
    if shutil.which("iptables-restore") is None:
        print("bench: no iptables here: its shape was written by nft instead", file=sys.stderr)


if __name__ == "__main__":
    _main()
