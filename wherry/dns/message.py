"""DNS messages (RFC 1035 §4, RFC 6891): parsing and building, without I/O.

Parsing takes what CoreDNS takes: a section may hold fewer records than its count says, and octets after the last
section are ignored. Names inside rdata are expanded where RFC 3597 §4 allows them to be compressed, so that rdata can
be copied anywhere.

Building compresses names as CoreDNS does where it has to: owners, and names in the types of RFC 1035; the target of
an SRV record is never compressed (RFC 2782) but others may point at it. Spelling is kept: only equal octets are
shared.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from wherry.dns import records
from wherry.dns.errors import MessageError as MessageError
from wherry.dns.records import Record

NOERROR = 0
FORMERR = 1
SERVFAIL = 2
NXDOMAIN = 3
NOTIMP = 4
REFUSED = 5
YXDOMAIN = 6
YXRRSET = 7
NXRRSET = 8
NOTAUTH = 9
NOTZONE = 10
BADVERS = 16
BADKEY = 17
BADTIME = 18
BADMODE = 19
BADNAME = 20
BADALG = 21
BADTRUNC = 22
BADCOOKIE = 23

QUERY = 0
NOTIFY = 4
UPDATE = 5

#: Octets of a UDP message without EDNS (RFC 1035 §4.2.1), and of any message over TCP.
MIN_SIZE = 512
MAX_SIZE = 65535
#: The most that a datagram over IPv4 holds, whatever a client says it takes.
MAX_DATAGRAM = 65507

#: EDNS options that a reply may carry back (RFC 5001, 7314, 7873, 7828, 7830).
NSID = 3
SUBNET = 8
EXPIRE = 9
COOKIE = 10
KEEPALIVE = 11
PADDING = 12

_RCODES = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
    8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 16: "BADVERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME",
    21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE",
}  # fmt: skip
_RCODE_NUMBERS = {name: number for number, name in _RCODES.items()} | {"BADSIG": 16}

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_QUESTION = struct.Struct("!HH")
_POINTERS = 0x4000
_QR, _AA, _TC, _RD, _RA, _Z, _AD, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010

#: Where names are in rdata: octets before the first name ("s": one character string), and how many names follow.
_SHAPES: dict[int, tuple[tuple[int | str, ...], int]] = {
    records.NS: ((), 1), records.MD: ((), 1), records.MF: ((), 1), records.CNAME: ((), 1), records.SOA: ((), 2),
    records.MB: ((), 1), records.MG: ((), 1), records.MR: ((), 1), records.PTR: ((), 1), records.MINFO: ((), 2),
    records.MX: ((2,), 1), records.RP: ((), 2), records.AFSDB: ((2,), 1), records.RT: ((2,), 1),
    records.SIG: ((18,), 1), records.PX: ((2,), 2), records.NXT: ((), 1), records.NAPTR: ((4, "s", "s", "s"), 1),
    records.KX: ((2,), 1), records.SRV: ((6,), 1), records.DNAME: ((), 1),
}  # fmt: skip
#: Types whose rdata names may be compressed: those of RFC 1035 (RFC 3597 §4).
_COMPRESSED = frozenset(
    (records.NS, records.MD, records.MF, records.CNAME, records.SOA, records.MB, records.MG, records.MR, records.PTR,
     records.MINFO, records.MX)
)  # fmt: skip


class Question(NamedTuple):
    """What is asked: a name as it was spelled, a type and a class."""

    name: bytes
    type: int
    klass: int = records.IN


class _Value:
    """What compares, prints and copies by its slots. Written by hand: receive loops do not import dataclasses."""

    __slots__: tuple[str, ...] = ()
    __hash__ = None  # type: ignore[assignment]  # may be changed

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, f) == getattr(other, f) for f in self.__slots__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{f}={getattr(self, f)!r}' for f in self.__slots__)})"


class Edns(_Value):
    """The OPT pseudo-record (RFC 6891 §6.1): the sender's UDP size in octets and its options."""

    __slots__ = ("dnssec_ok", "options", "size", "version")

    def __init__(
        self, size: int, dnssec_ok: bool = False, version: int = 0, options: Iterable[tuple[int, bytes]] = ()
    ) -> None:
        self.size = size
        self.dnssec_ok = dnssec_ok
        self.version = version
        self.options = tuple(options)

    def copy(self, **changes: Any) -> Edns:
        """Return a copy with other values for some attributes."""
        return Edns(**{f: getattr(self, f) for f in self.__slots__} | changes)


class Message(_Value):
    """One message. ``rcode`` is the whole one: what is above 15 travels in the OPT record."""

    __slots__ = (
        "additional", "answer", "authentic", "authoritative", "authority", "checking_disabled", "edns", "id", "opcode",
        "question", "rcode", "recursion_available", "recursion_desired", "response", "truncated", "zero",
    )  # fmt: skip

    def __init__(
        self, id: int = 0, response: bool = False, opcode: int = QUERY, authoritative: bool = False,
        truncated: bool = False, recursion_desired: bool = False, recursion_available: bool = False, zero: bool = False,
        authentic: bool = False, checking_disabled: bool = False, rcode: int = NOERROR,
        question: Question | None = None, answer: Iterable[Record] = (), authority: Iterable[Record] = (),
        additional: Iterable[Record] = (), edns: Edns | None = None,
    ) -> None:  # fmt: skip
        self.id = id
        self.response = response
        self.opcode = opcode
        self.authoritative = authoritative
        self.truncated = truncated
        self.recursion_desired = recursion_desired
        self.recursion_available = recursion_available
        self.zero = zero
        self.authentic = authentic
        self.checking_disabled = checking_disabled
        self.rcode = rcode
        self.question = question
        self.answer = list(answer)
        self.authority = list(authority)
        self.additional = list(additional)
        self.edns = edns

    def copy(self, **changes: Any) -> Message:
        """Return a copy with other values for some attributes; its sections are lists of its own."""
        return Message(**{f: getattr(self, f) for f in self.__slots__} | changes)

    def reply(self, rcode: int = NOERROR) -> Message:
        """Return an authoritative reply to this query: id, question and opcode copied, RD and CD of a
        plain query too; sections empty."""
        query = self.opcode == QUERY
        return Message(
            id=self.id, response=True, opcode=self.opcode, authoritative=True, rcode=rcode, question=self.question,
            recursion_desired=query and self.recursion_desired, checking_disabled=query and self.checking_disabled,
        )  # fmt: skip


def rcode_name(number: int) -> str:
    """Return the mnemonic of an rcode, ``RCODEnnn`` where it has none."""
    return _RCODES.get(number) or f"RCODE{number}"


def rcode_number(text: str) -> int | None:
    """Return the number of an rcode's mnemonic, whatever the case, None where it is none."""
    return _RCODE_NUMBERS.get(text.upper())


def read_name(wire: bytes, place: int) -> tuple[bytes, int]:
    """Return the name at a place, expanded, and the place after it.

    A pointer must lead to an earlier place than every one before it, which rules out loops, and not into the header,
    where no name is. Raises MessageError.
    """
    pieces = []
    size = 1
    after = -1
    earliest = place
    end = len(wire)
    while True:
        if place >= end:
            raise MessageError(FORMERR, "a name runs beyond the message")
        length = wire[place]
        if length == 0:
            place += 1
            break
        if length < 64:
            size += length + 1
            if size > 255:
                raise MessageError(FORMERR, "a name of more than 255 octets")
            if place + length >= end:
                raise MessageError(FORMERR, "a name runs beyond the message")
            pieces.append(wire[place : place + length + 1])
            place += length + 1
        elif length >= 192:
            if place + 1 >= end:
                raise MessageError(FORMERR, "a name runs beyond the message")
            target = (length & 0x3F) << 8 | wire[place + 1]
            if after < 0:
                after = place + 2
            if not _HEADER.size <= target < earliest:
                raise MessageError(FORMERR, "a name that points at itself, forward or into the header")
            place = earliest = target
        else:
            raise MessageError(FORMERR, "a label of unknown kind")
    pieces.append(b"\x00")
    return b"".join(pieces), place if after < 0 else after


def decode(wire: bytes) -> Message:
    """Parse a message. Raises MessageError where it is none."""
    if len(wire) < 12:
        raise MessageError(FORMERR, "shorter than a header")
    number, bits, questions, answers, authorities, additionals = _HEADER.unpack_from(wire)
    message = Message(
        id=number, response=bool(bits & _QR), opcode=bits >> 11 & 15, authoritative=bool(bits & _AA),
        truncated=bool(bits & _TC), recursion_desired=bool(bits & _RD), recursion_available=bool(bits & _RA),
        zero=bool(bits & _Z), authentic=bool(bits & _AD), checking_disabled=bool(bits & _CD), rcode=bits & 15,
    )  # fmt: skip
    place = 12
    end = len(wire)
    for index in range(questions):
        if place == end:
            break
        name, place = read_name(wire, place)
        if place + 4 > end:
            raise MessageError(FORMERR, "a question without type and class")
        if index == 0:
            message.question = Question(name, *_QUESTION.unpack_from(wire, place))
        place += 4
    try:
        for count, section in (
            (answers, message.answer),
            (authorities, message.authority),
            (additionals, message.additional),
        ):
            for _ in range(count):
                if place == end:
                    break
                place = _read_record(wire, place, message, section)
    except MessageError as error:
        error.asked = True
        raise
    return message


def _read_record(wire: bytes, place: int, message: Message, section: list[Record]) -> int:
    name, place = read_name(wire, place)
    if place + 10 > len(wire):
        raise MessageError(FORMERR, "a record runs beyond the message")
    kind, klass, ttl, length = _RECORD.unpack_from(wire, place)
    place += 10
    after: int = place + length
    if after > len(wire):
        raise MessageError(FORMERR, "a record runs beyond the message")
    if kind == records.OPT and section is message.additional:
        message.edns = Edns(
            size=klass, dnssec_ok=bool(ttl & 0x8000), version=ttl >> 16 & 0xFF, options=_options(wire[place:after])
        )
        message.rcode |= ttl >> 24 << 4
        return after
    rdata = _expand(wire, place, after, kind) if kind in _SHAPES and length else wire[place:after]
    section.append(Record(name, kind, ttl, rdata, klass))
    return after


def _options(rdata: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    place = 0
    while place < len(rdata):
        if place + 4 > len(rdata):
            raise MessageError(FORMERR, "an EDNS option without length")
        code, length = _QUESTION.unpack_from(rdata, place)
        place += 4 + length
        if place > len(rdata):
            raise MessageError(FORMERR, "an EDNS option runs beyond its record")
        found.append((code, rdata[place - length : place]))
    return tuple(found)


def _expand(wire: bytes, place: int, after: int, kind: int) -> bytes:
    fixed, count = _SHAPES[kind]
    start = place
    for piece in fixed:
        if place >= after:
            raise MessageError(FORMERR, "rdata is too short")
        place += piece if isinstance(piece, int) else wire[place] + 1
    pieces = [wire[start:place]]
    for _ in range(count):
        name, place = read_name(wire, place)
        pieces.append(name)
    if place > after:
        raise MessageError(FORMERR, "a name runs beyond its rdata")
    pieces.append(wire[place:after])
    return b"".join(pieces)


def encode(message: Message, limit: int = MAX_SIZE) -> bytes:
    """Build a message of at most ``limit`` octets (at least 512): records that do not fit are cut from the end, TC set.

    Sections are filled in order, so that glue goes first; the OPT record always stays.
    """
    limit = min(max(limit, MIN_SIZE), MAX_SIZE)
    opt = _opt(message.edns, message.rcode) if message.edns is not None else b""
    room = limit - len(opt)
    wire = bytearray(12)
    known: dict[bytes, int] = {}
    if message.question is not None:
        _write_name(wire, message.question.name, known, compress=True)
        wire += _QUESTION.pack(message.question.type, message.question.klass)
    counts = []
    truncated = message.truncated
    full = len(wire) >= room
    for section in (message.answer, message.authority, message.additional):
        count = 0
        for record in section:
            start = len(wire)
            if not full:
                _write_record(wire, record, known)
                full = len(wire) > room
            if full:
                del wire[start:]
                truncated = True
                break
            count += 1
        counts.append(count)
    bits = (
        message.opcode << 11 | message.rcode & 15
        | (_QR if message.response else 0) | (_AA if message.authoritative else 0) | (_TC if truncated else 0)
        | (_RD if message.recursion_desired else 0) | (_RA if message.recursion_available else 0)
        | (_Z if message.zero else 0) | (_AD if message.authentic else 0) | (_CD if message.checking_disabled else 0)
    )  # fmt: skip
    questions = 0 if message.question is None else 1
    _HEADER.pack_into(wire, 0, message.id, bits, questions, counts[0], counts[1], counts[2] + bool(opt))
    return bytes(wire + opt)


def _opt(edns: Edns, rcode: int) -> bytes:
    options = b"".join(_QUESTION.pack(code, len(value)) + value for code, value in edns.options)
    ttl = rcode >> 4 << 24 | edns.version << 16 | (0x8000 if edns.dnssec_ok else 0)
    return b"\x00" + _RECORD.pack(records.OPT, edns.size, ttl, len(options)) + options


def _write_name(wire: bytearray, name: bytes, known: dict[bytes, int], *, compress: bool) -> None:
    # The common case first: an owner that is the question's name, or a target that was written before.
    if compress and (at := known.get(name)) is not None:
        wire += (0xC000 | at).to_bytes(2, "big")
        return
    place = 0
    while length := name[place]:
        suffix = name[place:]
        at = known.get(suffix)
        if at is None:
            if len(wire) < _POINTERS:
                known[suffix] = len(wire)
        elif compress:
            wire += (0xC000 | at).to_bytes(2, "big")
            return
        wire += name[place : place + length + 1]
        place += length + 1
    wire.append(0)


def _write_record(wire: bytearray, record: Record, known: dict[bytes, int]) -> None:
    name, kind, ttl, rdata, klass = record
    _write_name(wire, name, known, compress=True)
    shape = _SHAPES.get(kind)
    if shape is None or not rdata:
        wire += _RECORD.pack(kind, klass, ttl, len(rdata)) + rdata
        return
    wire += _RECORD.pack(kind, klass, ttl, 0)
    start = len(wire)
    fixed, count = shape
    place = 0
    for piece in fixed:
        place += piece if isinstance(piece, int) else rdata[place] + 1
    wire += rdata[:place]
    compress = kind in _COMPRESSED
    for _ in range(count):
        end = place
        while rdata[end]:
            end += rdata[end] + 1
        _write_name(wire, rdata[place : end + 1], known, compress=compress)
        place = end + 1
    wire += rdata[place:]
    wire[start - 2 : start] = (len(wire) - start).to_bytes(2, "big")
