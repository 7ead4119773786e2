"""Resource records (RFC 1035 §3.2): plain tuples whose rdata is uncompressed wire form.

Builders exist for the types that cluster DNS makes itself. Any other type, and text of any type, goes through
dnspython, which is imported when it is first needed: the receive loops never do.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from wherry.dns import names
from wherry.dns.errors import DnsError as DnsError

A = 1
NS = 2
CNAME = 5
SOA = 6
PTR = 12
HINFO = 13
MX = 15
TXT = 16
RP = 17
AFSDB = 18
SIG = 24
KEY = 25
AAAA = 28
LOC = 29
SRV = 33
NAPTR = 35
KX = 36
CERT = 37
DNAME = 39
OPT = 41
APL = 42
DS = 43
SSHFP = 44
IPSECKEY = 45
RRSIG = 46
NSEC = 47
DNSKEY = 48
DHCID = 49
NSEC3 = 50
NSEC3PARAM = 51
TLSA = 52
SMIMEA = 53
HIP = 55
CDS = 59
CDNSKEY = 60
OPENPGPKEY = 61
CSYNC = 62
ZONEMD = 63
SVCB = 64
HTTPS = 65
SPF = 99
EUI48 = 108
EUI64 = 109
TKEY = 249
TSIG = 250
IXFR = 251
AXFR = 252
MAILB = 253
MAILA = 254
ANY = 255
URI = 256
CAA = 257
NULL = 10
MD = 3
MF = 4
MB = 7
MG = 8
MR = 9
MINFO = 14
RT = 21
PX = 26
NXT = 30

#: Classes (RFC 1035 §3.2.4, RFC 2136 §1.3).
IN = 1
CH = 3
HS = 4
CLASS_NONE = 254
CLASS_ANY = 255

_NUMBERS: dict[str, int] = {
    key: value for key, value in list(globals().items())
    if key.isupper() and type(value) is int and key not in ("IN", "CH", "HS", "CLASS_NONE", "CLASS_ANY")
}  # fmt: skip
_NAMES = {number: name for name, number in _NUMBERS.items()}
_CLASSES = {IN: "IN", CH: "CH", HS: "HS", CLASS_NONE: "NONE", CLASS_ANY: "ANY"}
_CLASS_NUMBERS = {name: number for number, name in _CLASSES.items()}


class Record(NamedTuple):
    """One resource record; ``rdata`` is uncompressed wire form, ``ttl`` seconds."""

    name: bytes
    type: int
    ttl: int
    rdata: bytes
    klass: int = IN


def type_name(number: int) -> str:
    """Return the mnemonic of a type, ``TYPEnnn`` where it has none here (RFC 3597 §5)."""
    return _NAMES.get(number) or f"TYPE{number}"


def type_number(text: str) -> int:
    """Return the number of a type's mnemonic or of ``TYPEnnn``, whatever the case. Raises DnsError."""
    return _number(text, _NUMBERS, "TYPE", "a record type")


def class_name(number: int) -> str:
    """Return the mnemonic of a class, ``CLASSnnn`` where it has none (RFC 3597 §5)."""
    return _CLASSES.get(number) or f"CLASS{number}"


def class_number(text: str) -> int:
    """Return the number of a class' mnemonic or of ``CLASSnnn``, whatever the case. Raises DnsError."""
    return _number(text, _CLASS_NUMBERS, "CLASS", "a class")


def _number(text: str, known: dict[str, int], prefix: str, what: str) -> int:
    upper = text.upper()
    if upper in known:
        return known[upper]
    digits = upper.removeprefix(prefix)
    if digits != upper and digits.isascii() and digits.isdecimal() and int(digits) <= 0xFFFF:
        return int(digits)
    raise DnsError(f"{text!r} is not {what}")


def a(name: bytes, ttl: int, address: IPv4Address) -> Record:
    """Return an A record."""
    return Record(name, A, ttl, address.packed)


def aaaa(name: bytes, ttl: int, address: IPv6Address) -> Record:
    """Return an AAAA record."""
    return Record(name, AAAA, ttl, address.packed)


def cname(name: bytes, ttl: int, target: bytes) -> Record:
    """Return a CNAME record."""
    return Record(name, CNAME, ttl, target)


def ns(name: bytes, ttl: int, target: bytes) -> Record:
    """Return an NS record."""
    return Record(name, NS, ttl, target)


def ptr(name: bytes, ttl: int, target: bytes) -> Record:
    """Return a PTR record."""
    return Record(name, PTR, ttl, target)


def mx(name: bytes, ttl: int, preference: int, target: bytes) -> Record:
    """Return an MX record."""
    return Record(name, MX, ttl, preference.to_bytes(2, "big") + target)


def srv(name: bytes, ttl: int, priority: int, weight: int, port: int, target: bytes) -> Record:
    """Return an SRV record (RFC 2782)."""
    return Record(name, SRV, ttl, struct.pack("!HHH", priority, weight, port) + target)


def soa(
    name: bytes, ttl: int, mname: bytes, rname: bytes, serial: int, refresh: int, retry: int, expire: int, minimum: int
) -> Record:
    """Return an SOA record; the times are seconds."""
    return Record(name, SOA, ttl, mname + rname + struct.pack("!IIIII", serial, refresh, retry, expire, minimum))


def txt(name: bytes, ttl: int, *strings: str | bytes) -> Record:
    """Return a TXT record of one or more strings of up to 255 octets. Raises DnsError."""
    pieces = []
    for string in strings:
        octets = string.encode() if isinstance(string, str) else string
        if len(octets) > 255:
            raise DnsError(f"a TXT string of {len(octets)} octets; 255 are the limit")
        pieces.append(len(octets).to_bytes(1, "big") + octets)
    return Record(name, TXT, ttl, b"".join(pieces) or b"\x00")


def from_text(line: str, origin: bytes = names.ROOT) -> Record:
    """Return the record that a line ``NAME [TTL] [CLASS] TYPE RDATA`` of a master file means (RFC 1035 §5.1).

    Relative names are below ``origin``; without a TTL it is 3600. Raises DnsError.
    """
    import dns.exception
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    fields = line.split(None, 1)
    if len(fields) < 2:
        raise DnsError(f"{line!r} is no record: NAME [TTL] [CLASS] TYPE RDATA is expected")
    owner, rest = fields
    base = dns.name.from_text(names.to_text(origin))
    ttl, klass = 3600, IN
    while True:
        word, *tail = rest.split(None, 1)
        if word.isascii() and word.isdecimal():
            ttl = int(word)
        elif word.upper() in _CLASS_NUMBERS and word.upper() != "ANY":
            klass = _CLASS_NUMBERS[word.upper()]
        else:
            break
        if not tail:
            raise DnsError(f"{line!r} is no record: it has no type")
        rest = tail[0]
    try:
        rdtype = type_number(word)
        rdata = dns.rdata.from_text(
            dns.rdataclass.RdataClass.make(klass),
            dns.rdatatype.RdataType.make(rdtype),
            tail[0] if tail else "",
            origin=base,
            relativize=False,
        )
        name = dns.name.from_text(owner, origin=base).to_wire()
        wire = rdata.to_wire()
    except dns.exception.DNSException as error:
        raise DnsError(f"{line!r} is no record: {error}") from error
    assert name is not None
    assert wire is not None
    return Record(name, rdtype, ttl, wire, klass)


def rdata_text(record: Record) -> str:
    """Return a record's data as a master file spells it."""
    if record.type == A and len(record.rdata) == 4:
        return str(IPv4Address(record.rdata))
    if record.type == AAAA and len(record.rdata) == 16:
        return str(IPv6Address(record.rdata))
    if record.type in (CNAME, NS, PTR):
        return names.to_text(record.rdata)
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    klass = dns.rdataclass.RdataClass.make(record.klass)
    kind = dns.rdatatype.RdataType.make(record.type)
    return dns.rdata.from_wire(klass, kind, record.rdata, 0, len(record.rdata)).to_text()
