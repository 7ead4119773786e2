"""The host's own network is byte for byte the same before, during and after a sandbox."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from pyroute2 import IPRoute

from tests.cluster.manifests import deployment, service
from tests.cluster.sandbox import Sandbox
from wherry.sandbox.leftovers import marked

#: What the kernel counts by itself, whoever uses the network: sizes and times, no settings.
COUNTERS = ("conntrack_count", "file-nr", "nf_conntrack_buckets")
#: Attributes that move with traffic or time.
MOVING = ("IFLA_STATS", "IFLA_STATS64", "IFLA_AF_SPEC", "IFA_CACHEINFO", "RTA_CACHEINFO", "IFLA_CARRIER")


def network() -> dict[str, object]:
    """Links, addresses, routes, rules, nftables and sysctls of this process's network namespace."""
    with IPRoute() as ip:
        found: dict[str, object] = {
            "links": sorted(map(_plain, ip.get_links())),
            "addresses": sorted(map(_plain, ip.get_addr())),
            "routes": sorted(map(_plain, ip.get_routes())),
            "rules": sorted(map(_plain, ip.get_rules())),
        }
    if os.geteuid() == 0:
        found["nftables"] = subprocess.run(
            ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
        ).stdout
    found["sysctls"] = _sysctls()
    return found


def _plain(message: object) -> str:
    fields = dict(message)  # type: ignore[call-overload]
    attributes = sorted(f"{n}={v}" for n, v in fields.pop("attrs", []) if n not in MOVING)
    for volatile in ("header", "event"):
        fields.pop(volatile, None)
    return f"{sorted(fields.items())} {attributes}"


def _sysctls() -> dict[str, str]:
    found = {}
    for path in Path("/proc/sys/net").rglob("*"):
        if path.name in COUNTERS or not path.is_file():
            continue
        try:
            found[str(path)] = path.read_text()
        except OSError:
            # Write-only ones, such as flush.
            continue
    return found


def listening(pids: list[int]) -> set[tuple[str, int]]:
    """Addresses and ports of this network namespace's listening TCP and bound UDP sockets that processes hold."""
    held = {os.readlink(file) for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        file = Path("/proc/self/net") / name
        for line in file.read_text().splitlines()[1:] if file.exists() else ():
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == ("0A" if name.startswith("tcp") else "07") and f"socket:[{inode}]" in held:
                address, _, port = local.partition(":")
                words = bytes.fromhex(address)
                plain = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.add(
                    (socket.inet_ntop(socket.AF_INET6 if len(plain) == 16 else socket.AF_INET, plain), int(port, 16))
                )
    return found


def test_host_network_is_left_alone(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, "quiet")
    before = network()
    mounts = Path("/proc/self/mountinfo").read_text()
    run = sorted(os.listdir("/run"))
    try:
        sandbox.up()
        sandbox.apply(deployment("app", 4), service("app", 80, 8080))
        sandbox.kubectl("rollout", "status", "deploy/app", "--timeout=30s")
        during, listens = network(), listening(marked(sandbox.directory))
        server = sandbox.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}").out
        port = int(server.rpartition(":")[2])
        sandbox.kubectl("get", "pods")
    finally:
        sandbox.wherry("down")
    assert during == before
    assert listens - {("::1", port)} == {("127.0.0.1", port)}
    assert network() == before
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody has the port any more
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert sorted(os.listdir("/run")) == run
    assert not sandbox.directory.exists()
