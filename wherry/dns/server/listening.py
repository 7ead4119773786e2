"""Which addresses a configuration listens on, and which blocks and zones each of them serves.

An address and port is a server (CoreDNS' word); its label (`dns://:53`) is what metrics call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wherry.dns import names
from wherry.dns.corefile.model import Block
from wherry.dns.front.protocol import Listener

_NO_IPV6 = not Path("/proc/net/if_inet6").exists()


@dataclass(slots=True)
class Listening:
    """A server: its label, scheme, address ("" for all of the machine's) and port, and what it serves."""

    label: str
    scheme: str
    host: str
    port: int
    blocks: list[tuple[bytes, Block]] = field(default_factory=list)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to bind."""
        if self.host:
            return (self.host,)
        return ("0.0.0.0",) if _NO_IPV6 else ("0.0.0.0", "::")

    @property
    def block(self) -> Block:
        """The block whose settings of the listener count: the first, as with CoreDNS."""
        return self.blocks[0][1]


def listening(blocks: Iterable[Block], bind: Sequence[str] = ()) -> list[Listening]:
    """Return the servers of these blocks in their order.

    ``bind``: addresses for blocks without a `bind` of their own, instead of all. Raises CorefileError.
    """
    servers: dict[tuple[str, str, int], Listening] = {}
    for block in blocks:
        for host in block.bind or tuple(bind) or ("",):
            for key in block.keys:
                if key.scheme == "tls" and block.tls is None:
                    raise block.error("tls:// needs the plugin tls: tls CERT KEY [CA]")
                place = (key.scheme, host, key.port)
                if place not in servers:
                    shown = f"[{host}]" if ":" in host else host
                    servers[place] = Listening(f"{key.scheme}://{shown}:{key.port}", key.scheme, host, key.port)
                servers[place].blocks.append((key.zone, block))
    return list(servers.values())


def listeners_of(server: Listening, number: int) -> list[Listener]:
    """Return the sockets of a server that fronts know by this number."""
    if server.scheme == "dns":
        return [Listener(kind, host, server.port, number) for host in server.hosts for kind in ("udp", "tcp")]
    files = server.block.tls
    assert files is not None
    return [Listener("tls", host, server.port, number, (*files,)) for host in server.hosts]


def banner(servers: Iterable[Listening]) -> list[str]:
    """Return a line for each zone of each server, as CoreDNS prints them at its start: `.:53 on 127.0.0.1`."""
    lines = []
    for server in servers:
        prefix = "" if server.scheme == "dns" else f"{server.scheme}://"
        on = f" on {server.host}" if server.host else ""
        lines += [f"{prefix}{names.to_text(zone)}:{server.port}{on}" for zone, _ in server.blocks]
    return list(dict.fromkeys(lines))
