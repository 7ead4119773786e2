"""Where `forward` sends queries: the TO arguments, files like resolv.conf(5) among them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from wherry.dns import names

_log = logging.getLogger(__name__)
_PORTS = {"dns": 53, "tls": 853, "https": 443}
_ELSEWHERE = ("grpc", "quic", "https3", "unix")
_SCOPES = 2**32
"""Numbers that an interface can have (RFC 4007 §11)."""
_PORT = re.compile(r"(?P<host>.*):(?P<port>[0-9]{1,5})", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


class Target(NamedTuple):
    """One upstream. ``host`` is an address, which may have a scope (``fe80::1%eth0``), or a name to look up."""

    scheme: str
    """`dns`, `tls` or `https`."""
    host: str
    port: int
    server_name: str = ""
    """For TLS: the name that the certificate must be for; "": the address."""

    @property
    def address(self) -> str:
        """`ADDRESS:PORT`, as metrics and people name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def is_name(self) -> bool:
        """Whether the host is still to be looked up."""
        return _address(self.host) is None


def read(text: str, path: Callable[[str], Path]) -> list[Target]:
    """The targets that one TO argument means, none for a file without nameserver; raises ValueError.

    ``path`` makes file names absolute.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "dns", text
    if scheme not in _PORTS:
        known = "dns://, tls:// and https:// are"
        if scheme in _ELSEWHERE:
            raise ValueError(f"'{scheme}' is not supported as a destination protocol in forward: {text}; {known}")
        raise ValueError(f"unknown protocol '{scheme}' in {text}; {known} known")
    if not rest:
        raise ValueError(f'invalid address: "{text}"')
    if scheme == "https" and "/" in rest:
        raise ValueError(
            f"paths are not allowed in HTTPS upstream addresses (the /dns-query path is used by default): {text}"
        )
    host, port = _split(rest, _PORTS[scheme])
    plain, _, scope = host.partition("%")
    if _address(plain) is not None:
        if scheme == "dns":
            if ":" in plain and _address(host) is None:
                raise ValueError(f"invalid scope in {text}")
            return [Target(scheme, host if ":" in plain else plain, port)]
        return [Target(scheme, plain, port, scope)]
    if scheme == "dns" and ("/" in rest or path(rest).is_file()):
        return nameservers(path(rest))
    if not _HOST.fullmatch(plain):
        raise ValueError(f'not an IP address, file, or valid domain: "{text}"')
    try:
        names.from_text(plain)
    except names.NameError_ as error:
        raise ValueError(f'not an IP address, file, or valid domain: "{text}"') from error
    return [Target(scheme, plain, port, scope if scheme != "dns" else "")]


def address(text: str) -> Target:
    """The target of `IP` or `IP:PORT`; raises ValueError where it is neither."""
    host, port = _split(text, _PORTS["dns"])
    if _address(host) is None:
        raise ValueError(f"{text} is no address")
    return Target("dns", host, port)


def nameservers(path: Path) -> list[Target]:
    """The nameservers of a file like resolv.conf(5); raises ValueError where it cannot be read."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    for line in lines:
        fields = line.split()
        if len(fields) < 2 or fields[0] != "nameserver":
            continue
        if _address(fields[1]) is None:
            _log.warning("forward: %s: '%s' is no address, that nameserver is left out", path, fields[1])
            continue
        found.append(Target("dns", fields[1], _PORTS["dns"]))
    return found


def _split(text: str, port: int) -> tuple[str, int]:
    """Host and port of `HOST`, `HOST:PORT`, `[V6]` and `[V6]:PORT`; the scope's place does not matter."""
    if _address(text) is not None:
        return text, port
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if closed and (not rest or _PORT.fullmatch(rest)):
            return host, _number(rest[1:], text) if rest else port
    elif match := _PORT.fullmatch(text):
        return match["host"], _number(match["port"], text)
    return text, port


def _number(text: str, whole: str) -> int:
    if not 0 < int(text) < 65536:
        raise ValueError(f'invalid port in "{whole}"')
    return int(text)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    scope = text.partition("%")[2]
    return address if not scope.isdecimal() or int(scope) < _SCOPES else None
