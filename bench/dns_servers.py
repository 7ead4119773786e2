"""The servers that are measured side by side, each on one processor and with one thread for queries."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.dns_world import ZONE, Item, records

OURS, CLIENT = 0, 1
"""Processors: one for the server, one for everything else."""
WHERRY = str(Path(sys.executable).with_name("wherry"))
COREFILE = """.:53 {{
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
      endpoint http://127.0.0.1:{api}
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }}
    hosts {home}/NodeHosts {{
      ttl 60
      reload 15s
      fallthrough
    }}
    prometheus :9153
    forward . 127.0.0.1:{upstream}
    cache 30
    loop
    reload
    loadbalance
    import {home}/custom/*.override
}}
import {home}/custom/*.server
"""
_TRIES = 400


class Server:
    """A running server; the sum of what its processes cost."""

    def __init__(self, name: str, port: int, argv: list[str], home: Path, *, pinned: bool = True) -> None:
        self.name = name
        self.port = port
        self._log = (home / f"{name}.log").open("w")
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            ["taskset", "-c", str(OURS), *argv] if pinned else argv, stdout=self._log, stderr=self._log
        )

    def pids(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def cpu(self) -> float:
        """Seconds on a processor, of all threads that still run."""
        threads = (task for pid in self.pids() for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def memory(self, field: str) -> float:
        """Megabytes; ``Rss`` counts shared pages in every process, ``Pss`` once in all."""
        lines = [line for pid in self.pids() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
        return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))

    def wait(self, name: str) -> float:
        """Seconds from the start until a name's address is answered."""
        for _ in range(_TRIES):
            if ask(self.port, name, 0.05)[0]:
                return time.monotonic() - self.began
            if self._process.poll() is not None:
                break
        raise SystemExit(f"bench: {self.name} does not answer; its output:\n{Path(self._log.name).read_text()[-2000:]}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


def query(name: str) -> bytes:
    labels = b"".join(b"%c%b" % (len(label), label.encode()) for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"


def ask(port: int, name: str, timeout: float) -> tuple[int, bytes]:
    """Number of answers and the octets of the reply; nothing where none comes in time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.connect(("127.0.0.1", port))
        began = time.monotonic()
        try:
            client.send(query(name))
            reply = client.recv(4096)
        except OSError:
            time.sleep(max(0.0, began + timeout - time.monotonic()))  # refused: not there yet
            return 0, b""
    answers = int.from_bytes(reply[6:8], "big")
    if not answers:
        time.sleep(0.01)
    return answers, reply


def ours(home: Path, api: int, upstream: int, *, pinned: bool = True) -> Server:
    """Ours as K3s configures it; not pinned, it has a front for each processor."""
    (home / "NodeHosts").write_text("192.0.2.10 node-1\n192.0.2.11 node-2\n")
    (home / "custom").mkdir(exist_ok=True)
    conf = home / "Corefile"
    conf.write_text(COREFILE.format(api=api, upstream=upstream, home=home))
    return Server("wherry", 53, [WHERRY, "dns", "serve", "--conf", str(conf)], home, pinned=pinned)


def knot(home: Path, world: list[Item]) -> Server | None:
    """Knot with the same names in zone files, None where it is not installed."""
    if not shutil.which("knotd"):
        return None
    zones: dict[str, list[str]] = {ZONE: [], "10.in-addr.arpa": [], "0.0.d.f.ip6.arpa": []}
    for owner, kind, data in records(world):
        zone = next(zone for zone in zones if owner.endswith(zone))
        zones[zone].append(f"{owner}. 5 IN {kind} {data}\n")
    lines = [
        "server:\n  listen: 127.0.0.1@5301\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n",
        f"  rundir: {home}\n  user: {_user()}\n",
        f"database:\n  storage: {home}/knot\n",
        "zone:\n",
    ]
    for zone, rows in zones.items():
        soa = (
            f"{zone}. 5 IN SOA ns.dns.{ZONE}. hostmaster.{ZONE}. 1 7200 1800 86400 5\n{zone}. 5 IN NS ns.dns.{ZONE}.\n"
        )
        (home / f"{zone}.zone").write_text(soa + "".join(rows))
        lines.append(f"  - domain: {zone}\n    file: {home}/{zone}.zone\n    semantic-checks: off\n")
    (home / "knot.conf").write_text("".join(lines))
    return Server("knot", 5301, ["knotd", "-c", str(home / "knot.conf")], home)


def unbound(home: Path, world: list[Item]) -> Server | None:
    """Unbound with the same names as local data, None where it is not installed."""
    if not shutil.which("unbound"):
        return None
    zones = (ZONE, "10.in-addr.arpa", "0.0.d.f.ip6.arpa")
    lines = [
        "server:\n  interface: 127.0.0.1\n  port: 5302\n  num-threads: 1\n  do-daemonize: no\n  chroot: ''\n",
        f"  use-syslog: no\n  username: ''\n  pidfile: {home}/unbound.pid\n  directory: {home}\n",
        "  module-config: iterator\n",
    ]
    for zone in zones:
        lines.append(f'  local-zone: "{zone}." static\n')
        lines.append(f'  local-data: "{zone}. 5 IN SOA ns.dns.{ZONE}. hostmaster.{ZONE}. 1 7200 1800 86400 5"\n')
    lines += (f'  local-data: "{owner}. 5 IN {kind} {data}"\n' for owner, kind, data in records(world))
    lines.append("remote-control:\n  control-enable: no\n")
    (home / "unbound.conf").write_text("".join(lines))
    return Server("unbound", 5302, ["unbound", "-d", "-c", str(home / "unbound.conf")], home)


def _user() -> str:
    return "root:root" if os.geteuid() == 0 else f"{os.geteuid()}"
