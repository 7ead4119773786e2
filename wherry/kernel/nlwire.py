"""The netlink wire format: messages and attributes to and from bytes. Pure; no sockets.

Layout: netlink(7) and the kernel's include/uapi/linux/netlink.h. Integers are in host order unless a function says
otherwise; every message and attribute is padded to four bytes.
"""

import struct
from collections.abc import Iterator
from sys import byteorder
from typing import Final, NamedTuple

NLM_F_REQUEST: Final = 0x1
NLM_F_MULTI: Final = 0x2
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3

NLA_F_NESTED: Final = 0x8000
_NLA_TYPE_MASK: Final = 0x3FFF

HEADER: Final = struct.Struct("=IHHII")
_ATTR: Final = struct.Struct("=HH")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


class Message(NamedTuple):
    """One netlink message; `body` is what follows the header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Pack one message. The port id is left to the kernel."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """Split what one receive returned. Raises ValueError on a length that does not fit the data."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            raise ValueError(f"netlink message of {length} bytes in {len(data) - offset}")
        yield Message(kind, flags, sequence, data[offset + HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attr(kind: int, payload: bytes) -> bytes:
    """Pack one attribute."""
    length = len(payload)
    return _ATTR.pack(length + 4, kind) + payload + _PADDING[length & 3]


def attr_u8(kind: int, value: int) -> bytes:
    """Pack one attribute of one byte."""
    return _ATTR.pack(5, kind) + bytes((value, 0, 0, 0))


def attr_u32(kind: int, value: int) -> bytes:
    """Pack one attribute of four bytes in host order."""
    return _ATTR.pack(8, kind) + value.to_bytes(4, byteorder)


def attr_be16(kind: int, value: int) -> bytes:
    """Pack one attribute of two bytes in network order."""
    return attr(kind, value.to_bytes(2, "big"))


def attr_text(kind: int, value: str) -> bytes:
    """Pack one attribute holding a zero-terminated string."""
    return attr(kind, value.encode() + b"\0")


def nested(kind: int, *parts: bytes) -> bytes:
    """Pack one attribute holding attributes."""
    return attr(kind | NLA_F_NESTED, b"".join(parts))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Unpack a run of attributes by kind; of a repeated kind the last one stays."""
    found: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTR.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"netlink attribute of {length} bytes in {end - offset}")
        found[kind & _NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def u32(payload: bytes) -> int:
    """Unpack four bytes in host order."""
    return int.from_bytes(payload, byteorder)


def text(payload: bytes) -> str:
    """Unpack a zero-terminated string."""
    return payload.rstrip(b"\0").decode(errors="replace")


def i32(payload: bytes) -> int:
    """Unpack four signed bytes in host order."""
    return int.from_bytes(payload, byteorder, signed=True)
