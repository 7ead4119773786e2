"""What kind of reply a message is, which decides whether and how long it may be cached (RFC 2308, RFC 2181 §10.1)."""

from __future__ import annotations

from enum import Enum

from wherry.dns import records
from wherry.dns.message import NOERROR, NOTIFY, NOTIMP, NXDOMAIN, SERVFAIL, UPDATE, Message
from wherry.dns.records import Record


class Kind(Enum):
    """CoreDNS' classes of replies."""

    SUCCESS = "success"
    DELEGATION = "delegation"
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    FAILURE = "failure"
    """SERVFAIL and NOTIMP."""
    OTHER = "other"
    """Never cached: other rcodes, transfers, notifications, updates, signatures out of their time."""


DENIALS = frozenset((Kind.NXDOMAIN, Kind.NODATA, Kind.FAILURE))


def classify(message: Message, now: float) -> Kind:
    """Return the kind of a reply; ``now`` is Unix time, against which signatures are checked where DO is set."""
    question = message.question
    if message.opcode in (UPDATE, NOTIFY) or (question and question.type in (records.AXFR, records.IXFR)):
        return Kind.OTHER
    if message.edns is not None and message.edns.dnssec_ok and _stale_signature(message, now):
        return Kind.OTHER
    denied = has_soa(message)
    if message.answer:
        if message.rcode != NOERROR:
            return _failure(message.rcode) if message.rcode != NXDOMAIN else Kind.OTHER
        return Kind.NODATA if denied and not answers(message) else Kind.SUCCESS
    if message.rcode == NXDOMAIN:
        return Kind.NXDOMAIN
    if message.rcode != NOERROR:
        return _failure(message.rcode)
    if denied:
        return Kind.NODATA
    return Kind.DELEGATION if any(record.type == records.NS for record in message.authority) else Kind.SUCCESS


def _failure(rcode: int) -> Kind:
    return Kind.FAILURE if rcode in (SERVFAIL, NOTIMP) else Kind.OTHER


def cacheable(message: Message, kind: Kind) -> bool:
    """Whether a reply of this kind may be kept: whole, and with a bound on its time where it denies something."""
    if message.truncated or kind is Kind.OTHER:
        return False
    if has_soa(message):
        return True
    # A chain of CNAMEs that does not reach the type is no answer, and nothing says how long that holds.
    return kind is not Kind.NXDOMAIN and not (kind is Kind.SUCCESS and message.answer and not answers(message))


def has_soa(message: Message) -> bool:
    """Whether the authority section says how long a denial holds."""
    return any(record.type == records.SOA for record in message.authority)


def lowest_ttl(message: Message, kind: Kind) -> int | None:
    """The smallest TTL of all records, None where there is none or the kind's own default counts."""
    if kind in (Kind.DELEGATION, Kind.OTHER, Kind.FAILURE):
        return None
    sections = (message.answer, message.authority, message.additional)
    return min((record.ttl for section in sections for record in section), default=None)


def answers(message: Message) -> bool:
    """Whether the answer section holds what was asked for, at the end of the chain of CNAMEs from the name."""
    question = message.question
    if question is None or message.rcode != NOERROR or not message.answer:
        return False
    found = [
        record for record in message.answer if question.klass in (records.CLASS_ANY, record.klass)
    ]  # fmt: skip
    name = question.name.lower()
    if question.type == records.ANY:
        return any(record.name.lower() == name for record in found)
    if question.type == records.CNAME:
        return len(_targets(found, name)) == 1
    seen = set()
    while name not in seen:
        seen.add(name)
        targets = _targets(found, name)
        if not targets:
            return any(record.type == question.type and record.name.lower() == name for record in found)
        if len(targets) > 1:
            return False
        name = targets.pop()
    return False


def _targets(found: list[Record], name: bytes) -> set[bytes]:
    return {record.rdata.lower() for record in found if record.type == records.CNAME and record.name.lower() == name}


def _stale_signature(message: Message, now: float) -> bool:
    for section in (message.answer, message.authority, message.additional):
        for record in section:
            if record.type != records.RRSIG or len(record.rdata) < 16:
                continue
            expires = int.from_bytes(record.rdata[8:12], "big")
            begins = int.from_bytes(record.rdata[12:16], "big")
            # Serial numbers (RFC 4034 §3.1.5): the difference in 32 bits tells before from after.
            if (expires - int(now)) & 0xFFFFFFFF >= 0x80000000 or (int(now) - begins) & 0xFFFFFFFF >= 0x80000000:
                return True
    return False
