"""What a front does with a query that its memo does not answer at once, and with what the back says.

Sockets give queries to `Front.ask` and send what it returns; what it returns None for is dropped, or has been handed to
the back and comes later through `Origin.reply`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Any, NamedTuple, Protocol

from wherry.dns import acceptance
from wherry.dns.errors import MessageError
from wherry.dns.front import zones as local
from wherry.dns.front.counters import Counters
from wherry.dns.front.memo import GENERATION, Entry, FallingEntry, Generations, Label, Memo
from wherry.dns.front.protocol import GIVE_UP, IN_FLIGHT, ServerPlan
from wherry.dns.front.scan import Asked, scan
from wherry.dns.front.zones import Block, LocalZone, Prepared, Server, Zones
from wherry.dns.message import MAX_DATAGRAM, MAX_SIZE, MIN_SIZE, NOERROR, SERVFAIL, Edns, Question, decode, encode

_NOTHING = 12
_REFUSALS = 500.0
"""Messages a second that are answered with what is wrong with them; the rest of them are dropped."""
_NAMED_TYPES = 300
_PLUGIN = "kubernetes"
_ANYTHING = b""
"""The tag that every change of a zone returns."""
_FALLING = b"\x00-"
"""The tag of what is kept of answers to names that a local zone passed on: they may exist in it later. No name or
address is like that."""


class Origin(Protocol):
    """A socket that queries come from."""

    server: int
    transport: str
    family: int
    slot: int

    def reply(self, client: Any, wire: bytes) -> None:
        """Send an answer that was waited for; ``client`` is what `Front.ask` was given."""

    def part(self, client: Any, wire: bytes) -> None:
        """Send a message of an answer that has several."""

    def sender(self, client: Any) -> tuple[str, int, str]:
        """Address and port of the client, and the address that it asked."""


class _Waiting(NamedTuple):
    """A query that the back has."""

    origin: Origin
    client: Any
    data: bytes
    keepable: bool
    tag: bytes
    changes: int
    clearings: int
    since: float


class Front:
    """Plans, zones, kept answers and queries under way of one front; no sockets, and no clock but the one given."""

    def __init__(self, room: int = GENERATION) -> None:
        self.counters = Counters()
        self.memo = Memo(self.counters.settle, room)
        self.now = time.monotonic()
        """When the present batch began."""
        self.outbox: list[tuple[Any, ...]] = []
        """Queries for the back, for `QUERIES`."""
        self.faults: deque[str] = deque(maxlen=1)
        """What the back should hear of our own defects, for `FAULT`."""
        self._prepared: Generations[Prepared] = Generations(lambda key, item: None, room)
        self._plans: list[ServerPlan] = []
        self._servers: list[Server] = []
        self._zones = Zones()
        self._labels: dict[Label, Label] = {}
        self._slots: dict[tuple[int, str, int], int] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._number = 0
        self._changes = 0
        self._clearings = 0
        self._refusals = _REFUSALS
        self._refused_at = self.now

    def slot(self, server: int, transport: str, family: int) -> int:
        """The memo's place for sockets of that kind."""
        slot = self._slots.setdefault((server, transport, family), len(self._slots))
        self.memo.widen(slot + 1)
        return slot

    def server(self, index: int) -> ServerPlan:
        """The plan for a server; the default one while there is none."""
        return self._plans[index] if index < len(self._plans) else ServerPlan("")

    @property
    def waiting(self) -> int:
        """How many queries the back has."""
        return len(self._waiting)

    def ask(self, origin: Origin, data: bytes, client: Any) -> bytes | None:
        """Answer a query, or hand it over, or drop it; a defect costs the one who met it a SERVFAIL."""
        try:
            return self._ask(origin, data, client)
        except Exception:
            import traceback

            self.faults.append(traceback.format_exc())
            return _overloaded(data, None)

    def _ask(self, origin: Origin, data: bytes, client: Any) -> bytes | None:
        if len(data) < _NOTHING or data[2] & 0x80:
            return None
        asked = scan(data)
        if asked is None:
            return self._unusual(origin, data, client)
        key = data[2:]
        entry = self.memo.current(origin.slot, key, self.now)
        if entry is not None:
            hits = entry.hits
            entry.hits = hits + 1
            return data[:2] + entry.replies[hits % len(entry.replies)]
        if asked.options:
            return self._hand_over(origin, data, client, keepable=False, asked=asked)
        server = self._servers[origin.server] if origin.server < len(self._servers) else None
        block = server.route(asked.name) if server else None
        if server is None or block is None or not block.answers(asked):
            return self._hand_over(origin, data, client, keepable=block is not None and block.plan.keep, asked=asked)
        assert block.local is not None
        question = Question(asked.name, asked.type)
        prepared = self._prepare(server, block, block.local, question)
        if prepared is not None and not asked.plain and not prepared.follows:
            prepared = block.local.find(Question(data[12 : asked.end - 4], asked.type), rotate=block.plan.rotate)
        if prepared is None:
            return self._hand_over(origin, data, client, keepable=block.plan.keep, tag=_FALLING, asked=asked)
        return self._local(origin, data, asked, block, block.local, prepared)

    def _prepare(self, server: Server, block: Block, zone: LocalZone, question: Question) -> Prepared | None:
        key = question.name + question.type.to_bytes(2, "big")
        found = self._prepared.find(server.index, key)
        if found is not None and found[1]:
            return found[0]
        prepared = found[0] if found else zone.find(question, rotate=block.plan.rotate)
        if prepared is not None and prepared.tag is not None:
            self._prepared.put(server.index, key, prepared, (prepared.tag,), len(key) + sum(map(len, prepared.tails)))
        return prepared

    def _local(
        self, origin: Origin, data: bytes, asked: Asked, block: Block, zone: LocalZone, prepared: Prepared
    ) -> bytes:
        size = asked.size
        if size and block.plan.bufsize:
            size = min(size, block.plan.bufsize)
        opt = b""
        if asked.size:
            opt = b"\x00\x00\x29%b\x00\x00%b\x00\x00\x00" % (
                size.to_bytes(2, "big"),
                b"\x80" if asked.dnssec_ok else b"\x00",
            )
        head = b"%c%c\x00\x01%b%b%b" % (
            0x84 | prepared.truncated | data[2] & 1,
            data[3] & 0x10 | prepared.rcode,
            prepared.counts,
            (prepared.additional + bool(opt)).to_bytes(2, "big"),
            data[12 : asked.end],
        )
        apex = prepared.apex
        if prepared.denial:
            bodies: tuple[bytes, ...] = (head + zone.denial(apex, 12 + len(asked.name) - len(apex)) + opt,)
        else:
            bodies = tuple([head + tail + opt for tail in prepared.tails])
        limit = MAX_SIZE if origin.transport != "udp" else min(max(size, MIN_SIZE), MAX_DATAGRAM)
        if len(bodies[0]) + 2 > limit:
            bodies = _cut(data, asked, size, zone, limit, rotate=block.plan.rotate)
        label = self._label(origin, asked, block.plan.label, "", prepared.rcode, _PLUGIN, "")
        if not asked.plain:
            self.counters.add(label, len(data), len(bodies[0]) + 2)
            return data[:2] + bodies[0]
        if prepared.tag is None:
            entry = Entry(bodies, label, ())
            self.memo.deny(origin.slot, data[2:], entry)
        else:
            # The SOA record in a denial is that of before any change.
            entry = Entry(bodies, label, (prepared.tag, _ANYTHING) if prepared.denial else (prepared.tag,))
            self.memo.keep(origin.slot, data[2:], entry)
        entry.hits = 1
        return data[:2] + bodies[0]

    def _unusual(self, origin: Origin, data: bytes, client: Any) -> bytes | None:
        """What is no plain query: refused by the rules of `acceptance`, or for the back if those let it in."""
        now = self.now
        self._refusals = min(_REFUSALS, self._refusals + (now - self._refused_at) * _REFUSALS)
        self._refused_at = now
        if self._refusals < 1:
            return None
        query = acceptance.accept(data, other_classes=True)
        if isinstance(query, bytes):
            self._refusals -= 1
            return query or None
        return self._hand_over(origin, data, client, keepable=False)

    def _hand_over(
        self, origin: Origin, data: bytes, client: Any, *, keepable: bool, tag: bytes = b"", asked: Asked | None = None
    ) -> bytes | None:
        if len(self._waiting) >= IN_FLIGHT:
            return _overloaded(data, asked)
        self._number += 1
        keepable = keepable and asked is not None and asked.plain
        self._waiting[self._number] = _Waiting(
            origin, client, data, keepable, tag, self._changes, self._clearings, self.now
        )
        self.outbox.append((self._number, origin.server, origin.transport, *origin.sender(client), data))
        return None

    def answered(self, replies: Iterable[tuple[Any, ...]]) -> None:
        """Pass on what the back answered."""
        for number, wire, *keep, more in replies:
            waiting = self._waiting.get(number) if more else self._waiting.pop(number, None)
            if waiting is None:
                continue
            if more:
                waiting.origin.part(waiting.client, wire)
            elif wire:
                waiting.origin.reply(waiting.client, wire)
                if keep[0] > 0 and waiting.keepable:
                    self._keep(waiting, wire, *keep)
            else:
                waiting.origin.reply(waiting.client, b"")

    def _keep(
        self, waiting: _Waiting, wire: bytes, seconds: float, countdown: bool, tag: bytes, zone: str, view: str,
        rcode: int, plugin: str, credit: str,
    ) -> None:  # fmt: skip
        tagged = tag or waiting.tag
        if waiting.clearings != self._clearings or (tagged and waiting.changes != self._changes):
            return  # it may be older than the change
        origin = waiting.origin
        asked = scan(waiting.data)
        block = self._servers[origin.server].route(asked.name) if asked and origin.server < len(self._servers) else None
        if asked is None or block is None:
            return
        wires: tuple[bytes, ...] = (wire,)
        if block.plan.rotate and rcode == NOERROR and wire[6:8] > b"\x00\x01":
            try:
                wires = tuple([encode(each) for each in local.turns(decode(wire), rotate=True)])
            except MessageError:
                return  # an upstream's reply that clients may make something of, but we cannot
            if any(len(each) > len(wire) for each in wires):
                wires = (wire,)
        label = self._label(origin, asked, zone, view, rcode, plugin, credit)
        bodies = tuple([each[2:] for each in wires])
        tags = (tagged,) if tagged else ()
        expires = self.now + seconds
        if countdown:
            places = tuple([tuple([at - 2 for at in local.ttl_places(each)]) for each in wires])
            entry: Entry = FallingEntry(bodies, label, tags, made=self.now, expires=expires, places=places)
        else:
            entry = Entry(bodies, label, tags, expires)
        self.memo.keep(origin.slot, waiting.data[2:], entry)

    def _label(self, origin: Origin, asked: Asked, zone: str, view: str, rcode: int, plugin: str, credit: str) -> Label:
        # Types nobody has named are counted together, so that no client can make labels without end.
        kind = asked.type if asked.type < _NAMED_TYPES else 0
        label = Label(
            origin.server, zone, view, origin.transport, origin.family, kind, asked.dnssec_ok, rcode, plugin, credit
        )
        return self._labels.setdefault(label, label)

    def give_up(self) -> None:
        """Forget queries that the back has had for too long."""
        for number, waiting in list(self._waiting.items()):
            if waiting.since + GIVE_UP > self.now:
                return
            del self._waiting[number]
            waiting.origin.reply(waiting.client, b"")

    def next_give_up(self) -> float:
        """When `give_up` has something to do."""
        return next((waiting.since + GIVE_UP for waiting in self._waiting.values()), inf)

    def plan(self, plans: Iterable[tuple[Any, ...]], zones: Iterable[int]) -> None:
        """Follow new plans and forget zones other than these; every kept answer goes."""
        self._zones.retain({*zones})
        self._plans = [ServerPlan.unpack(plan) for plan in plans]
        self._replan()

    def begin_zone(self, number: int) -> None:
        """A snapshot comes."""
        self._zones.begin(number)

    def change(self, number: int, changes: Iterable[tuple[Any, ...]]) -> None:
        """Take changes of a zone over and drop what they make untrue."""
        tags = self._zones.apply(number, changes)
        if tags:
            self.drop([*tags, _FALLING])

    def zone_ready(self, number: int) -> None:
        """A snapshot is complete: answer from it."""
        self._zones.ready(number)
        self._replan()

    def drop(self, tags: list[bytes]) -> None:
        """Forget answers that depend on these, all without any; what does not exist may exist now in either case."""
        self._changes += 1
        for server in self._servers:
            for block in server.blocks.values():
                if block.local is not None:
                    block.local.changed()
        if not tags:
            self._clearings += 1
            self.memo.clear()
            self._prepared.clear()
            return
        self.memo.drop(tags)
        self.memo.forget_denials()
        self._prepared.drop(tags)

    def _replan(self) -> None:
        self._servers = self._zones.servers(self._plans)
        self._prepared.widen(len(self._servers))
        self.drop([])

    def rows(self) -> list[tuple[Any, ...]]:
        """What was answered here since this was last asked."""
        self.memo.visit()
        return [tuple(row) for row in self.counters.take()]


def _cut(data: bytes, asked: Asked, size: int, zone: LocalZone, limit: int, *, rotate: bool) -> tuple[bytes, ...]:
    """An answer that does not fit, as much of it as does, without its id."""
    message = zone.whole(Question(data[12 : asked.end - 4], asked.type))
    message.recursion_desired = bool(data[2] & 1)
    message.checking_disabled = bool(data[3] & 0x10)
    message.edns = Edns(size, asked.dnssec_ok) if asked.size else None
    return tuple([encode(each, limit)[2:] for each in local.turns(message, rotate=rotate)])


def _overloaded(data: bytes, asked: Asked | None) -> bytes:
    """SERVFAIL without OPT: the back has more than enough to do."""
    end = asked.end if asked is not None else _NOTHING
    return b"%b%c%c\x00%c\x00\x00\x00\x00\x00\x00%b" % (
        data[:2],
        0x80 | data[2] & 0x79,
        data[3] & 0x10 | SERVFAIL,
        asked is not None,
        data[12:end],
    )
