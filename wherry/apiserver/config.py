"""Settings of an API server, all typed; where they come from (flags, files) is not its concern."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"


class ConfigError(Exception):
    """Settings that cannot work together or files that cannot be used; the text is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The serving certificate and key, and the authority whose client certificates are believed."""

    certificate: Path
    key: Path
    client_authority: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletFiles:
    """The certificate shown to kubelets, its key, and the authority of their serving certificates."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinFiles:
    """What the node-join endpoint needs: the file with the cluster join token, and the authorities that sign.

    The token file is read on every join, so a token can be changed at any time.
    """

    token: Path
    server_authority: tuple[Path, Path]
    client_authority: tuple[Path, Path]
    cluster: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Flags that hold for the whole cluster, by name: every node is told them."""
    own_node: str = ""
    """The name of the node that the server's own machine is; no other may have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerConfig:
    """Everything an API server has to be told.

    `data_dir` None keeps nothing on disk. `tls_sockets` serve HTTPS, `plain_sockets` (Unix sockets, or loopback in
    tests) HTTP; all are bound already. `service_account_key` is the PEM file that signs tokens; without it none are
    issued.
    """

    data_dir: Path | None
    tls_sockets: Sequence[socket.socket] = ()
    plain_sockets: Sequence[socket.socket] = ()
    tls: TlsFiles | None = None
    kubelet: KubeletFiles | None = None
    join: JoinFiles | None = None
    token_file: Path | None = None
    service_account_key: Path | None = None
    issuer: str = DEFAULT_ISSUER
    audiences: tuple[str, ...] = ()
    """Audiences of tokens for this server; the issuer where none are given."""
    service_cidrs: tuple[Network, ...] = (IPv4Network("10.43.0.0/16"),)
    service_node_port_range: tuple[int, int] = (30000, 32767)
    advertise_addresses: tuple[Address, ...] = (IPv4Address("127.0.0.1"),)
    advertise_port: int = 6443
    default_not_ready_toleration_seconds: int = 300
    default_unreachable_toleration_seconds: int = 300
    allow_privileged: bool = True
    resource_metrics: bool = True
    """Whether metrics.k8s.io is served."""
    notices: Callable[[str, str, Mapping[str, Any]], Iterable[str]] = field(default=lambda *_: ())
    """Warnings to whoever creates an object, by group, plural and object: for what nothing here acts upon."""
    shutdown_seconds: float = 5.0
    """How long running requests may take when the server stops."""

    def check(self) -> None:
        """Raises ConfigError for what cannot work."""
        if self.tls_sockets and self.tls is None:
            raise ConfigError("HTTPS sockets need a serving certificate")
        if not self.service_cidrs:
            raise ConfigError("a service range is needed")
        low, high = self.service_node_port_range
        if not 0 < low <= high < 65536:
            raise ConfigError(f"{low}-{high} is no range of node ports")
