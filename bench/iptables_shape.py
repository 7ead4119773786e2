"""The rules that kube-proxy's iptables mode, CNI's portmap and klipper-lb make, as text for iptables-restore(8).

The shape is that of kube-proxy since Kubernetes 1.28: one list of all frontends, a chain for each service, one for each
endpoint. A change of one endpoint writes that list again and the chains of that service, in one call without flushing
(``MinimizeIPTablesRestore``). The service that is reached stands in the middle of the list, where it costs what a
service costs on average.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Final

from bench import service_world as world

FLAVOURS: Final = {"iptables-nft": "nft", "iptables-legacy": "legacy"}
"""The two kinds of iptables: rules of nftables, which Debian has by default, and the kernel's older own."""
BY_POD_PORT: Final = 8081
"""A port of the node that leads to a load balancer's pod."""

_HOOKS: Final = {"PREROUTING": "KUBE-SERVICES", "OUTPUT": "KUBE-SERVICES", "POSTROUTING": "KUBE-POSTROUTING"}
_FIXED: Final = (
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
    "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
)
_LISTS: Final = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-MARK-MASQ", "KUBE-POSTROUTING")
_FORWARD: Final = """*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


def load(count: int) -> str:
    """Everything, for so many services and the one that is reached."""
    numbers = _order(count)
    chains = [chain for number in numbers for chain in _chains(number)]
    rules = [rule for number in numbers for rule in _rules(number, world.targets(number))]
    hooks = [f"-A {hook} -j {chain}" for hook, chain in _HOOKS.items()]
    return _FORWARD + _nat([*_LISTS, *chains], [*hooks, *_FIXED, *_list(numbers), *rules])


def change(count: int, number: int, shift: int) -> str:
    """What is written when one endpoint of a service becomes another."""
    rules = _rules(number, world.targets(number, shift))
    return _nat([*_LISTS, *_chains(number)], [*_FIXED, *_list(_order(count)), *rules])


def by_pod(pod: str) -> str:
    """A port of the node that leads to a pod, as CNI's portmap has it; after the services."""
    return _nat(
        ["CNI-HOSTPORT-DNAT", "CNI-DN-0"],
        [
            *(f"-A {hook} -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT" for hook in ("PREROUTING", "OUTPUT")),
            f"-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports {BY_POD_PORT} -j CNI-DN-0",
            f"-A CNI-DN-0 -p tcp -m tcp --dport {BY_POD_PORT} -j DNAT --to-destination {pod}:{BY_POD_PORT}",
        ],
    )


def in_pod() -> str:
    """What klipper-lb does in a load balancer's pod."""
    to, port = world.CLUSTER_IP, world.PORT
    return (
        f"*filter\n-A FORWARD -p tcp -m tcp --dport {port} -j ACCEPT\n"
        f"-A FORWARD -d {to}/32 -p tcp -m tcp --dport {port} -j DROP\nCOMMIT\n"
        f"*nat\n-A PREROUTING -p tcp -m tcp --dport {BY_POD_PORT} -j DNAT --to-destination {to}:{port}\n"
        f"-A POSTROUTING -d {to}/32 -p tcp -j MASQUERADE\nCOMMIT\n"
    )


def restore(flavour: str, text: str, *options: str) -> float:
    """Hand rules to the program in the calling thread's namespace; the seconds it took."""
    began = time.perf_counter()
    command = [f"{flavour}-restore", "-w", "5", *options]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return took


def clear(flavour: str) -> None:
    """Remove all rules and chains from the calling thread's namespace."""
    policies = "".join(f":{chain} ACCEPT [0:0]\n" for chain in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"))
    restore(flavour, f"*nat\n{policies}COMMIT\n*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n")


def _order(count: int) -> list[int]:
    numbers = [*range(count)]
    numbers.insert(count // 2, world.REACHED)
    return numbers


def _nat(chains: list[str], rules: list[str]) -> str:
    return "\n".join(["*nat", *(f":{chain} - [0:0]" for chain in chains), *rules, "COMMIT", ""])


def _list(numbers: list[int]) -> Iterator[str]:
    for number in numbers:
        name = f'-m comment --comment "bench/service-{number}:http'
        yield (
            f'-A KUBE-SERVICES {name} cluster IP" -m tcp -p tcp -d {world.FIRST_SERVICE + number} --dport {world.PORT} '
            f"-j KUBE-SVC-{number}"
        )
        if number == world.REACHED:
            yield (
                f'-A KUBE-SERVICES {name} loadbalancer IP" -m tcp -p tcp -d {world.BALANCER} --dport {world.PORT} '
                f"-j KUBE-EXT-{number}"
            )
            yield f'-A KUBE-NODEPORTS {name}" -m tcp -p tcp --dport {world.NODE_PORT} -j KUBE-EXT-{number}'
    yield "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"


def _chains(number: int) -> list[str]:
    ends = range(1 if number == world.REACHED else world.ENDPOINTS)
    outside = [f"KUBE-EXT-{number}"] if number == world.REACHED else []
    return [f"KUBE-SVC-{number}", *outside, *(f"KUBE-SEP-{number}-{at}" for at in ends)]


def _rules(number: int, targets: list[str]) -> Iterator[str]:
    name = f'-m comment --comment "bench/service-{number}:http'
    yield (
        f'-A KUBE-SVC-{number} {name} cluster IP" -m tcp -p tcp -d {world.FIRST_SERVICE + number} '
        f"--dport {world.PORT} ! -s {world.RANGES.cluster[0]} -j KUBE-MARK-MASQ"
    )
    if number == world.REACHED:
        targets = [world.SERVER]
        yield f'-A KUBE-EXT-{number} {name}" -j KUBE-MARK-MASQ'
        yield f"-A KUBE-EXT-{number} -j KUBE-SVC-{number}"
    for at, target in enumerate(targets):
        left = len(targets) - at
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f'-A KUBE-SVC-{number} {name} -> {target}" {chance}-j KUBE-SEP-{number}-{at}'
        yield f'-A KUBE-SEP-{number}-{at} {name}" -s {target} -j KUBE-MARK-MASQ'
        yield (f'-A KUBE-SEP-{number}-{at} {name}" -m tcp -p tcp -j DNAT --to-destination {target}:{world.TARGET_PORT}')
