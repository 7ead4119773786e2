"""One pod's network: a veth pair whose ends know each other, and routes. Nothing is bridged, nothing is asked.

    pod:  eth0 ADDRESS/32, default via 169.254.1.1 (fe80::1), whose hardware address is known for good
    node: route ADDRESS/32 dev podXXXX, whose hardware address is known for good

Every packet of a pod therefore passes the node's forwarding path, where services and policies are enforced. All
functions are synchronous, idempotent where they say so, and meant for one worker thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Netlink, NetlinkError, NotFound
from wherry.pods.sandbox import names
from wherry.pods.sandbox.model import Address

_OPEN_TO_ALL = {"net.ipv4.ip_unprivileged_port_start": "0"}
"""As containerd sets up a pod: a program without capabilities may listen below 1024."""
_PING = "net.ipv4.ping_group_range"


def prepare_node(netns_path: str | None = None) -> None:
    """Let the node forward packets; idempotent."""
    _write(netns_path, {"net.ipv4.ip_forward": "1"})
    if _has_ipv6():
        _write(netns_path, {"net.ipv6.conf.all.forwarding": "1"})


def connect(
    node: Netlink,
    *,
    uid: str,
    path: str,
    addresses: Sequence[Address],
    mtu: int,
    sysctls: Mapping[str, str],
    from_loopback: bool = False,
) -> None:
    """Make the network namespace at ``path`` and connect it. Raises OSError and NetlinkError.

    With ``from_loopback`` packets from the node's 127.0.0.1 can be led to the pod, as its host ports need.
    """
    netns.create(path)
    wants_ipv6 = any(address.version == 6 for address in addresses)
    _write(path, _pod_sysctls(wants_ipv6))
    host = names.host_interface(uid)
    node.link_add_veth(host, names.POD_INTERFACE, path, mac=names.HOST_MAC, peer_mac=names.pod_mac(uid), mtu=mtu)
    _write(None, _host_sysctls(host))
    if from_loopback:
        _write(None, {f"net.ipv4.conf.{host}.route_localnet": "1"})
    node.link_set(host, up=True)
    with Netlink(path) as pod:
        index = pod.link_get(names.POD_INTERFACE).index
        pod.link_set(index, up=True)
        for address in addresses:
            pod.addr_add(index, address, address.max_prefixlen)
        for version in sorted({address.version for address in addresses}):
            gateway, everywhere = (names.GATEWAY4, "0.0.0.0/0") if version == 4 else (names.GATEWAY6, "::/0")
            pod.neigh_replace(index, gateway, names.HOST_MAC)
            if version == 4:
                pod.route_replace(f"{gateway}/32", dev=index)
            pod.route_replace(everywhere, dev=index, via=gateway)
    if sysctls:
        _write(path, sysctls)
    attach(node, uid=uid, addresses=addresses)


def attach(node: Netlink, *, uid: str, addresses: Iterable[Address]) -> None:
    """The node's routes and neighbour entries of a connected pod; idempotent. Raises NetlinkError."""
    index = node.link_get(names.host_interface(uid)).index
    for address in addresses:
        node.neigh_replace(index, address, names.pod_mac(uid))
        node.route_replace(f"{address}/{address.max_prefixlen}", dev=index)


def is_connected(node: Netlink, *, uid: str, path: str) -> bool:
    """Whether the namespace is there and both ends of its pair are up."""
    try:
        with Netlink(path) as pod:
            there = pod.link_get(names.POD_INTERFACE).up
        return there and node.link_get(names.host_interface(uid)).up
    except (OSError, NetlinkError):
        return False  # whichever part is missing, the sandbox is not whole


def disconnect(node: Netlink, *, uid: str, path: str) -> None:
    """Cut a pod off and give its namespace up; idempotent.

    Setting the node's end down takes its routes away at once. The pair itself goes with the namespace, which the
    kernel does by itself and in batches (1 ms each; removing a pair by name waits 20 ms for every processor). Should
    a process still hold the namespace, the dead pair stays until that process ends.
    """
    try:
        node.link_set(names.host_interface(uid), up=False)
    except NotFound:
        pass  # never made, or gone already
    netns.remove(path)


def clear(node: Netlink, *, uid: str, path: str) -> None:
    """Make room for a new sandbox of the same pod, waiting for what is left of an earlier one; idempotent."""
    node.link_del(names.host_interface(uid), missing_ok=True)
    netns.remove(path)


def parse(addresses: Iterable[str]) -> tuple[Address, ...]:
    """Addresses from their text."""
    return tuple(ip_address(address) for address in addresses)


def _pod_sysctls(wants_ipv6: bool) -> dict[str, str]:
    # In a user namespace with one id the range ends there, and the kernel refuses ids that do not exist.
    groups = "0 0" if netns.in_user_namespace() else "0 2147483647"
    settings = {**_OPEN_TO_ALL, _PING: groups}
    if not _has_ipv6():
        return settings
    default = "net.ipv6.conf.default"
    if not wants_ipv6:
        # eth0 is born with this; `lo` exists already and keeps ::1.
        return {**settings, f"{default}.disable_ipv6": "1"}
    # Addresses are usable at once, and the node is no router that has to be asked for.
    return {**settings, f"{default}.accept_dad": "0", f"{default}.accept_ra": "0", f"{default}.autoconf": "0"}


def _host_sysctls(interface: str) -> dict[str, str]:
    # A pod cannot send with somebody else's address.
    settings = {f"net.ipv4.conf.{interface}.rp_filter": "1"}
    if _has_ipv6():
        # No link-local address: nothing on this link is resolved, and none must wait for duplicate detection.
        settings |= {f"net.ipv6.conf.{interface}.addr_gen_mode": "1", f"net.ipv6.conf.{interface}.accept_ra": "0"}
    return settings


def _has_ipv6() -> bool:
    return os.path.isdir("/proc/sys/net/ipv6")


def _write(netns_path: str | None, settings: Mapping[str, str]) -> None:
    with netns.entered(netns_path):
        for name, value in settings.items():
            sysctl.set(name, value)
