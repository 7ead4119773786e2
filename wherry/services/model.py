"""What services mean to a node's data plane, as plain values between compile and apply."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from wherry.net.types import IPAddress

Protocol = Literal["tcp", "udp", "sctp"]


class Frontend(NamedTuple):
    """What clients connect to: a service address, protocol and port."""

    address: IPAddress
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}/{self.protocol}"


class Target(NamedTuple):
    """Where a connection is sent: an endpoint's address and port."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """How connections to one frontend are treated."""

    name: str
    """``namespace/service/port`` (the port's name, or its number where it has none)."""
    targets: tuple[Target, ...] = ()
    """Where new connections go, each with equal chance, in ascending order; without any they are refused."""
    serving: frozenset[Target] = frozenset()
    """Endpoints whose running flows live on: the targets, and those that still serve while they terminate."""
    sticky_seconds: int = 0
    """Session affinity by client address for this long; 0: none."""
    drop: bool = False
    """Only endpoints of this node may be used and it has none, although others have: drop instead of refusing."""


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """All that one service asks of one node."""

    addresses: frozenset[IPAddress] = frozenset()
    """The service's own addresses: whatever no frontend takes is refused."""
    frontends: dict[Frontend, Backend] = msgspec.field(default_factory=dict)
    hairpin: frozenset[IPAddress] = frozenset()
    """Targets on this node, which may connect to themselves through the service."""


NO_SERVICE = ServiceState()
"""The state of a service that is gone, headless or of a kind that needs no data plane."""
