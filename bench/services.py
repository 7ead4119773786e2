"""Ten thousand services of five endpoints each: cold start, one change, connections, throughput; beside iptables.

Everything happens in network namespaces of its own. The peer are the rules of kube-proxy's iptables mode and of
klipper-lb, see :mod:`bench.iptables_shape`; what kube-proxy spends before it runs iptables is not counted against it.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import iptables_shape as shape
from bench import service_world as world
from bench.report import report
from bench.service_machines import POD, Machines
from wherry.cloud.forwarder.program import ruleset
from wherry.kernel import netns
from wherry.kernel.nft import Nft
from wherry.kernel.testing import isolate
from wherry.kernel.transaction import Transaction
from wherry.pods.sandbox.hostports import HostPorts
from wherry.pods.sandbox.model import HostPort, Sandbox
from wherry.services.apply import ServiceTable
from wherry.services.compile import compile_service

SERVICES = world.SERVICES
CHANGES = 300
PEER_CHANGES = 9
ROUNDS = 4
STREAM_ROUNDS = 12
PLACES = {
    "cluster_ip": f"{world.CLUSTER_IP}:{world.PORT}",
    "node_port": f"{world.NODE}:{world.NODE_PORT}",
    "load_balancer": f"{world.BALANCER}:{world.PORT}",
    "load_balancer_pod": f"{world.NODE}:{shape.BY_POD_PORT}",
}
STREAMS = {
    "cluster_ip": (world.CLUSTER_IP, world.STREAM_PORT),
    "node_port": (world.NODE, world.STREAM_NODE_PORT),
    "load_balancer": (world.BALANCER, world.STREAM_PORT),
}
Rounds = list[list[float]]


def measure() -> None:
    """Measure in a child process, as its namespaces cannot be left again."""
    subprocess.run([sys.executable, "-m", "bench.services"], check=True)


class _Timed(ServiceTable):
    """Notes how long each commit takes."""

    def __init__(self) -> None:
        super().__init__(ranges=world.RANGES)
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


async def _ours(flavours: list[str]) -> None:
    """Loading and changing, beside what iptables needs for the same."""
    empty = _rss()
    objects = [(world.key(number), world.service(number), world.slices(number)) for number in range(SERVICES)]
    table = _Timed()
    began = time.perf_counter()
    states = {key: compile_service(service, slices, place=world.PLACE) for key, service, slices in objects}
    compiled = time.perf_counter() - began
    await table.sync(states)
    cold = time.perf_counter() - began
    longest = 1000 * max(table.commits)
    times = []
    for number in random.Random(1).sample(range(SERVICES), CHANGES):
        began = time.perf_counter()
        await table.update({world.key(number): world.compiled(number, 1)})
        times.append(1000 * (time.perf_counter() - began))
    spread = statistics.quantiles(times, n=100)
    rss = _rss()
    await table.update(states)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-m", "bench.services", "restart"], check=True)
    await table.remove()
    await table.close()
    loads, changes = {}, {}
    for flavour in flavours:
        loads[flavour], changes[flavour] = _peer_writes(flavour)
    report(
        "services_10000_cold", cold, "s",
        target=6, compile=round(compiled, 3), **_beside(loads, cold), peer_is="iptables-restore alone",
    )  # fmt: skip
    report("services_10000_longest_transaction", longest, "ms", target=300, of=len(table.commits))
    report(
        "services_10000_one_endpoint_p99", spread[98], "ms",
        target=25, p50=round(spread[49], 2), **_beside(changes, spread[49]), peer_is="median, against ours (p50)",
    )  # fmt: skip
    report("services_10000_rss", rss, "MB", target=150, before=round(empty, 1))


def _peer_writes(flavour: str) -> tuple[float, float]:
    """Seconds to load everything with iptables, and the median of milliseconds for one endpoint's change."""
    took = shape.restore(flavour, shape.load(SERVICES))
    changes = [
        1000 * shape.restore(flavour, shape.change(SERVICES, number, 1), "--noflush", "--counters")
        for number in random.Random(1).sample(range(SERVICES), PEER_CHANGES)
    ]
    shape.clear(flavour)
    return took, statistics.median(changes)


def _beside(values: dict[str, float], ours: float) -> dict[str, object]:
    """The peers' values, and how many times ours they are."""
    found: dict[str, object] = {}
    for flavour, value in values.items():
        end = "" if not found else f"_{shape.FLAVOURS[flavour]}"
        found |= {
            f"peer{end}": round(value, 3),
            f"peer{end}_name": f"kube-proxy's rules by {flavour}",
            f"peer{end}_of_ours": round(value / ours, 3),
        }
    return found


def _parts(rounds: Rounds, at: int) -> float:
    """What a place gives as part of what the server itself gives in the same round."""
    return statistics.median(each[at] / each[0] for each in rounds)


async def _connects(machines: Machines, flavours: list[str]) -> None:
    """Connection rates with ten services, with all of them, and with the peers' rules, by turns."""
    few, all_, peers = [], [], {flavour: Rounds() for flavour in flavours}
    for number in range(ROUNDS):  # by turns, as the machine's load changes meanwhile
        few += await _our_rates(machines, 10)
        all_ += await _our_rates(machines, SERVICES)
        for flavour in flavours if number % 2 else ():
            peers[flavour] += _peer_rates(machines, flavour)
    for at, name in enumerate(PLACES, 1):
        rate = statistics.median(each[at] for each in all_)
        # a list is walked for every connection, also for one straight to the server: rates, not parts, are compared
        theirs = {flavour: statistics.median(each[at] for each in rounds) for flavour, rounds in peers.items()}
        report(
            f"services_10000_connect_rate_{name}",
            rate,
            "connects/s",
            of_10_services=round(_parts(all_, at) / _parts(few, at), 3),
            target_of_10_services=0.97,
            of_direct=round(_parts(all_, at), 3),
            **_beside(theirs, rate),
        )


async def _our_rates(machines: Machines, count: int) -> Rounds:
    table, nft = ServiceTable(ranges=world.RANGES), Nft()
    ports = HostPorts(nft)
    states = {world.key(number): world.compiled(number) for number in range(count)}
    await table.sync(states | {world.key(world.REACHED): world.reached()})
    port = HostPort("TCP", shape.BY_POD_PORT, shape.BY_POD_PORT)
    await ports.load([Sandbox("lb", "kube-system", "lb", "lb", machines.path("lb"), (POD,), ports=(port,))])
    pod = Nft(machines.path("lb"))
    environment = {
        "SRC_PORT": str(shape.BY_POD_PORT), "DEST_PROTO": "TCP", "DEST_PORT": str(world.PORT),
        "DEST_IPS": world.CLUSTER_IP, "SRC_RANGES": "0.0.0.0/0",
    }  # fmt: skip
    await pod.commit(ruleset(environment, {4: True}))
    found = machines.rates(*PLACES.values())
    for each in (nft, pod):
        await each.commit("flush ruleset")
        await each.close()
    await table.close()
    return found


def _peer_rates(machines: Machines, flavour: str) -> Rounds:
    shape.restore(flavour, shape.load(SERVICES))
    shape.restore(flavour, shape.by_pod(POD), "--noflush")
    with netns.entered(machines.path("lb")):
        shape.restore(flavour, shape.in_pod())
    found = machines.rates(*PLACES.values())
    with netns.entered(machines.path("lb")):
        shape.clear(flavour)
    shape.clear(flavour)
    return found


async def _throughput(machines: Machines) -> None:
    """iperf3 through a service beside iperf3 straight to its endpoint."""
    if shutil.which("iperf3") is None:
        print("bench: no iperf3 here, so nothing is said about throughput", file=sys.stderr)
        return
    table = ServiceTable(ranges=world.RANGES)
    await table.sync({world.key(world.REACHED): world.reached()})
    rounds = machines.throughputs([*STREAMS.values()], STREAM_ROUNDS)
    for at, name in enumerate(STREAMS, 1):
        report(
            f"services_throughput_{name}",
            statistics.median(each[at] for each in rounds),
            "Gbit/s",
            direct=round(statistics.median(each[0] for each in rounds), 3),
            of_direct=round(_parts(rounds, at), 3),
            target_of_direct=0.97,
        )
    await table.remove()
    await table.close()


async def _restart() -> None:
    """In a process that finds the table complete."""
    states = {world.key(number): world.compiled(number) for number in range(SERVICES)}
    table = ServiceTable(ranges=world.RANGES)
    began = time.perf_counter()
    await table.sync(states)
    report("services_10000_restart", time.perf_counter() - began, "s", commits=table.batches)
    report("services_10000_restart_rss", _rss(), "MB", target=150)
    await table.close()


def _flavours() -> list[str]:
    """The kinds of iptables that work here."""
    found = []
    for flavour in shape.FLAVOURS:
        try:
            shape.clear(flavour)
        except (FileNotFoundError, RuntimeError) as error:
            print(f"bench: nothing is compared with {flavour}: {error}", file=sys.stderr)
        else:
            found.append(flavour)
    return found


async def _measure() -> None:
    flavours = _flavours()
    await _ours(flavours)
    with Machines() as machines:
        await _throughput(machines)
        await _connects(machines, flavours)


def _main() -> None:
    if sys.argv[1:] == ["restart"]:
        asyncio.run(_restart())
        return
    isolate()
    asyncio.run(_measure())


if __name__ == "__main__":
    _main()
