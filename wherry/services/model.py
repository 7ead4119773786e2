"""What services mean to a node's data plane, as plain values between compile and apply."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, Literal, NamedTuple

import msgspec

from wherry.net.types import IPAddress

Protocol = Literal["tcp", "udp", "sctp"]

ANY: Final[dict[int, IPAddress]] = {4: ip_address("0.0.0.0"), 6: ip_address("::")}
"""Stands for every address of the node that answers node ports, by IP version."""


class Frontend(NamedTuple):
    """What clients connect to: an address (:data:`ANY`: the node's own), protocol and port."""

    address: IPAddress
    protocol: Protocol
    port: int

    @property
    def node_port(self) -> bool:
        """Whether it is a port of the node rather than of one address."""
        return self.address.is_unspecified

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
    local: bool = False
    """Only endpoints of this node are used."""
    drop: bool = False
    """Only endpoints of this node may be used and it has none, although others have: drop instead of refusing."""


class External(msgspec.Struct, frozen=True, kw_only=True):
    """How connections to an address outside the service range, or to a node port, are treated."""

    cluster: Backend
    """For clients in the cluster; without ``outside`` for all clients, whose address is hidden then."""
    outside: Backend | None = None
    """``externalTrafficPolicy: Local``: for clients from outside, who keep their address."""
    sources: tuple[str, ...] = ()
    """Ranges of the clients that may connect; empty: anyone may."""

    @property
    def serving(self) -> frozenset[Target]:
        """Endpoints whose running flows live on."""
        return self.cluster.serving | (self.outside.serving if self.outside else frozenset())


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """All that one service asks of one node."""

    addresses: frozenset[IPAddress] = frozenset()
    """The service's own addresses: whatever no frontend takes is refused."""
    frontends: dict[Frontend, Backend] = msgspec.field(default_factory=dict)
    external: dict[Frontend, External] = msgspec.field(default_factory=dict)
    """Node ports, addresses of load balancers and external addresses."""
    foreign: frozenset[IPAddress] = frozenset()
    """Service addresses that another proxy serves: they are left alone."""
    hairpin: frozenset[IPAddress] = frozenset()
    """Targets on this node, which may connect to themselves through the service."""
    health_port: int = 0
    """Where load balancers ask whether this node has endpoints; 0: nowhere."""
    health_count: int = 0
    """How many ready endpoints this node has."""
    created: str = ""
    """When the service was made: of two that claim a frontend the older has it."""


NO_SERVICE = ServiceState()
"""The state of a service that is gone, headless or of a kind that needs no data plane."""
