"""What is kept of each kind of object: keys and compiled values, handed on as operations of a change.

Each table knows which keys it holds, so that a new list shows what is gone. Operations that change nothing may be
handed on: the zone sees that.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.dns.kubernetes import compile as compiled
from wherry.dns.kubernetes.objects import Pod, ServiceImport
from wherry.dns.kubernetes.zone import Change
from wherry.kube import objects as o


class Pending:
    """Operations that belong into one change."""

    def __init__(self) -> None:
        self.services: list[tuple[bytes, bytes]] = []
        self.slices: list[tuple[bytes, bytes, bytes]] = []
        self.namespaces: list[tuple[bytes, bool]] = []
        self.pods: list[tuple[bytes, bytes]] = []

    def take(self) -> Change:
        """Everything so far as a change; it is empty afterwards."""
        change = Change(tuple(self.services), tuple(self.slices), tuple(self.namespaces), tuple(self.pods))
        self.__init__()  # type: ignore[misc]
        return change


class Namespaces:
    """Their labels in wire form."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._known: set[bytes] = set()
        self._fresh: set[bytes] = set()

    def begin(self) -> None:
        """All namespaces follow."""
        self._fresh = set()

    def list(self, obj: o.Namespace) -> None:
        """A namespace."""
        if label := compiled.label_of(obj.name):
            self._fresh.add(label)

    def complete(self) -> None:
        """What was not listed is gone."""
        self._pending.namespaces += [(label, False) for label in self._known - self._fresh]
        self._pending.namespaces += [(label, True) for label in self._fresh - self._known]
        self._known, self._fresh = self._fresh, set()

    def put(self, obj: o.Namespace) -> None:
        """A namespace is there."""
        if label := compiled.label_of(obj.name):
            self._known.add(label)
            self._pending.namespaces.append((label, True))

    def remove(self, obj: o.Namespace) -> None:
        """A namespace is gone."""
        label = compiled.label_of(obj.name)
        self._known.discard(label)
        self._pending.namespaces.append((label, False))


class Services:
    """Services, or with `imported` those of other clusters, by the key that they have in the zone."""

    def __init__(self, pending: Pending, *, imported: bool = False) -> None:
        self._pending = pending
        self._imported = imported
        self._known: set[bytes] = set()
        self._fresh: dict[bytes, bytes] = {}

    def begin(self) -> None:
        """All services follow."""
        self._fresh = {}

    def list(self, obj: o.Service | ServiceImport) -> None:
        """A service."""
        if key := self._key(obj):
            self._fresh[key] = _packed(obj)

    def complete(self) -> None:
        """What was not listed is gone."""
        self._pending.services += [(key, b"") for key in self._known - self._fresh.keys()]
        self._pending.services += self._fresh.items()
        self._known, self._fresh = set(self._fresh), {}

    def put(self, obj: o.Service | ServiceImport) -> None:
        """A service is new or has changed."""
        if key := self._key(obj):
            self._known.add(key)
            self._pending.services.append((key, _packed(obj)))

    def remove(self, obj: o.Service | ServiceImport) -> None:
        """A service is gone."""
        key = self._key(obj)
        self._known.discard(key)
        self._pending.services.append((key, b""))

    def _key(self, obj: o.Service | ServiceImport) -> bytes:
        return compiled.key_of(obj.namespace, obj.name, imported=self._imported)


def _packed(obj: o.Service | ServiceImport) -> bytes:
    return compiled.service_import(obj) if isinstance(obj, ServiceImport) else compiled.service(obj)


class Slices:
    """Which service each slice belongs to: its label may change, and then it has to leave the first one."""

    def __init__(
        self, pending: Pending, *, pod_names: bool = False, zonal: bool = False, imported: bool = False
    ) -> None:
        self._pending = pending
        self._pod_names, self._zonal, self._imported = pod_names, zonal, imported
        self._known: dict[tuple[str, bytes], bytes] = {}
        self._fresh: dict[tuple[str, bytes], tuple[bytes, bytes]] = {}

    def begin(self) -> None:
        """All slices follow."""
        self._fresh = {}

    def list(self, obj: o.EndpointSlice) -> None:
        """A slice."""
        if owner := self._owner(obj):
            self._fresh[obj.namespace, obj.name.encode()] = (owner, self._packed(obj))

    def complete(self) -> None:
        """What was not listed is gone."""
        for place in [*self._known]:
            if place not in self._fresh:
                self._leave(place)
        for place, (owner, packed) in self._fresh.items():
            self._put(place, owner, packed)
        self._fresh = {}

    def put(self, obj: o.EndpointSlice) -> None:
        """A slice is new or has changed."""
        place = (obj.namespace, obj.name.encode())
        if owner := self._owner(obj):
            self._put(place, owner, self._packed(obj))
        else:
            self._leave(place)

    def remove(self, obj: o.EndpointSlice) -> None:
        """A slice is gone."""
        self._leave((obj.namespace, obj.name.encode()))

    def _put(self, place: tuple[str, bytes], owner: bytes, packed: bytes) -> None:
        if self._known.get(place, owner) != owner:
            self._leave(place)
        self._known[place] = owner
        self._pending.slices.append((owner, place[1], packed))

    def _leave(self, place: tuple[str, bytes]) -> None:
        if owner := self._known.pop(place, b""):
            self._pending.slices.append((owner, place[1], b""))

    def _owner(self, obj: o.EndpointSlice) -> bytes:
        return compiled.owner(obj, imported=self._imported)

    def _packed(self, obj: o.EndpointSlice) -> bytes:
        return compiled.endpoint_slice(obj, pod_names=self._pod_names, zonal=self._zonal, imported=self._imported)


class PodRow(NamedTuple):
    """A pod as `verified`, `autopath` and metadata need it."""

    namespace: str
    name: str
    addresses: tuple[bytes, ...]
    labels: dict[str, str] | None


class Pods:
    """Pods by name and by address. Several may have one address: those on the host's network."""

    def __init__(self, pending: Pending, *, labels: bool = False) -> None:
        self._pending = pending
        self._labels = labels
        self._known: dict[tuple[str, str], PodRow] = {}
        self._fresh: dict[tuple[str, str], PodRow] = {}
        self._at: dict[bytes, tuple[PodRow, ...]] = {}

    def at(self, address: bytes) -> tuple[PodRow, ...]:
        """The pods that have an address."""
        return self._at.get(address, ())

    def begin(self) -> None:
        """All pods follow."""
        self._fresh = {}

    def list(self, obj: Pod) -> None:
        """A pod."""
        self._fresh[obj.namespace, obj.name] = self._row(obj)

    def complete(self) -> None:
        """What was not listed is gone."""
        for place in self._known.keys() - self._fresh.keys():
            self._set(place, None)
        for place, row in self._fresh.items():
            self._set(place, row)
        self._fresh = {}

    def put(self, obj: Pod) -> None:
        """A pod is new or has changed."""
        self._set((obj.namespace, obj.name), self._row(obj))

    def remove(self, obj: Pod) -> None:
        """A pod is gone."""
        self._set((obj.namespace, obj.name), None)

    def _row(self, obj: Pod) -> PodRow:
        labels = obj.metadata.labels if self._labels else None
        return PodRow(obj.namespace, obj.name, compiled.pod_addresses(obj), labels)

    def _set(self, place: tuple[str, str], row: PodRow | None) -> None:
        old = self._known.get(place)
        if old == row:
            return
        if row is not None:
            self._known[place] = row
        else:
            del self._known[place]
        for address in {*(old.addresses if old else ()), *(row.addresses if row else ())}:
            there = [each for each in self.at(address) if each is not old]
            if row is not None and address in row.addresses:
                there.append(row)
            if there:
                self._at[address] = tuple(there)
            else:
                self._at.pop(address, None)
            labels = dict.fromkeys(compiled.label_of(each.namespace) for each in there)
            self._pending.pods.append((address, b"".join(labels)))
