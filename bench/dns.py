"""Cluster DNS beside Knot and Unbound: processor time of a query, delays, memory, and how soon a change is answered.

Everything happens in a network namespace of its own, each server on one processor and dnsperf on the other. Names that
are asked for are addresses of both families, SRV, PTR and names that do not exist, a fifth each.
"""

from __future__ import annotations

import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import dns_servers as servers
from bench import dns_world as worlds
from bench.dns_servers import Server
from bench.report import report
from wherry.kernel.testing import isolate

SERVICES = 5_000
LARGE, ENDPOINTS = 10_000, 5
ROUNDS, SECONDS, WARM = 3, 3, 2
CHANGES = 50
CHURN = 50
COREDNS = "CoreDNS 1.13.1 took 18 µs; at 10,000/s its p50 and p99 were 90 and 809 µs"


def measure() -> None:
    """Measure in a child process, as its namespaces cannot be left again."""
    if not shutil.which("dnsperf"):
        raise SystemExit("bench: dns needs dnsperf (Debian: apt-get install dnsperf; knot and unbound are its peers)")
    subprocess.run([sys.executable, "-m", "bench.dns"], check=True)


class Around:
    """The API server and the upstream resolver."""

    def __init__(self, services: int, endpoints: int) -> None:
        self._process = subprocess.Popen(
            [
                "taskset",
                "-c",
                str(servers.CLIENT),
                sys.executable,
                "-m",
                "bench.dns_api",
                str(services),
                str(endpoints),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.api, self.upstream = map(int, self._line().split())

    def move(self, number: int, shift: int) -> float:
        """Move a service's endpoints; when the event was written (`time.monotonic`)."""
        self._say(f"slice {number} {shift}")
        return float(self._line())

    def churn(self, rate: int) -> None:
        self._say(f"churn {rate}")

    def stop(self) -> None:
        self._process.communicate(timeout=20)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class Load(NamedTuple):
    """What dnsperf saw and what that cost the server."""

    queries: int
    rate: float
    lost: int
    cpu: float
    """Microseconds a query."""
    delays: list[float]
    """Microseconds, sorted."""


def load(server: Server, questions: Path, *flags: str, seconds: int = SECONDS, delays: bool = False) -> Load:
    before = server.cpu()
    command = ["taskset", "-c", str(servers.CLIENT), "dnsperf", "-s", "127.0.0.1", "-p", str(server.port)]
    command += ["-d", str(questions), "-l", str(seconds), *flags, *(["-v"] if delays else [])]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cost = server.cpu() - before
    done = int(_number(r"Queries completed: +(\d+)", said))
    if not done:
        raise SystemExit(f"bench: {server.name} answered nothing:\n{said}")
    each = sorted(1e6 * float(line.rsplit(" ", 1)[1]) for line in said.splitlines() if line.startswith("> "))
    rate = _number(r"Queries per second: +([\d.]+)", said)
    return Load(done, rate, int(_number(r"Queries lost: +(\d+)", said)), 1e6 * cost / done, each)


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"bench: dnsperf said nothing like {pattern!r}:\n{text}")
    return float(found[1])


def _cost(home: Path) -> None:
    """Processor time, delays, TCP and external names, of ours and of the peers by turns."""
    world = worlds.items(SERVICES)
    around = Around(SERVICES, 3)
    names, outside = home / "names", home / "outside"
    names.write_text("\n".join(worlds.questions(world)) + "\n")
    outside.write_text("\n".join(worlds.external()) + "\n")
    ours = servers.ours(home, around.api, around.upstream)
    peers = [peer for peer in (servers.knot(home, world), servers.unbound(home, world)) if peer is not None]
    for missing in {"knot", "unbound"} - {peer.name for peer in peers}:
        print(f"bench: no {missing} here, nothing to compare with (Debian: apt-get install {missing})", file=sys.stderr)
    everyone = [ours, *peers]
    try:
        for server in everyone:
            server.wait(world[-10].domain)
            load(server, names, seconds=WARM)
        # By turns, as the machine's load changes meanwhile.
        runs: dict[Server, list[Load]] = {server: [] for server in everyone}
        for _ in range(ROUNDS):
            for server in everyone:
                runs[server].append(load(server, names))
        cost = {server.name: statistics.median(run.cpu for run in runs[server]) for server in everyone}
        ratios = {f"of_{peer.name}": round(cost["wherry"] / cost[peer.name], 3) for peer in peers}
        rates = {server.name: round(statistics.median(run.rate for run in runs[server])) for server in everyone}
        costs = {name: round(value, 2) for name, value in cost.items()}
        target = {"target": 8, "target_of_knot": 1.3, "coredns": COREDNS}
        lost = sum(run.lost for run in runs[ours])
        report("dns_cluster_cpu", cost["wherry"], "µs/query", **target, **ratios, all=costs, rates=rates, lost=lost)
        _delays(everyone, names)
        load(ours, outside, seconds=1)
        kept = statistics.median(load(ours, outside).cpu for _ in range(ROUNDS))
        report("dns_cached_external_cpu", kept, "µs/query", target=12, of_cluster=round(kept / cost["wherry"], 3))
        tcp = [load(ours, names, "-m", "tcp", "-c", "4", "-q", "200") for _ in range(ROUNDS)]
        rate = statistics.median(run.rate for run in tcp)
        report(
            "dns_tcp_rate", rate, "queries/s", target=30_000, cpu=round(statistics.median(run.cpu for run in tcp), 2)
        )
        report("dns_memory_after_load", ours.memory("Rss"), "MB", pss=round(ours.memory("Pss"), 1))
        _garbage(ours, names)
    finally:
        for server in everyone:
            server.stop()
        around.stop()


def _delays(everyone: list[Server], names: Path) -> None:
    """How long queries take at a moderate rate, of all by turns."""
    spreads: dict[Server, list[list[float]]] = {server: [] for server in everyone}
    for _ in range(ROUNDS):
        for server in everyone:
            spreads[server].append(statistics.quantiles(load(server, names, "-Q", "10000", delays=True).delays, n=100))
    for server in everyone:
        p50, p99 = (statistics.median(spread[at] for spread in spreads[server]) for at in (49, 98))
        best = min(spread[98] for spread in spreads[server])
        more = {"p50": round(p50, 1), "best_p99": round(best, 1), "at": "10,000/s"}
        report(f"dns_delay_{server.name}_p99", p99, "µs", target=809, **more)


GARBAGE = """
import random, socket, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
client.setblocking(False)
chance = random.Random(1)
lines = [chance.randbytes(chance.randrange(0, 90)) for _ in range(500)]
lines += [b"..\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + chance.randbytes(40) for _ in range(500)]
sent, began = 0, time.monotonic()
while (spent := time.monotonic() - began) < float(sys.argv[2]):
    while sent < spent * 100_000:
        try:
            client.send(lines[sent % 1000])
        except OSError:
            pass
        sent += 1
    try:
        while True:
            client.recv(512)
    except OSError:
        pass
print(sent / spent)
"""


def _garbage(ours: Server, names: Path) -> None:
    """Normal queries while a hundred thousand others a second are none; the sender shares the client's processor."""
    sender = subprocess.Popen(
        ["taskset", "-c", str(servers.CLIENT), sys.executable, "-c", GARBAGE, str(ours.port), "4"],
        stdout=subprocess.PIPE,
        text=True,
    )
    before = _overflows()
    run = load(ours, names, "-Q", "2000", "-t", "2")
    sent, _ = sender.communicate()
    answered = run.queries / (run.queries + run.lost)
    more = {"garbage_per_second": round(float(sent)), "overflows": _overflows() - before}
    report("dns_answered_under_garbage", 100 * answered, "%", target=100, **more)


def _overflows() -> int:
    """Datagrams that this namespace lost as they did not fit into a socket's buffer."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Udp:")
    return int(values[names.index("RcvbufErrors")])


def _large(home: Path) -> None:
    """A large cluster: time to ready, memory, and how soon a change is answered."""
    world = worlds.items(LARGE, ENDPOINTS)
    around = Around(LARGE, ENDPOINTS)
    server = servers.ours(home, around.api, around.upstream, pinned=False)
    try:
        ready = server.wait(world[-10].domain)
        report("dns_large_ready", ready, "s", target=5, services=LARGE, endpoints=LARGE * ENDPOINTS)
        pss, processes = round(server.memory("Pss"), 1), len(server.pids())
        report("dns_large_rss", server.memory("Rss"), "MB", target=200, pss=pss, processes=processes)
        _changes("dns_change_answered_p99", server, around, world)
        around.churn(CHURN)
        before, began = server.cpu(), time.monotonic()
        _changes("dns_change_answered_under_churn_p99", server, around, world)
        spent = (server.cpu() - before) / (time.monotonic() - began)
        report("dns_churn_cpu", 100 * spent, "% of a core", slices_per_second=CHURN)
        around.churn(0)
        report("dns_large_rss_after_changes", server.memory("Rss"), "MB", target=200)
    finally:
        server.stop()
        around.stop()


def _changes(name: str, server: Server, around: Around, world: list[worlds.Item]) -> None:
    """Move headless services one after another; from the event's writing until the new endpoints are answered."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", server.port))
        chance = random.Random(2)
        headless = [item for item in world[: LARGE // 2] if item.headless]
        for turn, item in enumerate(chance.sample(headless, CHANGES)):
            asked = servers.query(item.domain)
            client.send(asked)
            client.recv(4096)  # so that an answer is kept, which the change must drop
            shift = turn % 5 + 6
            wanted = item.pod(0, shift).packed
            began = around.move(item.number, shift)
            while True:
                client.send(asked)
                if wanted in client.recv(4096):
                    break
            times.append(1000 * (time.monotonic() - began))
            time.sleep(0.02)  # apart from the next one
    spread = statistics.quantiles(times, n=100)
    report(name, spread[98], "ms", target=50, p50=round(spread[49], 2), worst=round(max(times), 2))


def _main() -> None:
    isolate()
    for part in (_cost, _large):
        with tempfile.TemporaryDirectory() as home:
            part(Path(home))


if __name__ == "__main__":
    _main()
