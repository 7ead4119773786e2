"""Everything a zone holds, for zone transfers (RFC 5936): the records that CoreDNS transfers.

Names of pods are none of them, as they are computed, nor are reverse names, nor what `zonal` answers. Records are told
one by one and only while they are asked for; what changes meanwhile may be in it or not, as with any transfer.
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.dns import names, records
from wherry.dns.kubernetes import packed
from wherry.dns.kubernetes.answer import soa_record
from wherry.dns.kubernetes.lookup import IN_ADDR, IP6, Options, exposed, own_names
from wherry.dns.kubernetes.packed import CLUSTER, EXTERNAL, NO_PORT, Port
from wherry.dns.kubernetes.zone import IMPORTED, Entry, Zone
from wherry.dns.records import Record


def records_of(zone: Zone, options: Options, apex: bytes, serial: int | None) -> Iterator[Record]:
    """SOA, the records, SOA; or only one SOA where the `serial` that an IXFR brought is this zone's or newer."""
    soa = soa_record(zone, options, apex)
    yield soa
    # RFC 1982: serials are compared on a circle.
    if serial is not None and (serial - zone.serial) % 2**32 < 2**31:
        return
    own = own_names(zone, options)
    for server in dict.fromkeys(below + apex for below, _ in own):
        yield records.ns(apex, options.ttl, server)
    told = {_address(below + apex, options.ttl, address) for below, address in own}
    yield from told
    if not apex.endswith((IN_ADDR, IP6)):
        imported = apex in options.imported
        for key in sorted(zone.entries):
            entry = zone.entries.get(key)
            if entry is None or not entry.service or key.startswith(IMPORTED) != imported:
                continue
            if not exposed(zone, options, _namespace(key)):
                continue
            for record in dict.fromkeys(_service(entry, options, apex)):
                if record not in told and len(record.name) <= names.MAX_NAME:
                    yield record
    yield soa


def _namespace(key: bytes) -> bytes:
    key = key.removeprefix(IMPORTED)
    return key[key[0] + 1 :]


def _service(entry: Entry, options: Options, apex: bytes) -> Iterator[Record]:
    ttl = options.ttl
    service = packed.unpack_service(entry.service)
    name = entry.key.removeprefix(IMPORTED) + b"\x03svc" + apex
    if service.kind == EXTERNAL:
        if service.target:
            yield records.cname(name, ttl, service.target)
        return
    if service.kind == CLUSTER:
        for address in service.addresses:
            yield _address(name, ttl, address)
        for port in service.ports:
            if port.number == NO_PORT:
                continue
            yield records.srv(name, ttl, 0, 100, port.number, name)
            if port.name:
                yield records.srv(_port_name(port, name), ttl, 0, 100, port.number, name)
        return
    for part in entry.slices[1::2]:
        endpoints = [*packed.iterate_endpoints(part)]
        weight = max(1, int(100.0 / (100.0 * len(endpoints)) * 100)) if endpoints else 0
        ports = [port for port in packed.slice_ports(part) if port.name and port.number != NO_PORT]
        for address, label, place in endpoints:
            yield _address(name, ttl, address)
            below = packed.wire_labels(label)
            if entry.key.startswith(IMPORTED):
                below += b"%c%b" % (len(place), place)
            if len(below + name) > names.MAX_NAME:
                continue
            yield _address(below + name, ttl, address)
            for port in ports:
                yield records.srv(_port_name(port, name), ttl, 0, weight, port.number, below + name)


def _port_name(port: Port, name: bytes) -> bytes:
    return b"%c_%b%c_%b%b" % (len(port.name) + 1, port.name, len(port.protocol) + 1, port.protocol, name)


def _address(name: bytes, ttl: int, address: bytes) -> Record:
    return Record(name, records.A if len(address) == 4 else records.AAAA, ttl, address)
