"""From a Service and its endpoint slices to what one node does for it. Pure.

Follows the service API as kube-proxy implements it:

* New connections go to endpoints that are ready; where none is, to those that still serve while they terminate
  (KEP-1669), so that the last pods of a service do not refuse connections during a restart.
* ``internalTrafficPolicy: Local`` uses only endpoints of this node. Without one here, connections are dropped, unless
  the service has no endpoint anywhere: then they are refused like any other (KEP-2086).
* An endpoint in several slices, as happens while slices are reorganised, counts once and with its best conditions.
* Target ports are taken from the slices, where their names are already resolved; a slice port belongs to the service
  port of the same name.
* A condition that is not set reads as: ready, serving, not terminating.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, NamedTuple, cast

from wherry.kube.objects import Endpoint, EndpointSlice, Service, ServicePort
from wherry.net.types import IPAddress
from wherry.services.model import NO_SERVICE, Backend, Frontend, Protocol, ServiceState, Target

_PROTOCOLS: Final = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
_VERSION_OF_TYPE: Final = {"IPv4": 4, "IPv6": 6}
DEFAULT_STICKY_SECONDS: Final = 10800


class _State(NamedTuple):
    """What the slices say of one target."""

    ready: bool
    serving: bool
    local: bool

    def better(self, other: _State | None) -> _State:
        return self if other is None else _State(*(a or b for a, b in zip(self, other, strict=True)))


def compile_service(service: Service, slices: Iterable[EndpointSlice], *, node: str) -> ServiceState:
    """What the node named ``node`` has to do for a service with these endpoint slices."""
    spec = service.spec
    if service.headless or spec.type == "ExternalName":
        return NO_SERVICE
    addresses = [address for text in spec.cluster_ips or (spec.cluster_ip,) if (address := _address(text))]
    known = [slice_ for slice_ in slices if slice_.address_type in _VERSION_OF_TYPE]
    frontends: dict[Frontend, Backend] = {}
    hairpin: set[IPAddress] = set()
    for port in spec.ports:
        protocol = _PROTOCOLS.get(port.protocol)
        for address in addresses if protocol else ():
            states = _states(known, port, address.version, node)
            backend = _backend(service, port, states)
            frontends[Frontend(address, cast(Protocol, protocol), port.port)] = backend
            hairpin.update(target.address for target in backend.targets if states[target].local)
    return ServiceState(addresses=frozenset(addresses), frontends=frontends, hairpin=frozenset(hairpin))


def _backend(service: Service, port: ServicePort, states: dict[Target, _State]) -> Backend:
    spec = service.spec
    only_local = spec.internal_traffic_policy == "Local"
    usable = {target: state for target, state in states.items() if state.local or not only_local}
    targets = [target for target, state in usable.items() if state.ready]
    targets = targets or [target for target, state in usable.items() if state.serving]
    anywhere = any(state.ready or state.serving for state in states.values())
    sticky = 0
    if spec.session_affinity == "ClientIP":
        config = spec.session_affinity_config
        sticky = config.client_ip.timeout_seconds if config and config.client_ip else DEFAULT_STICKY_SECONDS
    return Backend(
        name=f"{service.namespace}/{service.name}/{port.name or port.port}",
        targets=tuple(sorted(targets)),
        serving=frozenset(target for target, state in usable.items() if state.ready or state.serving),
        sticky_seconds=sticky,
        drop=only_local and anywhere and not targets,
    )


def _states(slices: Iterable[EndpointSlice], port: ServicePort, version: int, node: str) -> dict[Target, _State]:
    """The targets of one service port in one address family, and what is known of each."""
    found: dict[Target, _State] = {}
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
            state = _state(endpoint, node)
            for number in numbers:
                target = Target(address, number)
                found[target] = state.better(found.get(target))
    return found


def _state(endpoint: Endpoint, node: str) -> _State:
    conditions = endpoint.conditions
    ready = conditions.ready is not False
    serving = ready if conditions.serving is None else conditions.serving
    return _State(ready=ready, serving=serving, local=endpoint.node_name == node)


def _address(text: str) -> IPAddress | None:
    """An address traffic can be sent to; None for text that is none (also the word ``None``)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if address.is_unspecified or address.is_loopback or address.is_multicast else address
