"""From objects of the API to what a zone keeps of them. Pure.

An endpoint counts where `ready` is true or not said; `publishNotReadyAddresses` shows there too, as the controller of
slices says ready then. What DNS has no form for (addresses that are none, slices of host names) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wherry.dns import names
from wherry.dns.kubernetes import packed
from wherry.dns.kubernetes.objects import (
    IMPORT_NAME_LABEL,
    SOURCE_CLUSTER_LABEL,
    Pod,
    ServiceImport,
)
from wherry.dns.kubernetes.packed import CLUSTER, EXTERNAL, HEADLESS, NO_PORT, Endpoint, Port, Service
from wherry.dns.kubernetes.zone import IMPORTED
from wherry.kube import objects as o

_LONGEST_LABEL = 63
_LAST_PORT = 65535
_MOST_ADDRESSES = 255


def label_of(name: str) -> bytes:
    """A name as a label in wire form; empty where it cannot be one."""
    label = name.lower().encode()
    return b"%c%b" % (len(label), label) if 0 < len(label) <= _LONGEST_LABEL else b""


def key_of(namespace: str, name: str, *, imported: bool = False) -> bytes:
    """The key of a service in a zone; empty where its name cannot be one of DNS."""
    first, second = label_of(name), label_of(namespace)
    if not first or not second:
        return b""
    return (IMPORTED if imported else b"") + first + second


def service(obj: o.Service) -> bytes:
    """A service, packed."""
    spec = obj.spec
    if spec.type == "ExternalName":
        return packed.pack_service(Service(EXTERNAL, target=_target(spec.external_name)))
    given = spec.cluster_ips or (spec.cluster_ip,)
    ports = tuple(_port(port.port, port.name, port.protocol) for port in spec.ports)
    if given[0] == "None":
        return packed.pack_service(Service(HEADLESS, ports=ports))
    return packed.pack_service(Service(CLUSTER, _addresses(given), ports))


def service_import(obj: ServiceImport) -> bytes:
    """An imported service, packed."""
    spec = obj.spec
    ports = tuple(_port(port.port, port.name, port.protocol) for port in spec.ports or ())
    if spec.type == "Headless":
        return packed.pack_service(Service(HEADLESS, ports=ports))
    return packed.pack_service(Service(CLUSTER, _addresses(spec.ips or ()), ports))


def owner(obj: o.EndpointSlice, *, imported: bool = False) -> bytes:
    """The key of the service that a slice belongs to, empty where it belongs to none."""
    name = obj.metadata.labels.get(IMPORT_NAME_LABEL, "") if imported else obj.service_name
    return key_of(obj.namespace, name, imported=imported)


def endpoint_slice(
    obj: o.EndpointSlice, *, pod_names: bool = False, zonal: bool = False, imported: bool = False
) -> bytes:
    """A slice, packed; its endpoints are in `place` by zone (`zonal`) or cluster (`imported`)."""
    cluster = _folded(obj.metadata.labels.get(SOURCE_CLUSTER_LABEL)) if imported else b""
    ports = [_port(port.port, port.name, port.protocol) for port in obj.ports or ()]
    endpoints = [
        Endpoint(address, _endpoint_label(endpoint, address, pod_names=pod_names), place)
        for endpoint in obj.endpoints or ()
        if endpoint.conditions.ready is not False
        for place in [cluster if imported else _folded(endpoint.zone) if zonal else b""]
        for address in _addresses(endpoint.addresses or ())
    ]
    return packed.pack_slice(ports, endpoints)


def pod_addresses(obj: Pod) -> tuple[bytes, ...]:
    """The addresses of a pod; none of one that is being deleted."""
    if obj.deleting:
        return ()
    return _addresses([obj.status.pod_ip, *(each.ip for each in obj.status.pod_ips)])


def _endpoint_label(endpoint: o.Endpoint, address: bytes, *, pod_names: bool) -> bytes:
    label = (endpoint.hostname or "").encode()
    if not label and pod_names and endpoint.target_ref is not None:
        label = endpoint.target_ref.name.encode()
    return label if 0 < len(label) <= _LONGEST_LABEL else packed.label_of(address)


def _addresses(texts: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(_parsed(texts)))[:_MOST_ADDRESSES]


def _parsed(texts: Iterable[str]) -> Iterator[bytes]:
    for text in texts:
        address = packed.address_of(text)
        if address is not None:
            yield address


def _target(text: str) -> bytes:
    if not text or packed.address_of(text) is not None:
        return b""
    try:
        return names.from_text(text)
    except names.NameError_:
        return b""


def _port(number: int | None, name: str | None, protocol: str | None) -> Port:
    """A port; a number that is none of a port's counts as not said."""
    known = number if number is not None and 0 < number <= _LAST_PORT else NO_PORT
    return Port(known, _folded(name), _folded(protocol))


def _folded(text: str | None) -> bytes:
    """Text to compare with a label; what is longer than one matches none, and is cut."""
    return (text or "").lower().encode()[: _LONGEST_LABEL + 1]
