"""The first look at a query: what nearly all of them look like, read from the octets without building anything.

Everything else, malformed or only unusual, is None here and is looked at by `wherry.dns.acceptance`.
"""

from __future__ import annotations

from typing import NamedTuple

_PLAIN = b"\x00\x01\x00\x00\x00\x00\x00\x00"
_WITH_OPT = b"\x00\x01\x00\x00\x00\x00\x00\x01"
_LONGEST = 255
_OPT_SIZE = 11


class Asked(NamedTuple):
    """A question of class IN and the octets it takes."""

    name: bytes
    """Folded."""
    type: int
    end: int
    """Where the question ends; it starts at 12."""
    plain: bool
    """Whether the name came in lower case, as everyone's does who does not hide entropy in it."""
    size: int = 0
    """UDP size of the OPT record, 0 where there is none."""
    dnssec_ok: bool = False
    options: bool = False
    """Whether the OPT record has options."""


def scan(data: bytes) -> Asked | None:
    """Read a standard query with one question and at most an OPT record; None for all others."""
    counts = data[4:12]
    if data[2] & 0xF8 or (counts != _PLAIN and counts != _WITH_OPT):
        return None
    place = 12
    try:
        while length := data[place]:
            if length > 63:
                return None
            place += length + 1
        place += 1
        if place - 12 > _LONGEST or data[place + 2 : place + 4] != b"\x00\x01":
            return None
        kind = data[place] << 8 | data[place + 1]
    except IndexError:
        return None
    spelled = data[12:place]
    name = spelled.lower()
    end = place + 4
    if counts == _PLAIN:
        return Asked(name, kind, end, name == spelled)
    opt = data[end : end + _OPT_SIZE]
    # Root, type 41, version 0; the flags other than DO are nobody's yet.
    if len(opt) < _OPT_SIZE or opt[:3] != b"\x00\x00\x29" or opt[6]:
        return None
    length = opt[9] << 8 | opt[10]
    size = opt[3] << 8 | opt[4]
    if not size or end + _OPT_SIZE + length > len(data):
        return None
    return Asked(name, kind, end, name == spelled, size, opt[7] > 127, length > 0)
