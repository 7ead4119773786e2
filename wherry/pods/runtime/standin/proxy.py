"""The PROXY protocol, versions 1 and 2, without I/O: whom a proxy says it speaks for.

Source: haproxy's proxy-protocol.txt. A connection without the header is served as it is, since the kubelet's probes
send none; what was said, or that nothing was, is in the answer and in the log.
"""

from __future__ import annotations

import ipaddress
import struct

from msgspec import Struct

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_LONGEST_V1 = 107
_HEAD = struct.Struct("!12sBBH")
_FORMS = {1: struct.Struct("!4s4sHH"), 2: struct.Struct("!16s16sHH")}


class Header(Struct, frozen=True):
    """A header and where it ends. ``source`` is ``address:port``, empty where the proxy speaks for itself."""

    version: int
    source: str
    destination: str
    length: int


class ProxyError(ValueError):
    """The connection begins like a header and is none."""


def read(data: bytes) -> Header | None:
    """The header at the beginning of a connection; None while it is incomplete.

    ``version`` is 0 and ``length`` 0 where the connection begins with something else. Raises `ProxyError`.
    """
    if data.startswith(_V2):
        return _read_v2(data)
    if data.startswith(_V1):
        return _read_v1(data)
    if _V2.startswith(data) or _V1.startswith(data):
        return None
    return Header(0, "", "", 0)


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _LONGEST_V1)
    if end < 0:
        if len(data) < _LONGEST_V1:
            return None
        raise ProxyError("a PROXY line of more than 107 bytes")
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(1, "", "", end + 2)
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise ProxyError(f"not a PROXY line: {data[:end].decode('ascii', 'replace')}")
    try:
        source, destination = (
            _endpoint(ipaddress.ip_address(words[at].decode("ascii")), int(words[at + 2])) for at in (2, 3)
        )
    except ValueError as error:
        raise ProxyError(f"not a PROXY line: {error}") from error
    return Header(1, source, destination, end + 2)


def _read_v2(data: bytes) -> Header | None:
    if len(data) < _HEAD.size:
        return None
    _, command, family, length = _HEAD.unpack_from(data)
    if command >> 4 != 2 or command & 0x0F > 1:
        raise ProxyError(f"PROXY version and command {command:#04x} are not known")
    end = _HEAD.size + length
    if len(data) < end:
        return None
    form = _FORMS.get(family >> 4)
    if command & 0x0F == 0 or form is None:  # LOCAL, or a family without addresses we could show
        return Header(2, "", "", end)
    if length < form.size:
        raise ProxyError("a PROXY header too short for its addresses")
    source, destination, from_port, to_port = form.unpack_from(data, _HEAD.size)
    return Header(
        2,
        _endpoint(ipaddress.ip_address(source), from_port),
        _endpoint(ipaddress.ip_address(destination), to_port),
        end,
    )


def _endpoint(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    if not 0 <= port < 65536:
        raise ValueError(f"{port} is not a port")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
