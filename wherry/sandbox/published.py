"""Ports of the host that lead to load balancers of a sandbox: what `wherry up --publish` says, and their sockets."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import msgspec

from wherry.config.errors import ConfigError

_FORM = "[HOST_ADDRESS:]HOST_PORT:LB_PORT[/tcp|/udp]"
_TEXT = re.compile(
    r"((?P<v4>[0-9.]+):|\[(?P<v6>[0-9a-fA-F:.]+)\]:)?(?P<host>[0-9]{1,5}):(?P<port>[0-9]{1,5})(/(?P<protocol>tcp|udp))?"
)
_LOCALHOST = "127.0.0.1"


class Published(msgspec.Struct, frozen=True, rename="camel"):
    """A port of the host and the port of the nodes that it leads to; ``host_port`` 0 is any free one."""

    host: str
    host_port: int
    port: int
    protocol: str

    @property
    def source(self) -> str:
        """The host's side, as `ADDRESS:PORT/PROTOCOL`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.host_port}/{self.protocol}"

    def __str__(self) -> str:
        return f"{self.source} -> {self.port}/{self.protocol}"


def parse(text: str) -> Published:
    """Read one value of `--publish`; without an address it is 127.0.0.1 alone. Raises ConfigError."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ConfigError(f"--publish: {text!r} is not of the form {_FORM}")
    address, host_port, port = found["v4"] or found["v6"] or _LOCALHOST, int(found["host"]), int(found["port"])
    try:
        host = str(ip_address(address))
    except ValueError as error:
        raise ConfigError(f"--publish: {text!r}: {address} is no address of the host") from error
    if host_port > 65535 or not 0 < port < 65536:
        wrong = host_port if host_port > 65535 else port
        raise ConfigError(f"--publish: {text!r}: {wrong} is no port")
    return Published(host, host_port, port, found["protocol"] or "tcp")


def open_all(texts: Iterable[str]) -> list[tuple[Published, socket.socket]]:
    """Open a socket for each, all or none; what is returned has the port that each got. Raises ConfigError."""
    opened: list[tuple[Published, socket.socket]] = []
    try:
        for text in texts:
            opened.append(_open(parse(text)))
    except ConfigError:
        for _, one in opened:
            one.close()
        raise
    return opened


def _open(wanted: Published) -> tuple[Published, socket.socket]:
    stream = wanted.protocol == "tcp"
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            # So that 0.0.0.0 can be published beside it.
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if stream:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((wanted.host, wanted.host_port))
        if stream:
            server.listen(1024)
    except OSError as error:
        server.close()
        raise ConfigError(
            f"--publish: {wanted.source} of this host: {error.strerror}; choose another HOST_PORT, 0 being any free one"
        ) from error
    return msgspec.structs.replace(wanted, host_port=server.getsockname()[1]), server


def numbers(sockets: Sequence[socket.socket]) -> str:
    """The descriptors of sockets as an argument of a program."""
    return ",".join(str(one.fileno()) for one in sockets)


def inherited(text: str) -> list[socket.socket]:
    """The sockets that `numbers` named, in the program started with them."""
    found = [socket.socket(fileno=int(number)) for number in text.split(",") if number]
    for one in found:
        # They go on to processes that are forked; none is meant for what such a process executes.
        one.set_inheritable(False)
    return found
