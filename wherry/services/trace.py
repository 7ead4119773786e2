"""Walks a virtual packet through the table as it would be written, and says what becomes of it. Pure.

It knows exactly the forms of rules that this room writes and refuses any other, so that a new rule cannot be left out
of the tests by accident.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Final

from wherry.net.types import IPAddress
from wherry.services import names
from wherry.services.content import Content


class UnknownRule(Exception):
    """A rule in none of the forms known here."""


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection; ``local`` when a program of this node sends it."""

    src: IPAddress
    dst: IPAddress
    protocol: str
    port: int
    local: bool = False

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.dst.version


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a packet: ``pass``, ``refuse`` or ``drop``, where it goes and whether its sender is hidden."""

    verdict: str
    packet: Packet
    masquerade: bool = False

    def __str__(self) -> str:
        if self.verdict != "pass":
            return self.verdict
        host = f"[{self.packet.dst}]" if self.packet.version == 6 else str(self.packet.dst)
        return f"{host}:{self.packet.port}" + (" masquerade" if self.masquerade else "")


@dataclass(slots=True)
class Tracer:
    """Fixed chains and a content; ``draw(n)`` is the random number below n; ``clients`` fills as in the kernel.

    ``own`` are the node's addresses.
    """

    fixed: dict[str, tuple[str, ...]]
    content: Content
    draw: Callable[[int], int] = lambda count: 0
    own: frozenset[IPAddress] = frozenset()
    clients: dict[str, set[IPAddress]] = field(default_factory=dict)

    def trace(self, packet: Packet) -> Outcome:
        """What becomes of the first packet of a connection. Raises UnknownRule."""
        walk = _Walk(self, packet)
        hooks = ("output", "refuse-output") if packet.local else ("prerouting", "refuse-prerouting")
        for chain in (*hooks, "postrouting"):
            if (verdict := walk.chain(chain)) is not None and verdict not in ("dnat", "masquerade"):
                return Outcome(verdict, walk.packet)
        return Outcome("pass", walk.packet, masquerade=walk.masquerade)


class _Walk:
    def __init__(self, tracer: Tracer, packet: Packet) -> None:
        self.tracer = tracer
        self.original = packet
        self.packet = packet
        self.marked = False
        self.masquerade = False

    def chain(self, name: str) -> str | None:
        """The verdict of a chain; None when the packet comes out at its end."""
        rules = self.tracer.fixed.get(name) or self.tracer.content.chains.get(name)
        if rules is None:
            raise UnknownRule(f"no chain {name}")
        for rule in rules:
            for form, act in _FORMS:
                if found := form.fullmatch(rule):
                    verdict = act(self, found)
                    break
            else:
                raise UnknownRule(f"chain {name}: {rule}")
            if verdict == "return":
                return None
            if verdict is not None:
                return verdict
        return None

    def verdict(self, text: str | None) -> str | None:
        """Follow a verdict of a map or rule; what is left by ``goto`` does not come back."""
        if text is None or text == "drop":
            return text
        return self.chain(text.removeprefix("goto ")) or "return"

    def look_up(self, container: str, *key: str) -> str | None:
        """The value in a map (or of a set: empty), None where there is none."""
        return self.tracer.content.elements.get((container, key))

    def frontend(self, ip: str | None) -> tuple[str, ...]:
        """The packet's frontend as a key: with its address, or (``ip`` is None) by port alone."""
        port = self.packet.protocol, str(self.packet.port)
        return port if ip is None else (str(self.packet.dst), *port)

    @property
    def from_node(self) -> bool:
        """Whether the sender's address is the node's."""
        return self.packet.local or self.packet.src in self.tracer.own

    def is_in(self, address: IPAddress, cidrs: str) -> bool:
        """Whether an address is in ranges as rules write them."""
        return any(address in ip_network(cidr) for cidr in cidrs.split(", "))

    def is_for_node(self, ip: str, never: str, chosen: str | None) -> bool:
        """Whether the packet is for one of the node's addresses that answer node ports."""
        dst = self.packet.dst
        usable = self.is_for(ip) and dst in self.tracer.own and not self.is_in(dst, never)
        return usable and (chosen is None or self.is_in(dst, chosen))

    def is_for(self, ip: str) -> bool:
        return names.IP[self.packet.version] == ip

    def translate(self, address: str, port: str) -> str:
        self.packet = replace(self.packet, dst=ip_address(address), port=int(port))
        return "dnat"


def _jump(walk: _Walk, found: re.Match[str]) -> str | None:
    return walk.chain(found["chain"])


def _frontend(walk: _Walk, found: re.Match[str]) -> str | None:
    """Look a frontend up by address; by port alone where a rule has sorted the family or the node's addresses out."""
    parts = found.groupdict()
    if parts.get("never"):
        hit = walk.is_for_node(parts["ip"], parts["never"], parts["chosen"])
    else:
        hit = walk.is_for(parts["ip"] or names.IP[int(parts["family"])])
    if not hit:
        return None
    by_port = parts.get("never") or parts.get("family")
    value = walk.look_up(found["map"], *walk.frontend(None if by_port else parts["ip"]))
    return walk.verdict(value if parts.get("chain") is None or value is None else f"goto {parts['chain']}")


def _pick(walk: _Walk, found: re.Match[str]) -> str | None:
    if not walk.is_for(found["family"]) or walk.packet.protocol != found["protocol"]:
        return None
    index = walk.tracer.draw(int(found["count"])) + int(found["first"] or 0)
    address = (str(walk.packet.dst),) if found["ip"] else ()
    target = walk.look_up(found["map"], *address, str(walk.packet.port), str(index))
    return None if target is None else walk.translate(*target.split(" . "))


def _go(walk: _Walk, found: re.Match[str]) -> str | None:
    return walk.verdict(f"goto {found['chain']}")


def _from_range(walk: _Walk, found: re.Match[str]) -> str | None:
    hit = walk.is_for(found["ip"]) and walk.is_in(walk.packet.src, found["cidrs"])
    return walk.verdict(f"goto {found['chain']}") if hit else None


def _not_from_range(walk: _Walk, found: re.Match[str]) -> str | None:
    return "drop" if walk.is_for(found["ip"]) and not walk.is_in(walk.packet.src, found["cidrs"]) else None


def _from_node(walk: _Walk, found: re.Match[str]) -> str | None:
    return walk.verdict(f"goto {found['chain']}") if walk.from_node else None


def _mark(walk: _Walk, found: re.Match[str]) -> str | None:
    walk.marked = True
    return None


def _marked(walk: _Walk, found: re.Match[str]) -> str | None:
    if not walk.marked:
        return None
    walk.masquerade = True
    return "masquerade"


def _to_service(walk: _Walk, found: re.Match[str]) -> str | None:
    hit = walk.is_for(found["ip"]) and walk.look_up(found["set"], str(walk.packet.dst)) is not None
    return walk.verdict(f"goto {found['chain']}") if hit else None


def _to_range(walk: _Walk, found: re.Match[str]) -> str | None:
    hit = walk.is_for(found["ip"]) and walk.packet.dst in ip_network(found["cidr"])
    spared = walk.look_up(found["set"], str(walk.packet.dst)) is not None
    return walk.verdict(f"goto {found['chain']}") if hit and not spared else None


def _reject(walk: _Walk, found: re.Match[str]) -> str | None:
    only = found.groupdict().get("protocol")
    return "refuse" if only in (None, walk.packet.protocol) else None


def _untracked(walk: _Walk, found: re.Match[str]) -> str | None:
    return None  # connections are traced here, and they are tracked


def _hairpin(walk: _Walk, found: re.Match[str]) -> str | None:
    pair = str(walk.packet.src), str(walk.packet.dst)
    if walk.packet == walk.original or walk.look_up(found["set"], *pair) is None:
        return None
    walk.masquerade = True
    return "masquerade"


def _outside(walk: _Walk, found: re.Match[str]) -> str | None:
    addressed = walk.look_up(found["set"], str(walk.original.dst)) is not None
    if walk.packet == walk.original or not addressed or walk.from_node or not walk.is_for(found["ip"]):
        return None
    if walk.is_in(walk.packet.src, found["cidrs"]):
        return None
    walk.masquerade = True
    return "masquerade"


def _client(walk: _Walk, found: re.Match[str]) -> str | None:
    known = walk.packet.src in walk.tracer.clients.get(found["set"], ())
    return walk.verdict(f"goto {found['chain']}") if known else None


def _lot(walk: _Walk, found: re.Match[str]) -> str | None:
    lots = dict(lot.split(" : ") for lot in found["lots"].split(", "))
    return walk.verdict(lots[str(walk.tracer.draw(int(found["count"])))])


def _remember(walk: _Walk, found: re.Match[str]) -> str | None:
    walk.tracer.clients.setdefault(found["set"], set()).add(walk.packet.src)
    return None


def _send(walk: _Walk, found: re.Match[str]) -> str | None:
    if walk.packet.protocol != found["protocol"] or not walk.is_for(found["ip"]):
        return None
    return walk.translate(found["address"].strip("[]"), found["port"])


_NAME = r"[\w./-]+"
_PORT = r"meta l4proto \. th dport"
_FRONTEND = rf"(?P<ip>ip6?) daddr \. {_PORT}"
_CIDRS = r"{ (?P<cidrs>[^}]+) }"
_NODE = r"(ip6? daddr { (?P<chosen>[^}]+) } )?(?P<ip>ip6?) daddr != { (?P<never>[^}]+) } fib daddr type local "
_MARK = f"{names.MARK:#x}"
_FORMS: Final = tuple(
    (re.compile(form), act)
    for form, act in (
        (rf"(ct state new )?jump (?P<chain>{_NAME})", _jump),
        (rf"goto (?P<chain>{_NAME})", _go),
        (rf"(?:meta nfproto ipv(?P<family>[46]) {_PORT}|{_FRONTEND}) vmap @(?P<map>{_NAME})", _frontend),
        (rf"{_NODE}{_PORT} (?:vmap @(?P<map>{_NAME}))", _frontend),
        (rf"{_FRONTEND} @(?P<map>{_NAME}) goto (?P<chain>{_NAME})", _frontend),
        (rf"{_NODE}{_PORT} @(?P<map>{_NAME}) goto (?P<chain>{_NAME})", _frontend),
        (
            r"dnat (?P<family>ip6?) to ((?P<ip>ip6?) daddr \. )?(?P<protocol>\w+) dport \. "
            rf"numgen random mod (?P<count>\d+)( offset (?P<first>\d+))? map @(?P<map>{_NAME})",
            _pick,
        ),
        (rf"(?P<ip>ip6?) saddr {_CIDRS} goto (?P<chain>{_NAME})", _from_range),
        (rf"(?P<ip>ip6?) saddr != {_CIDRS} drop", _not_from_range),
        (rf"fib saddr type local goto (?P<chain>{_NAME})", _from_node),
        (rf"meta mark set meta mark or {_MARK}", _mark),
        (
            rf"meta mark and {_MARK} == {_MARK} meta mark set meta mark xor {_MARK} masquerade fully-random",
            _marked,
        ),
        (rf"(?P<ip>ip6?) daddr @(?P<set>{_NAME}) goto (?P<chain>{_NAME})", _to_service),
        (
            rf"(?P<ip>ip6?) daddr (?P<cidr>[\da-f.:]+/\d+) ip6? daddr != @(?P<set>{_NAME}) goto (?P<chain>{_NAME})",
            _to_range,
        ),
        (r"ct state untracked return", _untracked),
        (r"meta l4proto (?P<protocol>\w+) reject with tcp reset", _reject),
        (r"reject with icmpx port-unreachable", _reject),
        (rf"ct status dnat ip6? saddr \. ip6? daddr @(?P<set>{_NAME}) masquerade fully-random", _hairpin),
        (
            rf"ct status dnat ct original (?P<ip>ip6?) daddr @(?P<set>{_NAME}) ip6? saddr != {{ (?P<cidrs>[^}}]+) }} "
            r"fib saddr type != local masquerade fully-random",
            _outside,
        ),
        (rf"ip6? saddr @(?P<set>{_NAME}) goto (?P<chain>{_NAME})", _client),
        (r"numgen random mod (?P<count>\d+) vmap { (?P<lots>[^}]+) }", _lot),
        (rf"update @(?P<set>{_NAME}) {{ ip6? saddr timeout \d+s }}", _remember),
        (r"meta l4proto (?P<protocol>\w+) dnat (?P<ip>ip6?) to (?P<address>[\d.]+|\[[^]]+\]):(?P<port>\d+)", _send),
    )
)
