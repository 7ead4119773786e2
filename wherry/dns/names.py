"""Domain names (RFC 1035 §3.1, RFC 4343): uncompressed wire form as bytes, spelling kept.

``b"\\x03www\\x07example\\x00"`` is ``www.example.``; the root is ``b"\\x00"``. Comparing, hashing and slicing names
are those of bytes. Where names are compared regardless of case, both sides are folded first. A length octet is at
most 63 and therefore never an ASCII letter, so that folding needs no look at the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from wherry.dns.errors import NameError_ as NameError_

ROOT = b"\x00"
MAX_LABEL = 63
MAX_NAME = 255

#: Octets that are written with a backslash before them, as CoreDNS' logs and metrics do.
_SPECIAL = frozenset(b".\\\"'();@ ")
_IN_ADDR = b"\x07in-addr\x04arpa\x00"
_IP6 = b"\x03ip6\x04arpa\x00"


def from_text(text: str) -> bytes:
    """Return the name that text means, always absolute; ``\\.`` and ``\\DDD`` are escapes. Raises NameError_."""
    if text in (".", ""):
        return ROOT
    if "\\" not in text:
        try:
            parts = text.encode("ascii").split(b".")
        except UnicodeEncodeError as error:
            raise NameError_(f"{text!r} is no domain name: write other than ASCII characters as \\DDD") from error
    else:
        parts = _unescape(text)
    if not parts[-1]:
        parts.pop()
    try:
        return join(parts)
    except NameError_ as error:
        raise NameError_(f"{text!r} is no domain name: {error}") from error


def _unescape(text: str) -> list[bytes]:
    parts = [bytearray()]
    place = 0
    while place < len(text):
        char = text[place]
        place += 1
        if char == ".":
            parts.append(bytearray())
        elif char != "\\":
            if ord(char) > 127:
                raise NameError_(f"{text!r} is no domain name: write other than ASCII characters as \\DDD")
            parts[-1].append(ord(char))
        elif text[place : place + 1].isdecimal():
            digits = text[place : place + 3]
            if len(digits) != 3 or not (digits.isascii() and digits.isdecimal()) or int(digits) > 255:
                raise NameError_(f"{text!r} is no domain name: \\{digits} is not an octet of three digits")
            parts[-1].append(int(digits))
            place += 3
        elif place < len(text) and ord(text[place]) < 128:
            parts[-1].append(ord(text[place]))
            place += 1
        else:
            raise NameError_(f"{text!r} is no domain name: nothing to escape after a backslash")
    return [bytes(part) for part in parts]


def to_text(name: bytes) -> str:
    """Return a name as people write it: absolute, with a trailing dot, escapes of RFC 1035 §5.1."""
    if name == ROOT:
        return "."
    pieces = []
    for label in labels(name):
        # Most labels are letters, digits and hyphens, which need no look at single octets.
        if label.replace(b"-", b"").replace(b"_", b"").isalnum():
            pieces.append(label.decode("ascii"))
        else:
            pieces.append("".join(map(_escape, label)))
    return ".".join(pieces) + "."


def _escape(octet: int) -> str:
    if octet in _SPECIAL:
        return "\\" + chr(octet)
    return chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03d}"


def fold(name: bytes) -> bytes:
    """Return a name with ASCII letters in lower case (RFC 4343)."""
    return name.lower()


def labels(name: bytes) -> list[bytes]:
    """Return a name's labels from the left, without the root's."""
    found = []
    place = 0
    while length := name[place]:
        place += length + 1
        found.append(name[place - length : place])
    return found


def join(labels: Iterable[bytes]) -> bytes:
    """Return the name that consists of these labels. Raises NameError_ on an empty or too long one."""
    pieces = []
    for label in labels:
        if not 0 < len(label) <= MAX_LABEL:
            raise NameError_(f"a label of {len(label)} octets" if label else "an empty label")
        pieces.append(len(label).to_bytes(1, "big") + label)
    name = b"".join(pieces) + ROOT
    if len(name) > MAX_NAME:
        raise NameError_(f"{len(name)} octets are more than {MAX_NAME}")
    return name


def is_within(name: bytes, zone: bytes) -> bool:
    """Whether a name is the zone's or below it; both must be folded."""
    if not name.endswith(zone):
        return False
    start = len(name) - len(zone)
    place = 0
    while place < start:
        place += name[place] + 1
    return place == start


def parents(name: bytes) -> Iterator[bytes]:
    """Yield a name itself, then each parent, the root last."""
    place = 0
    while length := name[place]:
        yield name[place:]
        place += length + 1
    yield ROOT


def reverse_of(address: IPv4Address | IPv6Address) -> bytes:
    """Return the name that PTR records of an address have (RFC 1035 §3.5, RFC 3596 §2.5)."""
    if address.version == 4:
        return join(str(octet).encode() for octet in reversed(address.packed))[:-1] + _IN_ADDR
    return b"".join(b"\x01%c" % digit for digit in reversed(address.packed.hex().encode())) + _IP6


def address_of(name: bytes) -> IPv4Address | IPv6Address | None:
    """Return the address whose PTR records have this name, None where it is no whole address."""
    name = name.lower()
    if name.endswith(_IN_ADDR):
        parts = labels(name)[:-2]
        if len(parts) != 4 or not all(p.isdigit() and int(p) < 256 and str(int(p)).encode() == p for p in parts):
            return None
        return IPv4Address(bytes(int(p) for p in reversed(parts)))
    if name.endswith(_IP6):
        digits = labels(name)[:-2]
        if len(digits) != 32 or not all(len(d) == 1 and d in b"0123456789abcdef" for d in digits):
            return None
        return IPv6Address(bytes.fromhex(b"".join(reversed(digits)).decode()))
    return None
