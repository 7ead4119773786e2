"""Which thing of a cluster a name below a zone means: the grammar of names, without record types.

``[_PORT._PROTOCOL.|ENDPOINT.]SERVICE.NAMESPACE.svc``, ``A-B-C-D.NAMESPACE.pod``; with `zonal` also
``PLACE.pin|prefer._zone.SERVICE.NAMESPACE.svc`` for headless services, in a zone of imported services
``ENDPOINT.CLUSTER.SERVICE.NAMESPACE.svc``. Labels are compared in lower case; the underscores may be missing; an empty
port or protocol (`_`) stands for any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wherry.dns.kubernetes import packed
from wherry.dns.kubernetes.packed import CLUSTER, EXTERNAL, HEADLESS, Endpoint, Port, Service
from wherry.dns.kubernetes.zone import ADDRESS_TAG, IMPORTED, Entry, Zone

IN_ADDR = b"\x07in-addr\x04arpa\x00"
IP6 = b"\x03ip6\x04arpa\x00"
_SVC, _POD = b"svc", b"pod"
_HEX = frozenset(b"%x" % digit for digit in range(16))


class Options(NamedTuple):
    """What the Corefile says about the records (https://coredns.io/plugins/kubernetes/). All names are folded."""

    zones: tuple[bytes, ...]
    """Longest first."""
    primary: bytes
    """The zone that PTR records lead to."""
    ttl: int = 5
    pods: str = "disabled"
    """`disabled`; `insecure`: any address in a namespace that exists; `verified`: pods that exist."""
    namespaces: frozenset[bytes] = frozenset()
    """Labels in wire form of the only namespaces that are shown; empty: all."""
    ignore_empty: bool = False
    """Whether services that have addresses but no endpoints are hidden."""
    zonal: bool = False
    imported: frozenset[bytes] = frozenset()
    """The zones, among `zones`, of services of other clusters."""
    passing: tuple[bytes, ...] = ()
    """Zones in which the next plugin is asked for what does not exist (`fallthrough`)."""
    addresses: tuple[bytes, ...] = ()
    """Our own addresses, which NS records lead to."""

    def pack(self) -> tuple[Any, ...]:
        """As tuples, bytes and numbers, for another process."""
        return tuple(self)

    @classmethod
    def unpack(cls, values: tuple[Any, ...]) -> Options:
        """What pack() gave."""
        return cls(*values)


class Host(NamedTuple):
    """Where a name leads: an address, a port (SRV) and the part of the target's name that is below the zone."""

    address: bytes
    port: int
    target: bytes


class Found(NamedTuple):
    """A name that exists: `alias` is where an ExternalName leads; `tag` says on what this depends."""

    hosts: tuple[Host, ...] = ()
    alias: bytes = b""
    tag: bytes = b""
    named: bool = False
    """Whether the name stands although it has no hosts (`zonal`), for TXT too."""


def lookup(zone: Zone, options: Options, apex: bytes, labels: list[bytes]) -> Found | None:
    """What the labels (folded, from the left) below `apex` mean; None where no such name exists."""
    if not labels or (len(labels) == 1 and labels[0] in (_SVC, _POD)):
        return Found()
    kind = labels[-1]
    if kind not in (_SVC, _POD) or apex.endswith((IN_ADDR, IP6)):
        return None
    namespace = b"%c%b" % (len(labels[-2]), labels[-2])
    if not exposed(zone, options, namespace):
        return None
    if kind == _POD:
        return _pod(zone, options, labels, namespace)
    if len(labels) == 2:
        return Found(tag=namespace)
    imported = apex in options.imported
    query = _parse(labels[:-3], zonal=options.zonal, imported=imported)
    if query is None:
        return None
    key = b"%c%b%b" % (len(labels[-3]), labels[-3], namespace)
    entry = zone.entries.get(IMPORTED + key if imported else key)
    if entry is None or not entry.service:
        return None
    return _service(entry, packed.unpack_service(entry.service), options, query, key)


def exposed(zone: Zone, options: Options, namespace: bytes) -> bool:
    """Whether a namespace (label in wire form) exists and is shown."""
    return namespace in zone.namespaces and (not options.namespaces or namespace in options.namespaces)


class _Query(NamedTuple):
    """What stands before the service's label. Empty fields leave the choice open."""

    endpoint: bytes = b""
    port: bytes = b""
    protocol: bytes = b""
    cluster: bytes = b""
    place: bytes = b""
    prefer: bool = False

    def wants(self, port: Port) -> bool:
        return (not self.port or self.port == port.name) and (not self.protocol or self.protocol == port.protocol)


_WHOLE = _Query()


def _parse(labels: list[bytes], *, zonal: bool, imported: bool) -> _Query | None:
    """What the labels before the service ask for; None where that is no form of a name."""
    if not labels:
        return _WHOLE
    if len(labels) == 1:
        return _Query(endpoint=labels[0])
    if len(labels) == 2:
        if imported and not any(label.startswith(b"_") for label in labels):
            return _Query(endpoint=labels[0], cluster=labels[1])
        return _Query(port=labels[0].removeprefix(b"_"), protocol=labels[1].removeprefix(b"_"))
    if not zonal or imported or labels[-1] != b"_zone" or labels[-2] not in (b"pin", b"prefer"):
        return None
    return _Query(place=b".".join(labels[:-2]), prefer=labels[-2] == b"prefer")


def _service(entry: Entry, service: Service, options: Options, query: _Query, key: bytes) -> Found | None:
    target = key + b"\x03svc"
    if service.kind == EXTERNAL:
        wanted = query.endpoint or query.port or query.protocol or query.place
        return Found(alias=service.target, tag=entry.key) if service.target and not wanted else None
    if query.place and service.kind != HEADLESS:
        return None
    if options.ignore_empty and service.kind == CLUSTER and next(_endpoints(entry), None) is None:
        return None
    if service.kind == HEADLESS or query.endpoint:
        hosts = [*_endpoint_hosts(entry, query, target)]
        if not hosts and query.prefer:
            hosts = [*_endpoint_hosts(entry, query._replace(place=b""), target)]
        if hosts or query.place:
            return Found(tuple(hosts), tag=entry.key, named=bool(query.place))
        return None
    ports = [port for port in service.ports if query.wants(port)]
    if not ports:
        return None
    hosts = [Host(address, port.number, target) for port in ports for address in service.addresses]
    return Found(tuple(hosts), tag=entry.key)


def _endpoints(entry: Entry) -> Iterator[Endpoint]:
    for part in entry.slices[1::2]:
        yield from packed.iterate_endpoints(part)


def _endpoint_hosts(entry: Entry, query: _Query, target: bytes) -> Iterator[Host]:
    imported = entry.key.startswith(IMPORTED)
    for part in entry.slices[1::2]:
        ports = [port.number for port in packed.slice_ports(part) if query.wants(port)]
        if not ports:
            continue
        for address, label, place in packed.iterate_endpoints(part):
            if query.endpoint and (query.endpoint != label.lower() or (imported and query.cluster != place)):
                continue
            if query.place and query.place != place:
                continue
            own = packed.wire_labels(label)
            if imported:
                own += b"%c%b" % (len(place), place)
            for port in ports:
                yield Host(address, port, own + target)


def _pod(zone: Zone, options: Options, labels: list[bytes], namespace: bytes) -> Found | None:
    """A pod by its address; labels before it are not looked at, but no more than two may be there (as in CoreDNS)."""
    if options.pods == "disabled" or len(labels) > 5:
        return None
    if len(labels) == 2:
        return Found(tag=namespace)
    label = labels[-3]
    dotted = label.count(b"-") == 3 and b"--" not in label
    try:
        text = label.replace(b"-", b"." if dotted else b":").decode("ascii")
    except UnicodeDecodeError:
        return None
    address = packed.address_of(text)
    if address is None:
        return None
    tag = namespace
    if options.pods == "verified":
        # CoreDNS compares text, so that other spellings of an IPv6 address are nobody's.
        if packed.text_of(address) != text or namespace not in split_labels(zone.pods.get(address, b"")):
            return None
        tag = ADDRESS_TAG + address
    return Found((Host(address, 0, b"%c%b%b\x03pod" % (len(label), label, namespace)),), tag=tag)


def split_labels(joined: bytes) -> list[bytes]:
    """Labels in wire form that were joined, apart again."""
    found = []
    place = 0
    while place < len(joined):
        end = place + 1 + joined[place]
        found.append(joined[place:end])
        place = end
    return found


def reverse_address(folded: bytes, labels: list[bytes]) -> bytes | None:
    """The address whose reverse name has these labels (all of them, folded), None where that is none.

    Up to three more labels before an IPv6 address are not looked at, as in CoreDNS.
    """
    if folded.endswith(IN_ADDR):
        return packed.address_of(b".".join(labels[-3::-1]).decode("ascii", "replace")) if len(labels) == 6 else None
    if folded.endswith(IP6) and 34 <= len(labels) < 38:
        digits = labels[-3:-35:-1]
        if all(digit in _HEX for digit in digits):
            return bytes.fromhex(b"".join(digits).decode())
    return None


def reverse_targets(zone: Zone, options: Options, address: bytes) -> list[bytes]:
    """The names below the primary zone that an address has: its service's, else those of its endpoints."""
    found: dict[bytes, None] = {}
    for entry in zone.holders(address):
        namespace = entry.key[entry.key[0] + 1 :]
        if options.namespaces and not exposed(zone, options, namespace):
            continue
        target = entry.key + b"\x03svc"
        if entry.service and address in packed.unpack_service(entry.service).addresses:
            return [target]
        for part in entry.slices[1::2]:
            if address in part:
                for endpoint in packed.iterate_endpoints(part):
                    if endpoint.address == address:
                        found[packed.wire_labels(endpoint.label) + target] = None
    return [*found]


def own_names(zone: Zone, options: Options) -> list[tuple[bytes, bytes]]:
    """(name below the zone, address) of ourselves: the services that we are endpoints of, else our own addresses.

    A resolver on a node listens on the address of such a service itself.
    """
    found: dict[tuple[bytes, bytes], None] = {}
    known = False
    for address in options.addresses:
        for entry in zone.holders(address):
            parts = [part for part in entry.slices[1::2] if _holds(part, address)]
            service = packed.unpack_service(entry.service) if entry.service else Service(CLUSTER)
            known = known or bool(parts) or address in service.addresses
            target = entry.key + b"\x03svc"
            if service.kind == CLUSTER:
                found.update(((target, own), None) for own in service.addresses)
            elif service.kind == HEADLESS:
                for part in parts:
                    for endpoint in packed.iterate_endpoints(part):
                        name = packed.wire_labels(endpoint.label) + target
                        found[name, endpoint.address] = None
    return [*found] if known else [(b"\x02ns\x03dns", address) for address in options.addresses]


def _holds(part: bytes, address: bytes) -> bool:
    return address in part and any(endpoint.address == address for endpoint in packed.iterate_endpoints(part))
