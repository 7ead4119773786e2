"""A zone's records, found by name (RFC 1034 §4.3.2, RFC 4592)."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from wherry.dns import names, records
from wherry.dns.records import Record

Node = dict[int, list[Record]]
"""The records of one name by type."""


class Zone:
    """One generation of a zone: read once, then never changed.

    SOA and NS of the apex are kept apart from the other records, so that the apex is no delegation.
    """

    def __init__(self, origin: bytes, files: tuple[str, ...] = ()) -> None:
        """Start empty; ``origin`` is folded, ``files`` are those that were read."""
        self.origin = origin
        self.files = files
        self.soa: Record | None = None
        self.apex: Node = {records.NS: []}
        self.nodes: dict[bytes, Node] = {origin: {}}
        self._inner: set[bytes] = set()
        self._sorted: list[tuple[list[bytes], bytes]] | None = None

    @property
    def serial(self) -> int:
        """The SOA's serial."""
        assert self.soa is not None
        return int.from_bytes(self.soa.rdata[-20:-16], "big")

    def insert(self, record: Record) -> None:
        """Add a record."""
        name = record.name.lower()
        covered = int.from_bytes(record.rdata[:2], "big") if record.type == records.RRSIG else record.type
        if name == self.origin and record.type == records.SOA:
            self.soa = record
        elif name == self.origin and covered in (records.SOA, records.NS):
            self.apex.setdefault(record.type, []).append(record)
        else:
            self.nodes.setdefault(name, {}).setdefault(record.type, []).append(record)
            for parent in names.parents(name):
                if parent == self.origin:
                    break
                if parent != name:
                    self._inner.add(parent)
            if name != self.origin:
                self._inner.add(self.origin)

    def has_below(self, name: bytes) -> bool:
        """Whether there are names below this one."""
        return name in self._inner

    def exists(self, name: bytes) -> bool:
        """Whether a name is in the zone, be it only because there are names below it."""
        return name in self.nodes or name in self._inner

    def authority(self, *, signed: bool) -> list[Record]:
        """The NS records of the zone."""
        return self.apex[records.NS] + (self._apex_signatures(records.NS) if signed else [])

    def denial(self, *, signed: bool) -> list[Record]:
        """The SOA record."""
        assert self.soa is not None
        return [self.soa, *(self._apex_signatures(records.SOA) if signed else [])]

    def _apex_signatures(self, kind: int) -> list[Record]:
        return signatures(self.apex, kind)

    def before(self, name: bytes) -> bytes:
        """The last name of the zone in canonical order that does not come after this one (RFC 4034 §6.1)."""
        if self._sorted is None:
            self._sorted = sorted((_order(known), known) for known in self.nodes)
        place = bisect.bisect_right(self._sorted, (_order(name), b"\xff"))
        return self._sorted[max(place - 1, 0)][1]

    def records(self) -> Iterator[Record]:
        """All records for a transfer: the SOA first and last."""
        assert self.soa is not None
        yield from self.denial(signed=True)
        yield from self.authority(signed=True)
        for node in self.nodes.values():
            for section in node.values():
                yield from section
        yield self.soa


def _order(name: bytes) -> list[bytes]:
    return names.labels(name)[::-1]


def signatures(node: Node, kind: int) -> list[Record]:
    """A name's signatures of the records of one type."""
    wanted = kind.to_bytes(2, "big")
    return [record for record in node.get(records.RRSIG, ()) if record.rdata[:2] == wanted]


def of_type(node: Node, kind: int, *, signed: bool) -> list[Record]:
    """A name's records of one type, with their signatures where these are asked for."""
    found = node.get(kind, [])
    return found + signatures(node, kind) if signed and found else list(found)
