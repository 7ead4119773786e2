"""The table ``inet wherry-dns`` of a node. Pure.

The address of cluster DNS is the node's own by a route of type `local`. While the node's server answers, packets for
its port 53 pass connection tracking, and so the translation to a DNS pod; without that they are translated before they
could be delivered here. What the server sends from that address is never tracked.

UDP from pods meets one more condition: that a socket is there. So not even between the death of a server and the news
of it does a query get lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from wherry.net.types import IPAddress

TABLE = "wherry-dns"
PORT = 53
PROBE_MARK = 0x2053
"""The packet mark of our own question whether the server answers: it must not reach another one through the Service."""

_IP = {4: "ip", 6: "ip6"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}


def build(
    addresses: Sequence[IPAddress], *, answered: frozenset[IPAddress] = frozenset(), look_for_socket: bool = True
) -> list[str]:
    """The statements that make the table anew, with these addresses answered.

    ``look_for_socket``: kernels may be without the expression for the condition above.
    """
    statements = [*remove(), f"add table inet {TABLE}"]
    for version in (4, 6):
        statements.append(f"add set inet {TABLE} {answering(version)} {{ type {_TYPE[version]}; }}")
    for hook in ("prerouting", "output"):
        statements.append(f"add chain inet {TABLE} {hook} {{ type filter hook {hook} priority raw; policy accept; }}")
    socket = " socket wildcard 0" if look_for_socket else ""
    for version in (4, 6):
        ip, ours = _IP[version], [str(each) for each in addresses if each.version == version]
        if not ours:
            continue
        listed = f"{{ {', '.join(ours)} }}"
        asked = f"{ip} daddr @{answering(version)}"
        rules = [
            ("prerouting", f"{asked} udp dport {PORT}{socket} notrack"),
            # The handshake's last packet finds a socket that is none yet to that expression.
            ("prerouting", f"{asked} tcp dport {PORT} notrack"),
            ("output", f"{ip} saddr {listed} meta l4proto {{ tcp, udp }} th sport {PORT} notrack"),
            ("output", f"{asked} meta l4proto {{ tcp, udp }} th dport {PORT} notrack"),
            ("output", f"{ip} daddr {listed} udp dport {PORT} meta mark {PROBE_MARK:#x} notrack"),
        ]
        statements += [f"add rule inet {TABLE} {chain} {rule}" for chain, rule in rules]
    return [*statements, *change(frozenset(), answered)]


def remove() -> list[str]:
    """The statements that leave nothing, whether or not there is a table."""
    return [f"add table inet {TABLE}", f"delete table inet {TABLE}"]


def change(before: frozenset[IPAddress], after: frozenset[IPAddress]) -> list[str]:
    """The statements that lead from some answered addresses to others."""
    statements: list[str] = []
    for verb, which in (("delete", before - after), ("add", after - before)):
        for address in sorted(which, key=str):
            statements.append(f"{verb} element inet {TABLE} {answering(address.version)} {{ {address} }}")
    return statements


def answering(version: int) -> str:
    """The set of addresses that are answered here."""
    return f"answering-{version}"
