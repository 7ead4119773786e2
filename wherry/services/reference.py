"""What must become of a connection to a service, read straight from the objects. Pure, slow and plain.

This is the judge of randomised tests: it shares no code with :mod:`.compile` and :mod:`.topology` and knows nothing of
rules, so that a misreading would have to be made twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Literal, NamedTuple

import msgspec

from wherry.kube.keys import Key
from wherry.kube.objects import Endpoint, EndpointSlice, Service, ServicePort
from wherry.net.types import IPAddress
from wherry.services.model import Target

Kind = Literal["answer", "refuse", "drop", "pass"]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One node: its name and zone, its addresses, and the ranges of all pods, its own pods and services.

    ``forwarded`` are the services of which a load-balancer pod is ready there, and the ``hostIP`` of its port.
    """

    node: str
    zone: str = ""
    addresses: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    forwarded: Mapping[Key, str] = {}


class Connection(NamedTuple):
    """Who asks, and for what."""

    client: str
    address: str
    protocol: str
    port: int


class Verdict(NamedTuple):
    """Whether a connection is answered, who may answer, and whether they see the node's address as the client's."""

    kind: Kind
    targets: frozenset[Target] = frozenset()
    hidden: bool = False

    def seen(self, target: Target, client: str, node: str) -> str:
        """The client's address as one of the targets sees it, where ``node`` is the node's."""
        return node if self.hidden or str(target.address) == client else client


def judge(services: Iterable[tuple[Service, Sequence[EndpointSlice]]], site: Site, connection: Connection) -> Verdict:
    """What must become of a connection that passes the node. No two services may have one frontend."""
    everything = [*services]
    known = [(service, slices) for service, slices in everything if _ours(service)]
    for service, slices in known:
        for port in service.spec.ports:
            if port.protocol.lower() == connection.protocol and (way := _way(service, port, site, connection)):
                return _treat(service, port, slices, site, connection, way)
    ours = {address for service, _ in known for address in service.spec.cluster_ips}
    others = {
        address
        for service, _ in everything
        for address in service.spec.cluster_ips
        if "service.kubernetes.io/service-proxy-name" in service.labels
    }
    taken = connection.address in ours or (_in(connection.address, site.services) and connection.address not in others)
    return Verdict("refuse" if taken else "pass")


def _ours(service: Service) -> bool:
    labels = service.labels
    return "service.kubernetes.io/service-proxy-name" not in labels and "service.kubernetes.io/headless" not in labels


def _way(service: Service, port: ServicePort, site: Site, connection: Connection) -> str:
    """By which kind of frontend the connection reaches the service's port; empty: by none."""
    spec, asked = service.spec, connection.address
    version = ip_address(asked).version
    if version not in {ip_address(one).version for one in spec.cluster_ips}:
        return ""
    if connection.port == port.port:
        if asked in spec.cluster_ips:
            return "cluster"
        if any(one.ip == asked and one.ip_mode != "Proxy" for one in service.status.load_balancer.ingress):
            return "balancer"
        if asked in spec.external_ips:
            return "external"
    node = asked in site.addresses and not _in(asked, (*site.cluster, *site.services, "127.0.0.0/8", "::1/128"))
    if connection.port == port.port and spec.external_traffic_policy == "Local":
        # policy Cluster leaves such a connection to the pod
        where = site.forwarded.get(service.key)
        if where is not None and (node if where == "" else asked == where):
            return "balancer"
    return "node port" if node and connection.port == port.node_port else ""


def _treat(
    service: Service,
    port: ServicePort,
    slices: Sequence[EndpointSlice],
    site: Site,
    connection: Connection,
    way: str,
) -> Verdict:
    spec, client = service.spec, connection.client
    if way == "balancer" and not _admitted(service, client, site):
        return Verdict("drop")
    ends = _endpoints(slices, port, ip_address(connection.address).version)
    everyone = _spread(ends, site)
    if not everyone:
        return Verdict("refuse")
    from_node, from_own = client in site.addresses, _in(client, site.own)
    from_cluster = from_node or _in(client, site.cluster)
    policy = spec.internal_traffic_policy if way == "cluster" else spec.external_traffic_policy
    local = policy == "Local" and (way == "cluster" or not from_cluster)
    targets = _near(ends, site.node) if local else everyone
    if not targets:
        return Verdict("drop")
    if way == "cluster":
        return Verdict("answer", targets, hidden=not from_cluster)
    return Verdict("answer", targets, hidden=not local and not from_own)


def _admitted(service: Service, client: str, site: Site) -> bool:
    version = ip_address(client).version
    ranges = [one for one in service.spec.load_balancer_source_ranges if ip_network(one).version == version]
    balancers = [one.ip for one in service.status.load_balancer.ingress]
    by_itself = client in balancers and any(_in(address, ranges) for address in site.addresses)
    return not ranges or by_itself or _in(client, ranges)


Ends = dict[Target, Endpoint]


def _endpoints(slices: Sequence[EndpointSlice], port: ServicePort, version: int) -> Ends:
    return {
        Target(ip_address(end.addresses[0]), there.port): end
        for slice_ in slices
        if slice_.address_type == f"IPv{version}"
        for there in slice_.ports or ()
        if (there.name or "") == port.name and there.port
        for end in slice_.endpoints or ()
        if end.addresses
    }


def _near(ends: Ends, node: str) -> frozenset[Target]:
    here = {target: end for target, end in ends.items() if end.node_name == node}
    ready = frozenset(target for target, end in here.items() if _ready(end))
    return ready or frozenset(target for target, end in here.items() if _draining(end))


def _spread(ends: Ends, site: Site) -> frozenset[Target]:
    ready = {target: end for target, end in ends.items() if _ready(end)}
    if not ready:
        return frozenset(target for target, end in ends.items() if _draining(end))
    for hints, mine in (("for_nodes", site.node), ("for_zones", site.zone)):
        named = {
            target: [one.name for one in getattr(end.hints, hints)] if end.hints else []
            for target, end in ready.items()
        }
        chosen = frozenset(target for target, names in named.items() if mine in names)
        if chosen and all(named.values()):
            return chosen
    return frozenset(ready)


def _ready(end: Endpoint) -> bool:
    return end.conditions.ready is not False


def _draining(end: Endpoint) -> bool:
    serving = end.conditions.serving
    return bool(end.conditions.terminating) and (_ready(end) if serving is None else serving)


def _in(address: str | IPAddress, cidrs: Iterable[str]) -> bool:
    return any(ip_address(address) in ip_network(cidr) for cidr in cidrs)
