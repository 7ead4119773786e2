"""Host ports: connections to a port of the node are led to a port of a pod. Only `HostPorts` writes the table.

    node:hostPort ──prerouting, output──▶ DNAT ──▶ pod:containerPort

A port with a `hostIP` is looked up under that address first, then the port alone, which any address of the node
answers. A port of an interface is one of each of its addresses, and follows them. All of a pod's ports are one commit,
so that it has all of them or none. As CNI's portmap does it: connections that come back to the pod they are from, and
those from the node's own 127.0.0.1, get the node's address as their source; the rest keep theirs. The node's ::1 cannot
be answered by a pod, as IPv6 has no `route_localnet`. The kernel tells when another program touches the table; it is
written again then.

Fixed part and members are pure; `HostPorts` sends them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from wherry.kernel.conntrack import SCTP, UDP, Conntrack, Entry
from wherry.kernel.model import Chain, Element, Hook, Map, Set
from wherry.kernel.nft import Nft, NftError
from wherry.kernel.nftwatch import TableWatch
from wherry.kernel.transaction import Transaction
from wherry.pods.sandbox.model import HostPort, Sandbox

_log = logging.getLogger(__name__)

TABLE: Final = "wherry-hostports"
PROTOCOLS: Final = ("tcp", "udp", "sctp")
_IP: Final = {4: "ip", 6: "ip6"}
_ADDRESS: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_ANYWHERE: Final = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}
"""`hostIP` values that stand for every address of the node, and the versions they stand for."""
_CONNECTIONLESS: Final = {"UDP": UDP, "SCTP": SCTP}
_REPAIR_SECONDS: Final = 1.0
"""Between two repairs, where two programs fight for the table."""
_LONGEST_PAUSE: Final = 30.0

EVERYWHERE: Final = {
    (version, protocol): Map(
        name=f"everywhere-{version}-{protocol}", type="inet_service", value=f"{_ADDRESS[version]} . inet_service"
    )
    for version in (4, 6)
    for protocol in PROTOCOLS
}
"""Ports that every address of the node answers."""
AT: Final = {
    (version, protocol): Map(
        name=f"at-{version}-{protocol}",
        type=f"{_ADDRESS[version]} . inet_service",
        value=f"{_ADDRESS[version]} . inet_service",
    )
    for version in (4, 6)
    for protocol in PROTOCOLS
}
"""Ports of one address of the node."""
HAIRPIN: Final = {
    version: Set(name=f"hairpin-{version}", type=f"{_ADDRESS[version]} . {_ADDRESS[version]}") for version in (4, 6)
}
"""A pod's address twice: a connection that comes back to where it is from."""

_LOOKUP = Chain("hostports")
_BASE: Final = (
    # After services (at -100), as they come first under kube-proxy too.
    Chain("prerouting", Hook("nat", "prerouting", -95)),
    Chain("output", Hook("nat", "output", -95)),
    Chain("postrouting", Hook("nat", "postrouting", 95)),
    # Before connection tracking, where answers to 127.0.0.1 still carry the node's address.
    Chain("guard", Hook("filter", "prerouting", "raw")),
)
_RULES: Final = {
    "prerouting": ("fib daddr type local jump hostports",),
    "output": ("fib daddr type local jump hostports",),
    "postrouting": (
        *(f"ct status dnat {_IP[v]} saddr . {_IP[v]} daddr @{HAIRPIN[v].name} masquerade" for v in (4, 6)),
        'ct status dnat oifname "pod*" ip saddr 127.0.0.0/8 masquerade',
    ),
    # The pods' interfaces let 127.0.0.1 pass for the sake of such answers; a pod itself must not reach it.
    "guard": ('iifname "pod*" ip daddr 127.0.0.0/8 drop',),
    "hostports": tuple(
        rule
        for version in (4, 6)
        for protocol in PROTOCOLS
        for rule in (
            f"dnat {_IP[version]} to {_IP[version]} daddr . {protocol} dport map @{AT[version, protocol].name}",
            f"meta nfproto ipv{version} dnat {_IP[version]} to {protocol} dport "
            f"map @{EVERYWHERE[version, protocol].name}",
        )
    ),
}

Member = tuple[Map | Set, Element]
Interfaces = Mapping[str, Sequence[str]]
"""The addresses of the node's interfaces, in their usual form."""
_NO_INTERFACES: Final[Interfaces] = {}


def fixed() -> Transaction:
    """The table without any port, replacing whatever is there."""
    table = Transaction("inet", TABLE).recreate_table()
    table.add(*EVERYWHERE.values(), *AT.values(), *HAIRPIN.values(), _LOOKUP, *_BASE)
    for chain in (_LOOKUP, *_BASE):
        table.replace_rules(chain, _RULES[chain.name])
    return table


def members(sandbox: Sandbox, interfaces: Interfaces = _NO_INTERFACES) -> list[Member]:
    """What one pod has in the maps and sets."""
    found: list[Member] = []
    addresses = {ip_address(text).version: text for text in reversed(sandbox.addresses)}
    for port in sandbox.ports:
        protocol = port.protocol.lower()
        for version, address in sorted(addresses.items()):
            target = f"{address} . {port.container_port}"
            if port.interface:
                for own in interfaces.get(port.interface, ()):
                    if ip_address(own).version == version:
                        found.append((AT[version, protocol], Element((own, str(port.host_port)), target)))
            elif version in _ANYWHERE.get(port.host_ip, ()):
                found.append((EVERYWHERE[version, protocol], Element((str(port.host_port),), target)))
            elif port.host_ip not in _ANYWHERE and ip_address(port.host_ip).version == version:
                key = (str(ip_address(port.host_ip)), str(port.host_port))
                found.append((AT[version, protocol], Element(key, target)))
    used = {ip_address(element.value.split(" . ")[0]) for _, element in found}
    return found + [(HAIRPIN[one.version], Element((str(one), str(one)))) for one in sorted(used, key=str)]


class HostPorts:
    """The table of one node. `load` comes first; methods raise `NftError`, `NetlinkError` and OSError.

    A node none of whose pods has a host port has no table.
    """

    def __init__(self, nft: Nft, interfaces: Interfaces = _NO_INTERFACES) -> None:
        self._nft = nft
        self._interfaces = interfaces
        self._having: dict[str, Sandbox] = {}
        self._watch: TableWatch | None = None
        self._harmed = asyncio.Event()
        self._turn = asyncio.Lock()
        nft.follow_processes(self._write_as)

    def close(self) -> None:
        """Watch the table no longer; it stays."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    async def load(self, sandboxes: Iterable[Sandbox]) -> None:
        """Give the table what these pods have and nothing else, in one step: connections do not notice."""
        async with self._turn:
            self._having = {sandbox.uid: sandbox for sandbox in sandboxes if sandbox.ports}
            await self._write()

    async def add(self, sandbox: Sandbox) -> None:
        """Open a pod's ports."""
        if not sandbox.ports:
            return
        async with self._turn:
            if self._having:
                await self._nft.commit(self._with(Transaction("inet", TABLE), (sandbox,)))
            else:
                self._listen()
                await self._nft.commit(self._with(fixed(), (sandbox,)))
            self._having[sandbox.uid] = sandbox
            await asyncio.to_thread(_forget, sandbox)

    async def remove(self, sandbox: Sandbox) -> None:
        """Close a pod's ports; connections to them end."""
        if not sandbox.ports:
            return
        async with self._turn:
            if self._having.keys() - {sandbox.uid}:
                await self._nft.commit(_without(Transaction("inet", TABLE), members(sandbox, self._interfaces)))
            else:
                self.close()
                await self._nft.commit(Transaction("inet", TABLE).delete_table())
            self._having.pop(sandbox.uid, None)
            await asyncio.to_thread(_forget, sandbox)

    async def follow(self, interfaces: Interfaces) -> None:
        """Take note of the interfaces' addresses, and let the ports of interfaces follow them."""
        async with self._turn:
            bound = [one for one in self._having.values() if any(port.interface for port in one.ports)]
            before = [one for sandbox in bound for one in members(sandbox, self._interfaces)]
            after = [one for sandbox in bound for one in members(sandbox, interfaces)]
            # An address may pass from one interface to another: what goes is out of the way of what comes.
            table = _without(Transaction("inet", TABLE), [one for one in before if one not in after])
            for container, element in after:
                if (container, element) not in before:
                    table.add_elements(container, [element])
            if table.statements:
                await self._nft.commit(table)
            self._interfaces = interfaces

    async def guard(self, alarm: Callable[[str], None]) -> None:
        """Write the table again whenever another program changed it, until cancelled; ``alarm`` is told of it."""
        pause = _REPAIR_SECONDS
        while True:
            await self._harmed.wait()
            self._harmed.clear()
            try:
                found = await self._repair()
            except NftError as error:
                _log.warning("host ports: cannot write the table again, next try in %g s: %s", pause, error)
                self._harmed.set()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            if found:
                alarm(found)
            pause = _REPAIR_SECONDS
            await asyncio.sleep(pause)

    async def _repair(self) -> str:
        """Write the table again and say in words why; empty where the kernel only could not tell all that happened."""
        async with self._turn:
            harm = self._watch.take() if self._watch is not None else None
            await self._write()
        if harm is None or not harm.programs:
            return ""
        by = ", ".join(sorted(harm.programs))
        return f"Table inet {TABLE} of this node was changed by someone else (by {by}); it is written again"

    async def _write(self) -> None:
        if not self._having:
            await self._nft.commit(Transaction("inet", TABLE).delete_table())
            return
        self._listen()
        await self._nft.commit(self._with(fixed(), self._having.values()))

    def _listen(self) -> None:
        if self._watch is None:
            self._watch = TableWatch("inet", TABLE, self._harmed.set)
            self._write_as(self._nft.processes)

    def _write_as(self, processes: Iterable[int]) -> None:
        if self._watch is not None:
            self._watch.owners(processes)

    def _with(self, table: Transaction, sandboxes: Iterable[Sandbox]) -> Transaction:
        for sandbox in sandboxes:
            for container, element in members(sandbox, self._interfaces):
                table.add_elements(container, [element])
        return table


def _without(table: Transaction, gone: Iterable[Member]) -> Transaction:
    for container, element in gone:
        # What an earlier attempt has removed is no error.
        table.add_elements(container, [element]).delete_elements(container, [element])
    return table


def _forget(sandbox: Sandbox) -> None:
    """Drop the memory of UDP and SCTP flows, which would go on to where they went before the change."""
    ports = {(_CONNECTIONLESS[port.protocol], port.host_port) for port in _connectionless(sandbox.ports)}
    if not ports:
        return

    def matches(entry: Entry) -> bool:
        return (entry.original.protocol, entry.original.dport) in ports

    with Conntrack() as table:
        table.delete(matches)


def _connectionless(ports: Iterable[HostPort]) -> Iterator[HostPort]:
    return (port for port in ports if port.protocol in _CONNECTIONLESS)
