"""What names of a cluster exist: a compact index that changes step by step, the same in the back and in every front.

A service and its slices are found under their key, which is their part of the DNS name in wire form: `web` in
`default` is ``b"\\x03web\\x07default"``. Keys that begin with `IMPORTED` are services of other clusters
(https://github.com/kubernetes-sigs/mcs-api).

Guarantees:

* **A change is applied as a whole**, and applying it again changes nothing.
* **apply() returns tags**: whoever keeps an answer drops it when its tag is returned. Tags are keys; `b"@"` and an
  address; a namespace's label in wire form; and `b""`, which every effective change returns.
* **What is not known is not there**: slices may come before their service and outlast it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wherry.dns.kubernetes.packed import slice_endpoints, unpack_service

IMPORTED = b"\xff"
"""The first octet of keys of imported services; no label is that long."""

ADDRESS_TAG = b"@"
"""Begins the tags of addresses; it is more than a label's length octet can be."""

STEP = 100
"""Operations of a kind in a change that goes to other processes: a few milliseconds' work."""


class Change(NamedTuple):
    """What is different from now on; empty bytes say that something is gone."""

    services: tuple[tuple[bytes, bytes], ...] = ()
    """(key, packed service)."""
    slices: tuple[tuple[bytes, bytes, bytes], ...] = ()
    """(key of the service, name of the slice, packed slice)."""
    namespaces: tuple[tuple[bytes, bool], ...] = ()
    """(label in wire form, whether it exists)."""
    pods: tuple[tuple[bytes, bytes], ...] = ()
    """(address, labels in wire form of all namespaces that have a pod with it)."""
    serial: int = -1
    """The SOA serial from now on; negative: as it was."""
    synced: bool | None = None
    """Whether the zone has been complete once; None: as it was."""

    def steps(self) -> Iterator[Change]:
        """The same as changes of at most `STEP` operations, so that no reader is held up for long."""
        for start in range(0, max(map(len, self[:4])), STEP):
            part = slice(start, start + STEP)
            yield Change(self.services[part], self.slices[part], self.namespaces[part], self.pods[part])
        if self.serial >= 0 or self.synced is not None:
            yield Change(serial=self.serial, synced=self.synced)

    def pack(self) -> tuple[Any, ...]:
        """As tuples, bytes and numbers, for another process."""
        return tuple(self)

    @classmethod
    def unpack(cls, packed: tuple[Any, ...]) -> Change:
        """What pack() gave."""
        return cls(*packed)


class Entry:
    """A service as far as it is known: packed, and the names and packed forms of its slices in turn."""

    __slots__ = ("key", "service", "slices")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.service = b""
        self.slices: tuple[bytes, ...] = ()

    def addresses(self) -> set[bytes]:
        """Every address under which reverse lookups find it."""
        found = set(unpack_service(self.service).addresses) if self.service else set()
        for packed in self.slices[1::2]:
            found |= {endpoint.address for endpoint in slice_endpoints(packed)}
        return found

    def has(self, address: bytes) -> bool:
        """Whether addresses() has this one, found out without listing them all."""
        if address in self.service and address in unpack_service(self.service).addresses:
            return True
        return any(
            address in packed and any(address == endpoint.address for endpoint in slice_endpoints(packed))
            for packed in self.slices[1::2]
        )


class Zone:
    """The index. Only `apply` changes it; readers look things up in the attributes."""

    __slots__ = ("_holders", "entries", "namespaces", "pods", "serial", "synced")

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.namespaces: set[bytes] = set()
        self.pods: dict[bytes, bytes] = {}
        self.serial = 0
        self.synced = False
        # Numbers take less room than bytes as keys, and most addresses have one holder.
        self._holders: dict[int, Entry | tuple[Entry, ...]] = {}

    def holders(self, address: bytes) -> tuple[Entry, ...]:
        """The services that have an address, as their own or as an endpoint's."""
        found = self._holders.get(_number(address), ())
        return (found,) if isinstance(found, Entry) else found

    def apply(self, change: Change) -> set[bytes]:
        """Take a change over; the tags of what is different now."""
        tags: set[bytes] = set()
        for label, exists in change.namespaces:
            self._set_namespace(label, exists, tags)
        for key, packed in change.services:
            self._set_service(key, packed, tags)
        for key, name, packed in change.slices:
            self._set_slice(key, name, packed, tags)
        for address, labels in change.pods:
            self._set_pod(address, labels, tags)
        if change.serial >= 0 and change.serial != self.serial:
            self.serial = change.serial
            tags.add(b"")
        if change.synced is not None and change.synced != self.synced:
            self.synced = change.synced
            tags.add(b"")
        return tags

    def snapshot(self) -> Iterator[Change]:
        """Changes that make an empty zone equal to this one; each is small."""
        entries = self.entries.values()
        yield from Change(
            tuple((entry.key, entry.service) for entry in entries if entry.service),
            tuple(
                (entry.key, name, packed)
                for entry in entries
                for name, packed in zip(entry.slices[::2], entry.slices[1::2], strict=True)
            ),
            tuple((label, True) for label in self.namespaces),
            tuple(self.pods.items()),
            self.serial,
            self.synced,
        ).steps()

    def _set_namespace(self, label: bytes, exists: bool, tags: set[bytes]) -> None:
        if exists == (label in self.namespaces):
            return
        (self.namespaces.add if exists else self.namespaces.discard)(label)
        tags |= {b"", label}
        tags.update(ADDRESS_TAG + address for address, labels in self.pods.items() if label in labels)
        for entry in self.entries.values():
            if entry.key.endswith(label):
                tags.add(entry.key)
                tags.update(ADDRESS_TAG + address for address in entry.addresses())

    def _set_service(self, key: bytes, packed: bytes, tags: set[bytes]) -> None:
        entry = self._entry(key, create=bool(packed))
        if entry is None or entry.service == packed:
            return
        before = set(unpack_service(entry.service).addresses) if entry.service else set()
        after = set(unpack_service(packed).addresses) if packed else set()
        entry.service = packed
        self._index(entry, before, after)
        # The service decides how its endpoints' addresses resolve only where it has them as its own.
        tags.update(ADDRESS_TAG + address for address in before ^ after)
        tags |= {b"", key}
        self._forget(entry)

    def _set_slice(self, key: bytes, name: bytes, packed: bytes, tags: set[bytes]) -> None:
        entry = self._entry(key, create=bool(packed))
        if entry is None:
            return
        names = entry.slices[::2]
        at = 2 * names.index(name) if name in names else len(entry.slices)
        old = entry.slices[at + 1] if at < len(entry.slices) else b""
        if old == packed:
            return
        before = slice_endpoints(old) if old else set()
        after = slice_endpoints(packed) if packed else set()
        entry.slices = entry.slices[:at] + ((name, packed) if packed else ()) + entry.slices[at + 2 :]
        self._index(entry, {endpoint.address for endpoint in before}, {endpoint.address for endpoint in after})
        tags.update(ADDRESS_TAG + endpoint.address for endpoint in before ^ after)
        tags |= {b"", key}
        self._forget(entry)

    def _set_pod(self, address: bytes, labels: bytes, tags: set[bytes]) -> None:
        if self.pods.get(address, b"") == labels:
            return
        if labels:
            self.pods[address] = labels
        else:
            del self.pods[address]
        tags |= {b"", ADDRESS_TAG + address}

    def _entry(self, key: bytes, *, create: bool) -> Entry | None:
        entry = self.entries.get(key)
        if entry is None and create:
            entry = self.entries[key] = Entry(key)
        return entry

    def _forget(self, entry: Entry) -> None:
        if not entry.service and not entry.slices:
            del self.entries[entry.key]

    def _index(self, entry: Entry, before: set[bytes], after: set[bytes]) -> None:
        """File an entry under addresses that came, and no longer under those that it has lost altogether."""
        if entry.key.startswith(IMPORTED) or before == after:
            return
        for address in before - after:
            if entry.has(address):
                continue
            number = _number(address)
            rest = tuple(holder for holder in self.holders(address) if holder is not entry)
            if not rest:
                self._holders.pop(number, None)
            else:
                self._holders[number] = rest[0] if len(rest) == 1 else rest
        for address in after - before:
            there = self.holders(address)
            if entry not in there:
                self._holders[_number(address)] = (*there, entry) if there else entry


def _number(address: bytes) -> int:
    """A number for an address; those of IPv6 are above all of IPv4."""
    return int.from_bytes(address, "big") if len(address) == 4 else int.from_bytes(b"\x01" + address, "big")
