"""A client and a server on both sides of a node, which is this process's own namespace, and a load balancer's pod."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from bench import service_world as world
from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Netlink

POD: Final = "10.32.0.9"
"""The load balancer's pod."""

_CONNECTS: Final = """
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
_SERVES: Final = f"""
import socket
server = socket.create_server(("", {world.TARGET_PORT}), backlog=4000)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""


class Machines:
    """Namespaces on both sides of this one; use it as a context manager."""

    def __init__(self) -> None:
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        sysctl.set("net.ipv4.ip_forward", 1)
        for name, number in (("client", 40), ("server", 41)):
            self._join(name, f"10.{number}.0.2", 24, f"10.{number}.0.1")
        self._join("lb", POD, 32, world.NODE)
        sysctl.set("net.ipv4.ip_forward", 1, netns_path=self.path("lb"))
        self._serve([sys.executable, "-c", _SERVES])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for server in self._servers:
            server.kill()
            server.wait()

    @staticmethod
    def path(name: str) -> str:
        """The namespace of a machine: ``client``, ``server`` or ``lb``."""
        return f"/run/netns/{name}"

    def _join(self, name: str, address: str, prefix: int, gateway: str) -> None:
        path = self.path(name)
        netns.create(path)
        with Netlink() as link, Netlink(path) as inside:
            link.link_add_veth(name, "eth0", path, up=True)
            inside.link_set("eth0", up=True)
            inside.addr_add("eth0", address, prefix)
            if prefix < 32:
                link.addr_add(name, gateway, prefix)
            else:
                link.route_replace(f"{address}/32", dev=name)
            inside.route_replace("0.0.0.0/0", via=gateway, dev="eth0", onlink=True)

    def _serve(self, argv: list[str]) -> None:
        with netns.entered(self.path("server")):
            server = subprocess.Popen(argv, stdout=subprocess.PIPE)
        self._servers.append(server)
        assert server.stdout is not None
        for line in server.stdout:
            if b"ready" in line or b"listening" in line:
                return

    def rates(self, *places: str) -> list[list[float]]:
        """Connections a second to the server itself and to each of these places, for a number of short rounds."""
        argv = [sys.executable, "-c", _CONNECTS, f"{world.SERVER}:{world.TARGET_PORT}", *places]
        with netns.entered(self.path("client")):
            said = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
        return [[float(rate) for rate in line.split()] for line in said.stdout.splitlines()]

    def throughputs(self, places: Sequence[tuple[str, int]], rounds: int) -> list[list[float]]:
        """Gbit/s to the server itself and through each of these places, one after the other so many times.

        Which of them comes first changes from round to round. Needs iperf3.
        """
        everything = [(world.SERVER, world.STREAM_TARGET_PORT), *places]
        found = []
        for number in range(rounds):
            measured = [0.0] * len(everything)
            for step in range(len(everything)):
                at = (number + step) % len(everything)
                measured[at] = self._stream(*everything[at])
            found.append(measured)
        return found

    def _stream(self, address: str, port: int) -> float:
        """One measurement, with a server of its own: one that still ends its last is too busy for the next."""
        self._serve(["iperf3", "--server", "--one-off", "--forceflush", "--port", str(world.STREAM_TARGET_PORT)])
        argv = ["iperf3", "--client", address, "--port", str(port), "--time", "1", "--json"]
        with netns.entered(self.path("client")):
            said = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, timeout=30)
        found = json.loads(said.stdout)
        if "error" in found:
            raise RuntimeError(f"iperf3 to {address}:{port}: {found['error']}")
        self._servers.pop().communicate(timeout=30)
        return float(found["end"]["sum_received"]["bits_per_second"]) / 1e9
