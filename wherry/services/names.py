"""Every name and number of the table ``inet wherry-services`` in one place, and the part of it that never changes.

How a packet goes: the nat base chains jump to ``services``, which looks the frontend up (address, protocol, port) in
one verdict map per address family. Its verdict leads to ``pick-N``, shared by all frontends with N targets, which
finds the target in one map under (frontend, random number below N). So no lookup grows with the number of services,
and a change is a few map elements. Frontends with session affinity have chains of their own, see :mod:`.content`.

Load balancer addresses and external addresses are looked up in the same map, but their verdict leads to one of two
chains that tell clients apart:

* ``cluster`` marks what does not come from this node's pods, so that its sender's address is hidden on the way out:
  an endpoint elsewhere would answer past this node. Then ``inside`` finds the ``pick-N`` chain.
* ``local`` does the same for clients in the cluster; others find theirs through ``outside``: its targets are of this
  node and see the client's address.

What is addressed to the node itself and is in none of these is looked up by protocol and port among the node ports,
which have the same chains and maps once more (``-port``), as their keys have no address.

What is addressed to a service and was not translated meets ``refuse`` right after: a port without endpoints, or one
that the service does not have. That is a filter chain, as the kernel cannot answer from a nat chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

TABLE: Final = "wherry-services"

VERSIONS: Final = (4, 6)
PROTOCOLS: Final = ("tcp", "udp", "sctp")
WAYS: Final = ("", "-port")
"""What is looked up by address, and what by port alone."""


def _named(stem: str) -> dict[tuple[int, str], str]:
    return {(version, way): f"{stem}-{version}{way}" for way in WAYS for version in VERSIONS}


SERVICES: Final = _named("services")
INSIDE: Final = _named("inside")
OUTSIDE: Final = _named("outside")
REFUSED: Final = _named("refused")
ENDPOINTS: Final = {
    (version, protocol, way): f"endpoints-{version}-{protocol}{way}"
    for version in VERSIONS
    for protocol in PROTOCOLS
    for way in WAYS
}
ADDRESSES: Final = {4: "addresses-4", 6: "addresses-6"}
FOREIGN: Final = {4: "foreign-4", 6: "foreign-6"}
HAIRPIN: Final = {4: "hairpin-4", 6: "hairpin-6"}
PICK: Final = "pick-"
"""Chains that choose among so many targets: ``pick-4-tcp-3``."""
STICKY: Final = "sticky/"
"""Chains of frontends with session affinity."""
KEEP: Final = "keep/"
"""Chains that send to one target and remember the client."""
SOURCES: Final = "sources-"
"""Chains that admit clients by their address, shared by all that admit the same."""
CLIENTS: Final = "clients/"
"""Sets of the clients remembered for one target."""
VERSION: Final = "version"
"""A chain whose only rule's comment is the digest of the fixed part, to recognise a table of another release."""

CLIENTS_SIZE: Final = 65535
NEAR: Final = 1 << 16
"""Where the indexes of the targets for clients from outside begin, under policy Local."""
MARK: Final = 0x4000
"""The packet mark of what is to be masqueraded: kube-proxy's, so that no other component gives it a meaning."""

IP: Final = {4: "ip", 6: "ip6"}
ADDRESS_TYPE: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
LOOPBACK: Final = {4: "127.0.0.0/8", 6: "::1"}

_MARKED: Final = f"meta mark and {MARK:#x} == {MARK:#x} meta mark set meta mark xor {MARK:#x} masquerade fully-random"


class Ranges(msgspec.Struct, frozen=True, kw_only=True):
    """The address ranges that rules tell apart, as text."""

    cluster: tuple[str, ...] = ()
    """Of all pods: clients from elsewhere that reach a service through this node are masqueraded."""
    own: tuple[str, ...] = ()
    """Of this node's pods, whose answers come back through it anyway."""
    services: tuple[str, ...] = ()
    """Of service addresses: one that no service has is refused, as it would follow the default route and whoever asks
    (a resolver, where there is no cluster DNS) would wait in vain."""
    node_ports: tuple[str, ...] = ()
    """Which of the node's own addresses answer node ports, never loopback and those in the ranges above; of an IP
    version without any range here all do."""


def frontend_key(version: int, way: str = "") -> str:
    """The nft expression whose value is a packet's frontend."""
    return "meta l4proto . th dport" if way else f"{IP[version]} daddr . meta l4proto . th dport"


def target_key(version: int, protocol: str, count: int, way: str = "", first: int = 0) -> str:
    """The nft expression that draws a target: the frontend and a random number below ``count``, beginning at first."""
    address = "" if way else f"{IP[version]} daddr . "
    return f"{address}{protocol} dport . numgen random mod {count}" + (f" offset {first}" if first else "")


def _type(version: int, way: str) -> str:
    return "inet_proto . inet_service" if way else f"{ADDRESS_TYPE[version]} . inet_proto . inet_service"


MAPS: Final = (
    *(
        f"map {names[version, way]} {{ type {_type(version, way)} : verdict; }}"
        for names in (SERVICES, INSIDE, OUTSIDE)
        for version, way in names
    ),
    # One for each protocol: a random number as part of a key has to be declared by ``typeof``, and nft 1.0.6 can read
    # back a declared port only with its protocol (``th dport`` ends in "conflicting protocols").
    *(
        f"map {name} {{ typeof {target_key(version, protocol, 2, way)} : {IP[version]} daddr . {protocol} dport; }}"
        for (version, protocol, way), name in ENDPOINTS.items()
    ),
    *(f"set {name} {{ type {_type(version, way)}; }}" for (version, way), name in REFUSED.items()),
    *(
        f"set {names[version]} {{ type {ADDRESS_TYPE[version]}; }}"
        for names in (ADDRESSES, FOREIGN)
        for version in names
    ),
    *(f"set {HAIRPIN[version]} {{ type {ADDRESS_TYPE[version]} . {ADDRESS_TYPE[version]}; }}" for version in VERSIONS),
)
"""Declarations of the maps and sets that every table has (``set`` or ``map``, name, body)."""

BASE_CHAINS: Final = {
    "prerouting": "type nat hook prerouting priority dstnat",
    # what this node's own programs send
    "output": "type nat hook output priority -100",
    # after translation, so that whatever still carries a service's address was not taken by any frontend
    "refuse-prerouting": "type filter hook prerouting priority -90",
    "refuse-output": "type filter hook output priority -90",
    # before the masquerading of other tables (srcnat, 100), which would hide that a rule of ours applies
    "postrouting": "type nat hook postrouting priority 95",
}
"""Base chains: name → where the kernel calls them."""


def fixed_rules(ranges: Ranges) -> dict[str, tuple[str, ...]]:
    """The chains whose rules do not depend on services: base chains and what they lead to."""
    never = {version: (LOOPBACK[version], *_of((*ranges.cluster, *ranges.services), version)) for version in VERSIONS}
    ours = {
        version: f"{_chosen(ranges, version)}{IP[version]} daddr != {_set(never[version])} fib daddr type local "
        for version in VERSIONS
    }
    refuse = (
        *(f"{IP[version]} daddr @{ADDRESSES[version]} goto refuse" for version in VERSIONS),
        *(
            f"{IP[version]} daddr {cidr} {IP[version]} daddr != @{FOREIGN[version]} goto refuse"
            for version in VERSIONS
            for cidr in _of(ranges.services, version)
        ),
        # only what begins a connection: a program of the node may use such a port at its own end of another
        "ct state new jump refuse-external",
    )
    hairpin = tuple(
        f"ct status dnat {IP[version]} saddr . {IP[version]} daddr @{HAIRPIN[version]} masquerade fully-random"
        for version in VERSIONS
    )
    outside = tuple(
        f"ct status dnat ct original {IP[version]} daddr @{ADDRESSES[version]} "
        f"{IP[version]} saddr != {_set(inside)} fib saddr type != local masquerade fully-random"
        for version in VERSIONS
        if (inside := _of(ranges.cluster, version))
    )
    return {
        "refuse-external": (
            *(f"{frontend_key(version)} @{REFUSED[version, '']} goto refuse" for version in VERSIONS),
            *(f"{ours[version]}{frontend_key(version, '-port')} @{REFUSED[version, '-port']} goto refuse"
              for version in VERSIONS),
        ),
        "refuse": (
            # what another part of this node answers itself, past connection tracking and so past translation
            "ct state untracked return",
            "meta l4proto tcp reject with tcp reset",
            "reject with icmpx port-unreachable",
        ),
        **{name: rules for way in WAYS for name, rules in _ways(ranges, way).items()},
        "services": (
            *(f"{frontend_key(version)} vmap @{SERVICES[version, '']}" for version in VERSIONS),
            *(f"{rule}{frontend_key(version, '-port')} vmap @{SERVICES[version, '-port']}"
              for version, rule in ours.items()),
        ),
        "prerouting": ("jump services",),
        "output": ("jump services",),
        "refuse-prerouting": refuse,
        "refuse-output": refuse,
        "postrouting": (_MARKED, *hairpin, *outside),
    }  # fmt: skip


def _ways(ranges: Ranges, way: str) -> dict[str, tuple[str, ...]]:
    """The chains that tell clients of external frontends apart; what is led to comes first."""

    def from_(cidrs: tuple[str, ...], chain: str) -> tuple[str, ...]:
        return tuple(
            f"{IP[version]} saddr {_set(own)} goto {chain}{way}" for version in VERSIONS if (own := _of(cidrs, version))
        )

    def found(names: dict[tuple[int, str], str]) -> tuple[str, ...]:
        # a key without address is that of either family
        family = {version: f"meta nfproto ipv{version} " if way else "" for version in VERSIONS}
        return tuple(f"{family[v]}{frontend_key(v, way)} vmap @{names[v, way]}" for v in VERSIONS)

    return {
        f"inside{way}": found(INSIDE),
        f"masked{way}": (f"meta mark set meta mark or {MARK:#x}", f"goto inside{way}"),
        f"cluster{way}": (*from_(ranges.own, "inside"), f"goto masked{way}"),
        f"local{way}": (
            *from_(ranges.own, "inside"),
            *from_(ranges.cluster, "masked"),
            f"fib saddr type local goto masked{way}",
            *found(OUTSIDE),
        ),
    }


def pick(version: int, protocol: str, count: int, way: str = "", first: int = 0) -> tuple[str, tuple[str, ...]]:
    """The chain that chooses among ``count`` targets whose indexes begin at ``first``: its name and rules."""
    target = f"{target_key(version, protocol, count, way, first)} map @{ENDPOINTS[version, protocol, way]}"
    near = "-near" if first else ""
    return f"{PICK}{version}-{protocol}-{count}{near}{way}", (f"dnat {IP[version]} to {target}",)


def _of(cidrs: Iterable[str], version: int) -> tuple[str, ...]:
    """The ranges of one IP version, in order."""
    return tuple(sorted({cidr for cidr in cidrs if (":" in cidr) == (version == 6)}))


def _set(cidrs: Iterable[str]) -> str:
    return f"{{ {', '.join(cidrs)} }}"


def _chosen(ranges: Ranges, version: int) -> str:
    chosen = _of(ranges.node_ports, version)
    everything = not chosen or any(cidr.endswith("/0") for cidr in chosen)
    return "" if everything else f"{IP[version]} daddr {_set(chosen)} "
