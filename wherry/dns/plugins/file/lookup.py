"""Answering a question from a zone: delegations, DNAME, wildcards, chains of CNAMEs, glue (RFC 1034, 4592, 6672)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from enum import Enum
from typing import NamedTuple

from wherry.dns import names, records
from wherry.dns.message import NOERROR, NXDOMAIN, SERVFAIL, Message, Question
from wherry.dns.plugins.file.zone import Node, Zone, of_type
from wherry.dns.records import Record

_LONGEST_CHAIN = 8
_WILDCARD = b"\x01*"
_TARGETS = {records.SRV: 6, records.MX: 2, records.SVCB: 2, records.HTTPS: 2}
"""Types whose targets get their addresses into the additional section, with the octets before the target."""

Ask = Callable[[Question], Awaitable[Message | None]]


class Outcome(Enum):
    """How a lookup ended."""

    SUCCESS = "success"
    NAME_ERROR = "name error"
    DELEGATION = "delegation"
    NO_DATA = "no data"
    FAILURE = "failure"


class Found(NamedTuple):
    """The sections of a reply, and the wildcard that the answer was made from."""

    outcome: Outcome
    answer: list[Record]
    authority: list[Record]
    additional: list[Record]
    wildcard: bytes = b""


_FAILED = Found(Outcome.FAILURE, [], [], [])


class Lookup:
    """One question to one zone."""

    def __init__(self, zone: Zone, question: Question, ask: Ask, *, signed: bool) -> None:
        """``ask`` puts a question about another name to the whole server; ``signed`` adds signatures (DO)."""
        self._zone = zone
        self._name = question.name.lower()
        self._type = question.type
        self._class = question.klass
        self._ask = ask
        self._signed = signed

    async def run(self) -> Found:
        """Find the answer."""
        zone, name, signed = self._zone, self._name, self._signed
        if name == zone.origin and self._type == records.SOA:
            return Found(Outcome.SUCCESS, zone.denial(signed=signed), zone.authority(signed=signed), [])
        if name == zone.origin and self._type == records.NS:
            servers = zone.authority(signed=signed)
            return Found(Outcome.SUCCESS, servers, [], self._glue(servers))
        for above, node in self._downwards(name):
            if records.DNAME in node and above != name:
                return await self._redirected(node)
            delegation = self._delegation(above, node, name)
            if delegation is not None:
                return delegation
        if name in zone.nodes:
            return await self._at(zone.nodes[name], name)
        wildcard = self._wildcard()
        if wildcard is not None and wildcard in zone.nodes:
            found = await self._at(_renamed(zone.nodes[wildcard], name), name, source=zone.nodes[wildcard])
            return found._replace(wildcard=wildcard)
        if wildcard is not None or zone.has_below(name):
            # An empty non-terminal: the name exists and holds nothing.
            outcome = Outcome.NO_DATA if wildcard is not None else Outcome.SUCCESS
            return Found(outcome, [], zone.denial(signed=signed) + self._denial(wildcard or name), [])
        return Found(Outcome.NAME_ERROR, [], zone.denial(signed=signed) + self._denial(name, whole=True), [])

    def _downwards(self, name: bytes) -> Iterator[tuple[bytes, Node]]:
        """The names with records from the apex down to one."""
        path = []
        for above in names.parents(name):
            path.append(above)
            if above == self._zone.origin:
                break
        for above in reversed(path):
            node = self._zone.nodes.get(above)
            if node is not None:
                yield above, node

    def _delegation(self, above: bytes, node: Node, name: bytes) -> Found | None:
        servers = node.get(records.NS)
        if not servers or (self._type == records.DS and above == name):
            return None
        more = of_type(node, records.DS, signed=True) if self._signed else []
        return Found(Outcome.DELEGATION, [], servers + more, self._glue(servers))

    def _wildcard(self) -> bytes | None:
        """The name that covers one that is not there: `*` below the closest name that is (RFC 4592 §3.3.1)."""
        for above in names.parents(self._name):
            if above != self._name and self._zone.exists(above):
                wildcard = _WILDCARD + above
                return wildcard if self._zone.exists(wildcard) else None
        return None

    async def _at(self, node: Node, name: bytes, *, source: Node | None = None) -> Found:
        """What a node says; ``source`` is the wildcard's own node where this one was made from it."""
        if records.CNAME in node and self._type != records.CNAME:
            return await self._followed(of_type(node, records.CNAME, signed=self._signed), node[records.CNAME][0])
        answer = of_type(node, self._type, signed=self._signed)
        if not answer:
            denial = self._zone.denial(signed=self._signed)
            if self._signed:
                # The wildcard's NSEC under its own name proves that the type is not there (RFC 4035 §3.1.3.4).
                denial += of_type(source or node, records.NSEC, signed=True)
            return Found(Outcome.NO_DATA, [], denial, [])
        authority = self._zone.authority(signed=self._signed)
        if source is not None:
            authority += self._denial(name)
        return Found(Outcome.SUCCESS, answer, authority, self._additional(answer))

    async def _redirected(self, node: Node) -> Found:
        """Follow a DNAME above the name: a CNAME is made of it (RFC 6672 §3.1)."""
        dname = node[records.DNAME][0]
        try:
            target = names.join(
                names.labels(self._name)[: -len(names.labels(dname.name)) or None] + names.labels(dname.rdata)
            )
        except names.NameError_:
            return _FAILED
        if target.lower() == self._name:
            return _FAILED
        cname = records.cname(self._name, dname.ttl, target)
        first = of_type(node, records.DNAME, signed=self._signed)
        if self._type == records.CNAME:
            return Found(Outcome.SUCCESS, [*first, cname], self._zone.authority(signed=self._signed), [])
        found = await self._followed([cname], cname)
        return found._replace(answer=[*first, *found.answer])

    async def _followed(self, answer: list[Record], cname: Record) -> Found:
        """Follow a CNAME through the zone, and out of it by asking the server."""
        zone, signed = self._zone, self._signed
        for _ in range(_LONGEST_CHAIN + 1):
            target = cname.rdata.lower()
            node = zone.nodes.get(target)
            if names.is_within(target, zone.origin):
                for above, each in self._downwards(target):
                    delegation = self._delegation(above, each, target) if above != zone.origin else None
                    if delegation is not None and (above != target or node is not None):
                        return delegation._replace(answer=answer)
            apart = self._type == records.NS or (self._type == records.SOA and target == zone.origin)
            if node is None or apart:
                return await self._outside(answer, target)
            if records.CNAME not in node:
                answer = answer + of_type(node, self._type, signed=signed)
                return Found(Outcome.SUCCESS, answer, zone.authority(signed=signed), self._additional(answer))
            cname = node[records.CNAME][0]
            answer = answer + of_type(node, records.CNAME, signed=signed)
        return Found(Outcome.SUCCESS, answer, zone.authority(signed=signed), self._additional(answer))

    async def _outside(self, answer: list[Record], target: bytes) -> Found:
        reply = await self._ask(Question(target, self._type, self._class))
        outcome = Outcome.SUCCESS
        if reply is not None:
            answer = answer + reply.answer
            if reply.rcode == NXDOMAIN:
                outcome = Outcome.NAME_ERROR
            elif reply.rcode == SERVFAIL:
                outcome = Outcome.FAILURE
            elif reply.rcode == NOERROR and not reply.answer:
                outcome = Outcome.NO_DATA
        denied = outcome in (Outcome.NAME_ERROR, Outcome.NO_DATA)
        authority = self._zone.denial if denied else self._zone.authority
        return Found(outcome, answer, authority(signed=self._signed), self._additional(answer))

    def _glue(self, servers: list[Record]) -> list[Record]:
        """The addresses of name servers that lie below the name that they serve."""
        found: list[Record] = []
        for server in servers:
            if server.type == records.NS and names.is_within(server.rdata.lower(), server.name.lower()):
                found += self._addresses(server.rdata.lower())
        return found

    def _additional(self, answer: list[Record]) -> list[Record]:
        targets = dict.fromkeys(
            target_of(record.rdata, _TARGETS[record.type]).lower() for record in answer if record.type in _TARGETS
        )
        return [
            record
            for target in targets
            if names.is_within(target, self._zone.origin)
            for record in self._addresses(target)
        ]

    def _addresses(self, name: bytes) -> list[Record]:
        node = self._zone.nodes.get(name, {})
        return [record for kind in (records.A, records.AAAA) for record in of_type(node, kind, signed=self._signed)]

    def _denial(self, name: bytes, *, whole: bool = False) -> list[Record]:
        """NSEC records that prove that a name, and with ``whole`` a wildcard for it, is not there (RFC 4035 §3.1.3)."""
        if not self._signed:
            return []
        zone = self._zone
        covering = [zone.before(name)]
        if whole:
            closest = next(above for above in names.parents(name) if zone.exists(above))
            covering.append(zone.before(_WILDCARD + closest))
        return [
            record
            for owner in dict.fromkeys(covering)
            for record in of_type(zone.nodes[owner], records.NSEC, signed=True)
        ]


def target_of(rdata: bytes, start: int) -> bytes:
    """The name in rdata that begins after ``start`` octets."""
    end = start
    while rdata[end]:
        end += rdata[end] + 1
    return rdata[start : end + 1]


def _renamed(node: Node, name: bytes) -> Node:
    return {kind: [record._replace(name=name) for record in section] for kind, section in node.items()}
