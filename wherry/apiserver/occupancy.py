"""Service addresses and node ports that stored services hold, taken out of the pools when a server starts."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

from wherry.apiserver.core import Core
from wherry.net.service import AlreadyTaken, OutOfRange


def occupy(core: Core) -> None:
    """Mark what is in use. What lies outside of the ranges now, or is held twice, keeps working as it is."""
    for entry in core.registry.bucket("", "services").scan():
        spec = entry.object().get("spec") or {}
        for text in spec.get("clusterIPs") or ():
            if text in ("", "None"):
                continue
            address = ip_address(text)
            pool = core.address_pools.get(f"IPv{address.version}")
            if pool is not None:
                with contextlib.suppress(AlreadyTaken, OutOfRange):
                    pool.occupy(address)
        ports = {one["nodePort"] for one in spec.get("ports") or () if one.get("nodePort")}
        if spec.get("healthCheckNodePort"):
            ports.add(spec["healthCheckNodePort"])
        for port in ports:
            with contextlib.suppress(AlreadyTaken, OutOfRange):
                core.node_ports.occupy(port)
