"""From a Service and its endpoint slices to what one node does for it. Pure.

Follows the service API as kube-proxy implements it; which endpoints are used is :mod:`.topology`'s matter:

* ``internalTrafficPolicy: Local`` uses only endpoints of this node. Without one here, connections are dropped, unless
  the service has no endpoint anywhere: then they are refused like any other (KEP-2086).
* ``externalTrafficPolicy: Local`` does the same for what comes from outside to node ports, load balancer addresses
  and ``externalIPs``; clients in the cluster use all endpoints there too.
* Addresses of a load balancer with ``ipMode: Proxy`` are not led past that proxy (KEP-1860). Only address families
  that the service has itself are served.
* An endpoint in several slices, as happens while slices are reorganised, counts once and with its best conditions.
* Target ports are taken from the slices, where their names are already resolved; a slice port belongs to the service
  port of the same name.
* A condition that is not set reads as: ready, serving, not terminating.
* Services labelled for another proxy (``service.kubernetes.io/service-proxy-name``) or as headless
  (``service.kubernetes.io/headless``), and slices so labelled, are none of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import collapse_addresses, ip_address, ip_network
from typing import Final, cast

from wherry.kube.objects import Endpoint, EndpointSlice, Service, ServicePort
from wherry.net.types import IPAddress
from wherry.services.model import ANY, NO_SERVICE, Backend, External, Frontend, Protocol, ServiceState, Target
from wherry.services.topology import Condition, Conditions, Place, cluster_targets, local_targets

_PROTOCOLS: Final = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
_VERSION_OF_TYPE: Final = {"IPv4": 4, "IPv6": 6}
DEFAULT_STICKY_SECONDS: Final = 10800
OTHER_PROXY: Final = "service.kubernetes.io/service-proxy-name"
HEADLESS: Final = "service.kubernetes.io/headless"
SOURCE_RANGES: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"
"""The annotation that is read where ``spec.loadBalancerSourceRanges`` is empty."""


def compile_service(
    service: Service,
    slices: Iterable[EndpointSlice],
    *,
    place: Place,
    node_ips: Iterable[IPAddress] = (),
    listening: Collection[Frontend] = (),
) -> ServiceState:
    """What the node at ``place`` has to do for a service with these endpoint slices.

    ``node_ips`` are the node's own addresses: where source ranges admit them, they admit the load balancer's too,
    which is the sender's address when a node that holds it asks itself. ``listening`` is what the service's
    load-balancer pods listen on here, see :mod:`.forwarders`.
    """
    spec = service.spec
    if service.headless or spec.type == "ExternalName" or HEADLESS in service.labels:
        return NO_SERVICE
    addresses = [address for text in spec.cluster_ips or (spec.cluster_ip,) if (address := _address(text))]
    if OTHER_PROXY in service.labels:
        return ServiceState(foreign=frozenset(addresses))
    known = [slice_ for slice_ in slices if _usable(slice_)]
    balancers = _load_balancers(service)
    others = [address for text in spec.external_ips if (address := _address(text))]
    only_local = spec.external_traffic_policy == "Local"
    held = listening if only_local and spec.type == "LoadBalancer" and spec.load_balancer_class is None else ()
    listened = [one.address for one in held if not one.node_port]
    sources = _sources(service, [*balancers, *listened], frozenset(node_ips))
    frontends: dict[Frontend, Backend] = {}
    external: dict[Frontend, External] = {}
    hairpin: set[IPAddress] = set()
    ready: set[IPAddress] = set()
    for port in spec.ports:
        if port.protocol not in _PROTOCOLS:
            continue
        protocol = cast("Protocol", _PROTOCOLS[port.protocol])
        for address in addresses:
            version = address.version
            conditions = _conditions(known, port, version, place.node)
            ready |= {target.address for target, one in conditions.items() if one.local and one.ready}
            cluster, local = _backends(service, port, conditions, place)
            frontends[Frontend(address, protocol, port.port)] = (
                local if spec.internal_traffic_policy == "Local" else cluster
            )
            way = External(cluster=cluster, outside=local if only_local else None)
            if port.node_port:
                external[Frontend(ANY[version], protocol, port.node_port)] = way
            for other in others:
                if other.version == version:
                    external[Frontend(other, protocol, port.port)] = way
            fronts = [Frontend(balancer, protocol, port.port) for balancer in balancers]
            fronts += [one for one in held if (one.protocol, one.port) == (protocol, port.port)]
            for front in fronts:
                if front.address.version == version:
                    external[front] = External(
                        cluster=way.cluster, outside=way.outside, sources=sources.get(version, ())
                    )
            hairpin.update(target.address for target, one in conditions.items() if one.local and one.serving)
    watched = spec.type == "LoadBalancer" and only_local
    return ServiceState(
        addresses=frozenset(addresses),
        frontends=frontends,
        external=external,
        hairpin=frozenset(hairpin),
        health_port=spec.health_check_node_port if watched else 0,
        health_count=len(ready) if watched else 0,
        created=service.metadata.creation_timestamp or "",
    )


def _backends(service: Service, port: ServicePort, conditions: Conditions, place: Place) -> tuple[Backend, Backend]:
    """How one port is served under policy ``Cluster``, and under ``Local``."""
    spec = service.spec
    sticky = 0
    if spec.session_affinity == "ClientIP":
        config = spec.session_affinity_config
        sticky = config.client_ip.timeout_seconds if config and config.client_ip else DEFAULT_STICKY_SECONDS
    name = f"{service.namespace}/{service.name}/{port.name or port.port}"
    cluster = Backend(
        name=name,
        targets=cluster_targets(conditions, place),
        serving=frozenset(target for target, one in conditions.items() if one.ready or one.serving),
        sticky_seconds=sticky,
    )
    near = local_targets(conditions)
    local = Backend(
        name=name,
        targets=near,
        serving=frozenset(target for target in cluster.serving if conditions[target].local),
        sticky_seconds=sticky,
        local=True,
        drop=bool(cluster.targets) and not near,
    )
    return cluster, local


def _conditions(slices: Iterable[EndpointSlice], port: ServicePort, version: int, node: str) -> dict[Target, Condition]:
    """The targets of one service port in one address family, and what is known of each."""
    found: dict[Target, Condition] = {}
    for slice_ in slices:
        if _VERSION_OF_TYPE[slice_.address_type] != version:
            continue
        numbers = [
            there.port
            for there in slice_.ports or ()
            if (there.name or "") == port.name and (there.protocol or "TCP") == port.protocol and there.port
        ]
        for endpoint in slice_.endpoints or () if numbers else ():
            address = _address(next(iter(endpoint.addresses or ()), ""))
            if address is None or address.version != version:
                continue
            condition = _condition(endpoint, node)
            for number in numbers:
                target = Target(address, number)
                found[target] = condition.better(found.get(target))
    return found


def _condition(endpoint: Endpoint, node: str) -> Condition:
    conditions, hints = endpoint.conditions, endpoint.hints
    ready = conditions.ready is not False
    serving = ready if conditions.serving is None else conditions.serving
    return Condition(
        ready=ready,
        draining=serving and conditions.terminating is True,
        serving=serving,
        local=endpoint.node_name == node,
        nodes=frozenset(one.name for one in hints.for_nodes) if hints else frozenset(),
        zones=frozenset(one.name for one in hints.for_zones) if hints else frozenset(),
    )


def _usable(slice_: EndpointSlice) -> bool:
    labels = slice_.labels
    return slice_.address_type in _VERSION_OF_TYPE and OTHER_PROXY not in labels and HEADLESS not in labels


def _load_balancers(service: Service) -> list[IPAddress]:
    """The load balancer's addresses whose packets reach the nodes as they are."""
    ingress = service.status.load_balancer.ingress
    return [address for one in ingress if one.ip_mode != "Proxy" and (address := _address(one.ip))]


def _sources(
    service: Service, balancers: Iterable[IPAddress], node_ips: frozenset[IPAddress]
) -> dict[int, tuple[str, ...]]:
    """The ranges of clients a load balancer is open to, by IP version; a family without any is open to all."""
    texts = service.spec.load_balancer_source_ranges or service.metadata.annotations.get(SOURCE_RANGES, "").split(",")
    found: dict[int, tuple[str, ...]] = {}
    ranges = []
    for text in texts:
        try:
            ranges.append(ip_network(text.strip(), strict=False))
        except ValueError:
            continue
    for version in (4, 6):
        own = [one for one in ranges if one.version == version]
        if any(address in one for one in own for address in node_ips if address.version == version):
            own += [ip_network(address) for address in balancers if address.version == version]
        # what covers everything restricts nothing
        if own and not any(one.prefixlen == 0 for one in own):
            found[version] = tuple(map(str, collapse_addresses(own)))  # type: ignore[type-var]
    return found


def _address(text: str) -> IPAddress | None:
    """An address traffic can be sent to; None for text that is none (also the word ``None``)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if address.is_unspecified or address.is_loopback or address.is_multicast else address
