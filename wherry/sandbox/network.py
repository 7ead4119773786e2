"""The LAN of a sandbox: a bridge in its root network namespace, and one namespace for each node.

Addresses are decided by the node's number alone, so that a node that was switched off comes back with its own:
172.30.0.(10+n)/24 and fd00:30::(10+n)/64; the bridge, where the API server listens, has .1 and ::1.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from wherry.kernel import netns
from wherry.kernel.netlink import Netlink
from wherry.sandbox import leftovers
from wherry.sandbox.layout import NETNS_DIR, RUN_DIR, NodeEntry

BRIDGE = "wherry0"
SERVER_ADDRESSES = ("172.30.0.1", "fd00:30::1")
#: Where it listens there; a port of its own, apart from the one published on the host.
API_PORT = 6443
#: The highest node number: 172.30.0.10 is the first address after the reserved ones, .254 the last of the LAN.
LAST_NODE = 244

LAN = _V4, _V6 = IPv4Network("172.30.0.0/24"), IPv6Network("fd00:30::/64")
_PREFIXES = (_V4.prefixlen, _V6.prefixlen)


def addresses(number: int) -> tuple[IPv4Address, IPv6Address]:
    """A node's addresses on the LAN."""
    return IPv4Address(int(_V4.network_address) + 10 + number), IPv6Address(int(_V6.network_address) + 10 + number)


def port(number: int) -> str:
    """The bridge's port that a node is plugged into."""
    return f"node{number}"


def make_lan() -> None:
    """Make the bridge. Runs in the sandbox's root network namespace, as all of this module does."""
    _skip_duplicate_detection()
    with Netlink() as link:
        link.link_add_bridge(BRIDGE, up=True)
        for address, prefix in zip(SERVER_ADDRESSES, _PREFIXES, strict=True):
            link.addr_add(BRIDGE, address, prefix)


def make_node(node: NodeEntry) -> None:
    """Make a node's namespace and plug it into the LAN."""
    path = NETNS_DIR / node.name
    plug = port(node.number)
    netns.create(path)
    with Netlink() as link:
        # The same after a power cut, as a network card's: the others' neighbour tables still hold it.
        link.link_add_veth(plug, "eth0", path, peer_mac=_mac(node.number), up=True)
        link.link_set(plug, master=BRIDGE)
    with netns.entered(path):
        _skip_duplicate_detection()
        with Netlink() as link:
            for address, prefix in zip(addresses(node.number), _PREFIXES, strict=True):
                link.addr_add("eth0", str(address), prefix)
            link.link_set("eth0", up=True)
            # Nothing is beyond the LAN, yet a default route is what programs look for to find "the" address.
            link.route_replace("0.0.0.0/0", via=SERVER_ADDRESSES[0], dev="eth0")
            link.route_replace("::/0", via=SERVER_ADDRESSES[1], dev="eth0")
    (RUN_DIR / node.name).mkdir(exist_ok=True)


def power_off(node: NodeEntry) -> None:
    """End everything in a node's namespaces, at once, and remove them."""
    pods = RUN_DIR / node.name / "netns"
    files = [NETNS_DIR / node.name, *(pods.iterdir() if pods.is_dir() else ())]
    identities = {netns.identity(path) for path in files if path.exists()}
    left = leftovers.end(lambda: leftovers.in_networks(identities))
    if left:
        raise RuntimeError(f"node {node.name}: processes {left} do not end")
    for path in files:
        netns.remove(path)
    with Netlink() as link:
        # Gone with the node's namespace already, unless something outside still holds that.
        link.link_del(port(node.number), missing_ok=True)
    _empty(RUN_DIR / node.name)


def _mac(number: int) -> str:
    """A node's hardware address: locally administered, "WHRY", and the number, which fits into a byte."""
    return f"02:57:48:52:59:{number:02x}"


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _skip_duplicate_detection() -> None:
    """Make new addresses usable at once: on a LAN that is ours alone nobody else has them (RFC 4862 §5.4)."""
    base = Path("/proc/sys/net/ipv6/conf")
    if base.is_dir():
        (base / "default/accept_dad").write_text("0")
