"""This host as a node: its addresses and what it needs."""

from __future__ import annotations

import logging
import os
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from wherry.config.errors import ConfigError
from wherry.config.resolvconf import choose
from wherry.config.settings import Settings
from wherry.kernel.netlink import Netlink

log = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address


def require_root(command: str) -> None:
    """Raises ConfigError where this process may not change the host's network."""
    if os.geteuid() != 0:
        raise ConfigError(f"`wherry {command}` changes this host's network and needs root; `wherry up` needs neither")


def node_addresses(settings: Settings) -> tuple[str, ...]:
    """One address for each family the cluster has, the cluster's first family first; then what --node-ip gives beyond.

    Without --node-ip they are those of the default route's interface. Raises ConfigError where a family has none.
    """
    families = [net.version for net in settings.cluster_cidrs] or [4]
    given = list(settings.node_ips) or _default(settings.overlay_interface)
    chosen: list[Address] = []
    for family in families:
        address = next((one for one in given if one.version == family), None)
        if address is None:
            if settings.node_ips:
                raise ConfigError(f"--node-ip: the cluster has IPv{family}, and no such address is given; give both")
            raise ConfigError(f"this host has no IPv{family} address that its default route uses; give --node-ip")
        chosen.append(address)
    chosen += [address for address in settings.node_ips if address not in chosen]
    return tuple(str(address) for address in chosen)


def node_resolv_conf(settings: Settings) -> Path:
    """The file by which this host's pods resolve names beyond the cluster. Logs a warning where it is a makeshift."""
    fallback = settings.data_dir / "agent" / "etc" / "resolv.conf"
    try:
        path, warning = choose(settings.resolv_conf, fallback)
    except OSError as error:
        raise ConfigError(f"--resolv-conf: {error.filename}: {error.strerror}") from error
    if warning:
        log.warning("%s", warning)
    return path


def _default(interface: str) -> list[Address]:
    with Netlink() as link:
        if interface:
            device = link.link_get(interface).index
        else:
            routes = [route for route in link.route_list() if route.dst.prefixlen == 0 and route.dev]
            if not routes:
                raise ConfigError("this host has no default route to tell its address by; give --node-ip")
            device = min(routes, key=lambda route: route.metric).dev
        return [
            entry.address
            for entry in link.addr_list(device)
            if not entry.address.is_link_local and not entry.address.is_loopback
        ]
