"""The MTU that the network between nodes offers."""

from __future__ import annotations

from ipaddress import ip_address

from wherry.kernel.netlink import Netlink


def underlay_mtu(address: str) -> int:
    """Return the MTU of the interface that has a node address. Raises LookupError where none of this node has it."""
    wanted = ip_address(address)
    with Netlink() as link:
        for entry in link.addr_list():
            if entry.address == wanted:
                return link.link_get(entry.dev).mtu
    raise LookupError(f"no interface of this node has its address {address}; give the right one by --node-ip")
