"""Which messages are queries at all, and what the others are answered with; how every reply is finished.

What CoreDNS does, measured: silence, or a reply that is hardly larger than the query, so that nobody is flooded
through us. Shared by fronts and back; pure, and imports nothing heavy.
"""

from __future__ import annotations

import struct

from wherry.dns import message as m
from wherry.dns import records
from wherry.dns.errors import MessageError
from wherry.dns.message import Edns, Message, Question

SILENCE = b""

#: EDNS options of a query that come back with the reply; others are dropped (RFC 5001, 7314, 7873, 7828, 7830).
ECHOED = frozenset((m.NSID, m.EXPIRE, m.COOKIE, m.KEEPALIVE, m.PADDING))

_COUNTS = struct.Struct("!HHHHH")
_FIELDS = struct.Struct("!HH")


def accept(wire: bytes, *, other_classes: bool = False) -> Message | bytes:
    """Return the query that octets are, or the reply to octets that are none (``SILENCE``: not any).

    ``other_classes``: questions of classes other than IN are let in, as `chaos` and `forward` answer some.
    """
    if len(wire) < 12:
        return SILENCE
    bits, questions, answers, authorities, additionals = _COUNTS.unpack_from(wire, 2)
    if bits & 0x8000:
        return SILENCE
    opcode = bits >> 11 & 15
    if opcode not in (m.QUERY, m.NOTIFY):
        return _refusal(wire, m.NOTIMP, opcode=opcode)
    # A NOTIFY may bring its SOA along, an IXFR the SOA it has, and any query OPT and TSIG.
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return _refusal(wire, m.FORMERR)
    try:
        query = m.decode(wire)
    except MessageError as error:
        return _refusal(wire, error.rcode, asked=error.asked)
    if query.question is None:
        return m.encode(bare(query, m.SERVFAIL))
    if query.question.klass != records.IN and not other_classes:
        return m.encode(bare(query, m.REFUSED))
    if query.edns is not None and query.edns.version:
        refused = query.reply(m.BADVERS)
        refused.authoritative = False
        refused.edns = Edns(0)
        return m.encode(refused)
    return query


def _refusal(wire: bytes, rcode: int, *, opcode: int = m.QUERY, asked: bool = False) -> bytes:
    """Return a header without records, flags as they came, and the question where it could be read."""
    question = None
    if asked:
        name, place = m.read_name(wire, 12)
        question = Question(name, *_FIELDS.unpack_from(wire, place))
    number, bits = _FIELDS.unpack_from(wire)
    reply = Message(
        id=number, response=True, opcode=opcode, rcode=rcode, question=question, truncated=bool(bits & 0x0200),
        recursion_desired=bool(bits & 0x0100), recursion_available=bool(bits & 0x0080),
        authentic=bool(bits & 0x0020), checking_disabled=bool(bits & 0x0010),
    )  # fmt: skip
    return m.encode(reply)


def limit_of(query: Message, transport: str) -> int:
    """Return the most octets a reply may have (RFC 6891 §6.2.5): over UDP what the client and a datagram take."""
    if transport != "udp":
        return m.MAX_SIZE
    return m.MIN_SIZE if query.edns is None else min(max(m.MIN_SIZE, query.edns.size), m.MAX_DATAGRAM)


def echo(edns: Edns) -> Edns:
    """Return the OPT record of a reply to a query with this one."""
    options = tuple(option for option in edns.options if option[0] in ECHOED) if edns.options else ()
    return Edns(edns.size, edns.dnssec_ok, 0, options)


def bare(query: Message, rcode: int) -> Message:
    """Return a reply that carries an rcode and no records: not authoritative, with OPT where the query has it."""
    reply = query.reply(rcode)
    reply.authoritative = False
    if query.edns is not None:
        reply.edns = echo(query.edns)
    return reply


def finish(reply: Message, query: Message) -> Message:
    """Return what a plugin answered as the client of this query gets it: its id, its question, its EDNS.

    Options that a plugin put into the reply stay, as they may be an upstream's.
    """
    edns = None
    if query.edns is not None:
        edns = echo(query.edns)
        if reply.edns is not None:
            edns.options = reply.edns.options
    return reply.copy(id=query.id, response=True, question=query.question, edns=edns)
