"""What the kernel holds for pods, against the pods there are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Pod
from wherry.pods.sandbox.names import host_interface, is_host_interface
from wherry.sandbox.layout import RUN_DIR
from wherry.sandbox.leftovers import marked


def await_none(cluster: Sandbox, within: float) -> None:
    """Look until the kernel holds just what the pods need. Raises AssertionError with what is still wrong."""
    ends = time.monotonic() + within
    while found := orphans(cluster):
        assert time.monotonic() < ends, "\n".join(found)


def orphans(cluster: Sandbox) -> list[str]:
    """Namespaces, veth pairs, addresses and programs of no pod, and those that a pod lacks; a line each."""
    nodes = [node["name"] for node in cluster.status()["nodes"]]
    pods = cluster.until(kinds.PODS, lambda _: True)
    networked = [pod for pod in pods if not pod.spec.host_network and pod.status.phase in ("Pending", "Running")]
    found = [line for node in nodes for line in _on_node(cluster, node, networked)]
    inhabited = {path.stat().st_ino for node in nodes for path in _namespaces(cluster, node).iterdir()}
    strays = [pid for pid in _programs(cluster) if Path(f"/proc/{pid}/ns/net").stat().st_ino not in inhabited]
    return found + [f"process {pid} runs in a network namespace of no pod" for pid in strays]


def _on_node(cluster: Sandbox, node: str, pods: list[Pod]) -> Iterator[str]:
    here = [pod for pod in pods if pod.spec.node_name == node]
    uids = {pod.metadata.uid for pod in here}
    yield from _unequal(
        f"{node}: network namespaces", {path.name for path in _namespaces(cluster, node).iterdir()}, uids
    )
    links = {link["ifname"] for link in _ip(cluster, node, "link")}
    yield from _unequal(f"{node}: interfaces", set(filter(is_host_interface, links)), set(map(host_interface, uids)))
    routes = [route for family in ("-4", "-6") for route in _ip(cluster, node, family, "route")]
    addresses = {
        route["dst"] for route in routes if is_host_interface(route.get("dev", "")) and route["dst"][:4] != "fe80"
    }
    yield from _unequal(f"{node}: addresses", addresses, {one.ip for pod in here for one in pod.status.pod_ips})


def _unequal(what: str, found: set[str], expected: set[str]) -> Iterator[str]:
    if found != expected:
        yield f"{what}: too many {sorted(found - expected)}, missing {sorted(expected - found)}"


def _namespaces(cluster: Sandbox, node: str) -> Path:
    return Path(f"/proc/{cluster.pid(f'runtime-{node}')}/root") / RUN_DIR.relative_to("/") / node / "netns"


def _programs(cluster: Sandbox) -> list[int]:
    """The processes that stand over the programs of containers; they end with them."""
    return [pid for pid in marked(cluster.directory) if Path(f"/proc/{pid}/exe").resolve().name == "bwrap"]


def _ip(cluster: Sandbox, node: str, *arguments: str) -> list[dict[str, str]]:
    return list(json.loads(cluster.wherry("node exec", node, "--", "ip", "-json", *arguments).out or "[]"))
