"""How a zone keeps a service and a slice: one `bytes` each, so that fifty thousand endpoints take a few megabytes.

A service is its kind, addresses and ports (or the target of an ExternalName); a slice its ports and endpoints. An
endpoint without a hostname takes five bytes. Packing happens once for each object, unpacking whenever an answer is
worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct
from typing import NamedTuple

CLUSTER, HEADLESS, EXTERNAL = 0, 1, 2
"""Kinds of services: with addresses of their own, without, and names of something elsewhere."""

NO_PORT = -1
"""The port of a service or slice that names none: its names exist, but there is nothing for SRV to say."""

_NUMBER = Struct("!H")
_LABEL, _PLACE = 0x20, 0x40
_MAPPED = bytes(10) + b"\xff\xff"


class Port(NamedTuple):
    """A port: number, name and protocol, both folded; the name is empty where the object has none."""

    number: int
    name: bytes
    protocol: bytes


class Service(NamedTuple):
    """A service; `target` is the wire name of an ExternalName, empty where it is none that DNS can give."""

    kind: int
    addresses: tuple[bytes, ...] = ()
    ports: tuple[Port, ...] = ()
    target: bytes = b""


class Endpoint(NamedTuple):
    """A ready endpoint: its address, the label it is found under, and where it is.

    `place` is a topology zone (option `zonal`), or the cluster that the slice comes from (option `multicluster`).
    """

    address: bytes
    label: bytes
    place: bytes = b""


_PORTLESS = (Port(NO_PORT, b"", b""),)


def address_of(text: str) -> bytes | None:
    """The 4 or 16 bytes of an address, None where the text is none; an IPv4-mapped one is IPv4, as Go has it."""
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def text_of(address: bytes) -> str:
    """An address as people write it."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def label_of(address: bytes) -> bytes:
    """The label of an endpoint that has no hostname: its address with hyphens."""
    if len(address) == 4:
        return b"%d-%d-%d-%d" % (*address,)
    label = text_of(address).replace(":", "-").encode()
    return label + b"0" if label.endswith(b"-") else label


def wire_labels(label: bytes) -> bytes:
    """An endpoint's label in wire form; dots, which the names of pods may have, divide labels as in CoreDNS."""
    if b"." not in label:
        return b"%c%b" % (len(label), label)
    return b"".join(b"%c%b" % (len(part), part) for part in label.split(b".") if part)


def _pack_port(port: Port) -> bytes:
    return b"%b%c%b%c%b" % (
        _NUMBER.pack(max(port.number, 0)),
        len(port.name),
        port.name,
        len(port.protocol),
        port.protocol,
    )


def _unpack_port(packed: bytes, place: int) -> tuple[Port, int]:
    number = packed[place] << 8 | packed[place + 1]
    middle = place + 3 + packed[place + 2]
    end = middle + 1 + packed[middle]
    return Port(number or NO_PORT, packed[place + 3 : middle], packed[middle + 1 : end]), end


def pack_service(service: Service) -> bytes:
    """A service as one `bytes`; it has at most 255 addresses."""
    if service.kind == EXTERNAL:
        return b"%c%b" % (EXTERNAL, service.target)
    addresses = b"".join(b"%c%b" % (len(address), address) for address in service.addresses)
    return b"%c%c%b%b" % (service.kind, len(service.addresses), addresses, b"".join(map(_pack_port, service.ports)))


def unpack_service(packed: bytes) -> Service:
    """The service that was packed; one that has no ports has the port NO_PORT."""
    kind = packed[0]
    if kind == EXTERNAL:
        return Service(EXTERNAL, target=packed[1:])
    place = 2
    addresses = []
    for _ in range(packed[1]):
        end = place + 1 + packed[place]
        addresses.append(packed[place + 1 : end])
        place = end
    ports = []
    while place < len(packed):
        port, place = _unpack_port(packed, place)
        ports.append(port)
    return Service(kind, tuple(addresses), tuple(ports) or _PORTLESS)


def pack_slice(ports: Iterable[Port], endpoints: Iterable[Endpoint]) -> bytes:
    """A slice as one `bytes`."""
    listed = tuple(ports)
    parts = [_NUMBER.pack(len(listed)), *map(_pack_port, listed)]
    for address, label, place in endpoints:
        flags = len(address)
        tail = b""
        if label != label_of(address):
            flags |= _LABEL
            tail = b"%c%b" % (len(label), label)
        if place:
            flags |= _PLACE
            tail += b"%c%b" % (len(place), place)
        parts.append(b"%c%b%b" % (flags, address, tail))
    return b"".join(parts)


def _ports(packed: bytes) -> tuple[tuple[Port, ...], int]:
    place = 2
    ports = []
    for _ in range(packed[0] << 8 | packed[1]):
        port, place = _unpack_port(packed, place)
        ports.append(port)
    return (tuple(ports) or _PORTLESS), place


def slice_ports(packed: bytes) -> tuple[Port, ...]:
    """The ports of a slice; one that names none has the port NO_PORT."""
    return _ports(packed)[0]


def slice_endpoints(packed: bytes) -> set[Endpoint]:
    """The endpoints of a slice."""
    return set(iterate_endpoints(packed))


def iterate_endpoints(packed: bytes) -> Iterator[Endpoint]:
    """The endpoints of a slice in its order."""
    place = _ports(packed)[1]
    size = len(packed)
    while place < size:
        flags = packed[place]
        start = place + 1
        place = start + (flags & 0x1F)
        address = packed[start:place]
        if flags & _LABEL:
            start, place = place + 1, place + 1 + packed[place]
            label = packed[start:place]
        else:
            label = label_of(address)
        where = b""
        if flags & _PLACE:
            start, place = place + 1, place + 1 + packed[place]
            where = packed[start:place]
        yield Endpoint(address, label, where)
