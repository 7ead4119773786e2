"""Answers that a front works out itself: what the kubernetes plugin would say, as octets that fit any client.

A *prepared* answer depends on nothing but the question: the id, the RD and CD bits, the spelling of the name, and the
OPT record are the client's and are put around it. Owners in it point at the question's name and are spelled as that is;
where other names are spelled after the question too, another spelling needs an answer of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from wherry.dns import names, records
from wherry.dns.front.protocol import Local, ServerPlan, ZonePlan
from wherry.dns.front.scan import Asked
from wherry.dns.kubernetes.answer import Answer, answer, soa_record
from wherry.dns.kubernetes.lookup import Options
from wherry.dns.kubernetes.zone import Change, Zone
from wherry.dns.message import NOERROR, NXDOMAIN, Message, Question, encode
from wherry.dns.records import Record

_ADDRESSES = frozenset((records.A, records.AAAA))
_NAMELESS = frozenset((records.A, records.AAAA, records.TXT))
_TURNS = 8
"""Variants of an answer with several addresses; more would only take room."""
_NO_TAILS: tuple[bytes, ...] = (b"",)
_ONE_AUTHORITY = b"\x00\x00\x00\x01"
_FOR_BACK = frozenset((records.DS, records.AXFR, records.IXFR))
"""Types that are not answered where the name is, or by a transfer."""


class Prepared:
    """An answer without what is the client's.

    ``denial``: the zone's SOA record goes into it. ``follows``: it is the same however the question is spelled.
    ``truncated``: the TC bit, set where it is more than even TCP can carry.
    """

    __slots__ = ("additional", "apex", "counts", "denial", "follows", "rcode", "tag", "tails", "truncated")

    def __init__(self, found: Answer, question: Question, *, rotate: bool) -> None:
        self.rcode = found.rcode
        self.denial = found.soa
        self.tag = found.tag
        self.apex = found.apex
        # What depends on the whole zone may be there in one spelling only.
        self.follows = found.tag != b"" and (
            found.soa
            or all(
                record.name == question.name and record.type in _NAMELESS
                for record in (*found.answer, *found.additional)
            )
        )
        self.tails = _NO_TAILS
        self.counts = _ONE_AUTHORITY
        self.additional = 0
        self.truncated = 0
        if not found.soa:
            wires = [encode(message) for message in turns(whole(found, question), rotate=rotate)]
            self.truncated = wires[0][2] & 0x02
            self.counts = wires[0][6:10]
            self.additional = int.from_bytes(wires[0][10:12], "big")
            self.tails = tuple(wire[16 + len(question.name) :] for wire in wires)


class LocalZone:
    """A cluster's names for one server block: the zone with that block's options."""

    def __init__(self, zone: Zone, options: Options) -> None:
        self.zone = zone
        self._options = options
        self._denials: dict[tuple[bytes, int], bytes] = {}

    def changed(self) -> None:
        """The zone is not what it was; its SOA record may say so."""
        self._denials.clear()

    def find(self, question: Question, *, rotate: bool) -> Prepared | None:
        """The answer to a question, None where it is for the back."""
        found = answer(self.zone, self._options, question)
        if found is None or found.external is not None or found.passes or found.rcode not in (NOERROR, NXDOMAIN):
            return None
        return Prepared(found, question, rotate=rotate)

    def whole(self, question: Question) -> Message:
        """The answer to a question that `find` had one for, with its SOA record, to be cut to size."""
        found = answer(self.zone, self._options, question)
        assert found is not None
        return whole(found, question, (soa_record(self.zone, self._options, found.apex),) if found.soa else ())

    def denial(self, apex: bytes, at: int) -> bytes:
        """The zone's SOA record for an authority section, where the question's name has the zone at that offset."""
        tail = self._denials.get((apex, at))
        if tail is None:
            tail = self._denials[apex, at] = _compressed(soa_record(self.zone, self._options, apex), apex, at)
        return tail


def _compressed(soa: Record, apex: bytes, at: int) -> bytes:
    """The record with every mention of the zone a pointer to where the question has it."""
    pointer = (0xC000 | at).to_bytes(2, "big")
    parts = soa.rdata.split(apex, 2)
    rdata = pointer.join(parts)
    head = soa.type.to_bytes(2, "big") + soa.klass.to_bytes(2, "big") + soa.ttl.to_bytes(4, "big")
    return pointer + head + len(rdata).to_bytes(2, "big") + rdata


class Block:
    """A zone of a server, with what is behind it."""

    def __init__(self, plan: ZonePlan, local: LocalZone | None) -> None:
        self.plan = plan
        self.local = local

    def answers(self, asked: Asked) -> bool:
        """Whether this question may be answered here at all."""
        plan = self.plan
        if self.local is None or asked.type in _FOR_BACK or asked.name in plan.excluded:
            return False
        assert plan.local is not None
        if not any(names.is_within(asked.name, zone) for zone in plan.local.names):
            return False
        if plan.excluded_zones:
            for parent in names.parents(asked.name):
                if (parent, 0) in plan.excluded_zones or (parent, asked.type) in plan.excluded_zones:
                    return False
        return True


class Server:
    """What a front knows of one server of the Corefile; ``slot`` is where its prepared answers are."""

    def __init__(self, index: int, plan: ServerPlan) -> None:
        self.index = index
        self.plan = plan
        self.blocks: dict[bytes, Block] = {}

    def route(self, name: bytes) -> Block | None:
        """The block of the longest zone that a folded name is in."""
        blocks = self.blocks
        place = 0
        while True:
            block = blocks.get(name[place:])
            if block is not None:
                return block
            length = name[place]
            if not length:
                return None
            place += length + 1


class Zones:
    """Zones by id as the back tells them, those that are ready and those that are being told."""

    def __init__(self) -> None:
        self._ready: dict[int, Zone] = {}
        self._coming: dict[int, Zone] = {}

    def begin(self, number: int) -> None:
        """A snapshot comes."""
        self._coming[number] = Zone()

    def apply(self, number: int, changes: Iterable[tuple[Any, ...]]) -> set[bytes]:
        """Take changes over; the tags of what is different now."""
        zone = self._coming.get(number) or self._ready.get(number)
        tags: set[bytes] = set()
        if zone is not None:
            for packed in changes:
                tags |= zone.apply(Change.unpack(packed))
        return tags

    def ready(self, number: int) -> None:
        """The snapshot is complete."""
        if number in self._coming:
            self._ready[number] = self._coming.pop(number)

    def retain(self, numbers: set[int]) -> None:
        """Forget all zones but these."""
        for zones in (self._ready, self._coming):
            for number in [*zones]:
                if number not in numbers:
                    del zones[number]

    def servers(self, plans: list[ServerPlan]) -> list[Server]:
        """Servers for plans, on the zones that are ready; ask again once one more is."""
        servers = []
        for index, plan in enumerate(plans):
            server = Server(index, plan)
            for zone in plan.zones:
                local = None
                if zone.local is not None:
                    local = self._local(zone.local)
                server.blocks[zone.name] = Block(zone, local)
            servers.append(server)
        return servers

    def _local(self, local: Local) -> LocalZone | None:
        zone = self._ready.get(local.zone)
        return None if zone is None else LocalZone(zone, Options.unpack(local.options))


def whole(found: Answer, question: Question, soa: tuple[Record, ...] = ()) -> Message:
    """The reply as a message, to be cut to size or turned."""
    return Message(
        response=True,
        authoritative=True,
        rcode=found.rcode,
        question=question,
        answer=[*found.answer],
        authority=[*soa],
        additional=[*found.additional],
    )


def turns(message: Message, *, rotate: bool) -> Iterator[Message]:
    """The message, and where it has several addresses the same with others of them first, as many as are sensible."""
    addresses = sum(record.type in _ADDRESSES for record in message.answer)
    count = min(addresses, _TURNS) if rotate and message.rcode == NOERROR else 1
    if count < 2:
        yield message
        return
    for turn in range(count):
        by = turn * addresses // count
        answers, extras = _turned(message.answer, by), _turned(message.additional, by)
        yield message.copy(answer=answers, additional=extras)


def _turned(section: list[Record], by: int) -> list[Record]:
    """Aliases, the rest, then addresses, of which others come first (CoreDNS' `loadbalance`)."""
    aliases = [record for record in section if record.type == records.CNAME]
    addresses = [record for record in section if record.type in _ADDRESSES]
    rest = [record for record in section if record.type != records.CNAME and record.type not in _ADDRESSES]
    at = by % len(addresses) if addresses else 0
    return [*aliases, *rest, *addresses[at:], *addresses[:at]]


def ttl_places(wire: bytes) -> tuple[int, ...]:
    """Offsets of the TTLs in a well-formed reply; the OPT record has none."""
    place = 12
    for _ in range(int.from_bytes(wire[4:6], "big")):
        place = _after_name(wire, place) + 4
    found = []
    for _ in range(sum(int.from_bytes(wire[at : at + 2], "big") for at in (6, 8, 10))):
        place = _after_name(wire, place)
        if wire[place : place + 2] != b"\x00\x29":
            found.append(place + 4)
        place += 10 + int.from_bytes(wire[place + 8 : place + 10], "big")
    return tuple(found)


def _after_name(wire: bytes, place: int) -> int:
    while length := wire[place]:
        if length >= 192:
            return place + 2
        place += length + 1
    return place + 1
