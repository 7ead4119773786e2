"""Every name and number of the table ``inet wherry-services`` in one place, and the part of it that never changes.

How a packet goes: the nat base chains jump to ``services``, which looks the frontend up (address, protocol, port) in
one verdict map per address family. Its verdict leads to ``pick-N``, shared by all frontends with N targets, which
finds the target in one map under (frontend, random number below N). So no lookup grows with the number of services,
and a change is a few map elements. Frontends with session affinity have chains of their own, see :mod:`.sticky`.

What is addressed to a service and was not translated meets ``refuse`` right after: a port without endpoints, or one
that the service does not have. That is a filter chain, as the kernel cannot answer from a nat chain.

Node ports and load balancer addresses will be further ways into the same ``services`` chain.
"""

from __future__ import annotations

from typing import Final

TABLE: Final = "wherry-services"

SERVICES: Final = {4: "services-4", 6: "services-6"}
ENDPOINTS: Final = {
    (version, protocol): f"endpoints-{version}-{protocol}" for version in (4, 6) for protocol in ("tcp", "udp", "sctp")
}
ADDRESSES: Final = {4: "addresses-4", 6: "addresses-6"}
HAIRPIN: Final = {4: "hairpin-4", 6: "hairpin-6"}
PICK: Final = "pick-"
"""Chains that choose among so many targets: ``pick-4-tcp-3``."""
STICKY: Final = "sticky/"
"""Chains of frontends with session affinity."""
KEEP: Final = "keep/"
"""Chains that send to one target and remember the client."""
CLIENTS: Final = "clients/"
"""Sets of the clients remembered for one target."""
VERSION: Final = "version"
"""A chain whose only rule's comment is the digest of the fixed part, to recognise a table of another release."""

CLIENTS_SIZE: Final = 65535

IP: Final = {4: "ip", 6: "ip6"}
ADDRESS_TYPE: Final = {4: "ipv4_addr", 6: "ipv6_addr"}


def frontend_key(version: int) -> str:
    """The nft expression whose value is a packet's frontend."""
    return f"{IP[version]} daddr . meta l4proto . th dport"


def target_key(version: int, protocol: str, count: int) -> str:
    """The nft expression that draws a target: the frontend and a random number below ``count``."""
    return f"{IP[version]} daddr . {protocol} dport . numgen random mod {count}"


MAPS: Final = (
    *(
        f"map {SERVICES[version]} {{ type {ADDRESS_TYPE[version]} . inet_proto . inet_service : verdict; }}"
        for version in (4, 6)
    ),
    # One for each protocol: a random number as part of a key has to be declared by ``typeof``, and nft 1.0.6 can read
    # back a declared port only with its protocol (``th dport`` ends in "conflicting protocols").
    *(
        f"map {name} {{ typeof {target_key(version, protocol, 2)} : {IP[version]} daddr . {protocol} dport; }}"
        for (version, protocol), name in ENDPOINTS.items()
    ),
    *(f"set {ADDRESSES[version]} {{ type {ADDRESS_TYPE[version]}; }}" for version in (4, 6)),
    *(f"set {HAIRPIN[version]} {{ type {ADDRESS_TYPE[version]} . {ADDRESS_TYPE[version]}; }}" for version in (4, 6)),
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


def fixed_rules(cluster_cidrs: tuple[str, ...], service_cidrs: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """The chains whose rules do not depend on services: base chains and what they lead to.

    With ``cluster_cidrs`` (the pod ranges), clients from outside that come through this node are masqueraded, so that
    the answers come back through it. In ``service_cidrs`` an address that no service has is refused too: it would
    follow the default route, and whoever asks (a resolver, where there is no cluster DNS) would wait in vain.
    """
    refuse = (
        *(f"{IP[version]} daddr @{ADDRESSES[version]} goto refuse" for version in (4, 6)),
        *(f"{IP[6 if ':' in cidr else 4]} daddr {cidr} goto refuse" for cidr in service_cidrs),
    )
    hairpin = tuple(
        f"ct status dnat {IP[version]} saddr . {IP[version]} daddr @{HAIRPIN[version]} masquerade fully-random"
        for version in (4, 6)
    )
    outside = tuple(
        f"ct status dnat ct original {IP[version]} daddr @{ADDRESSES[version]} "
        f"{IP[version]} saddr != {{ {', '.join(ranges)} }} fib saddr type != local masquerade fully-random"
        for version in (4, 6)
        if (ranges := sorted(cidr for cidr in cluster_cidrs if (":" in cidr) == (version == 6)))
    )
    return {
        "refuse": ("meta l4proto tcp reject with tcp reset", "reject with icmpx port-unreachable"),
        "services": tuple(f"{frontend_key(version)} vmap @{SERVICES[version]}" for version in (4, 6)),
        "prerouting": ("jump services",),
        "output": ("jump services",),
        "refuse-prerouting": refuse,
        "refuse-output": refuse,
        "postrouting": hairpin + outside,
    }


def pick(version: int, protocol: str, count: int) -> tuple[str, tuple[str, ...]]:
    """The chain that chooses among ``count`` targets: its name and rules."""
    target = f"{target_key(version, protocol, count)} map @{ENDPOINTS[version, protocol]}"
    return f"{PICK}{version}-{protocol}-{count}", (f"dnat {IP[version]} to {target}",)
