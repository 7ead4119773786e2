"""Keeping the fronts' copies of clusters' names in step with ours.

A zone is known by a number for as long as some configuration uses it; two configurations that follow the same cluster
have the same zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from wherry.dns.front.link import Fronts, Snapshot
from wherry.dns.kubernetes.zone import Change, Zone
from wherry.dns.plugin import Plugin


@runtime_checkable
class Followed(Protocol):
    """The plugin `kubernetes`: names that follow a cluster."""

    zone: Zone

    @property
    def zones(self) -> Iterable[bytes]:
        """The folded names that it serves the cluster under."""

    @property
    def options(self) -> Any:
        """Its options, which pack()."""

    def subscribe(self, listener: Callable[[list[Change], set[bytes]], None]) -> None:
        """Have `listener` called with changes and the tags of what they changed, until the plugin stops."""


class Sharing:
    """The zones of the plugins in force. ``snapshots`` is what fronts that come late are told, by number."""

    def __init__(self) -> None:
        self.snapshots: dict[int, Snapshot] = {}
        self._numbers: dict[Zone, int] = {}
        self._speakers: dict[Zone, Plugin] = {}
        self._wanted: set[int] = set()
        self._next = 1

    def number(self, zone: Zone) -> int:
        """Return a zone's number."""
        if zone not in self._numbers:
            self._numbers[zone] = self._next
            self._next += 1
        return self._numbers[zone]

    def follow(self, plugins: Iterable[Plugin], used: Iterable[int], fronts: Fronts) -> None:
        """Tell fronts from now on what these plugins hear, and nothing else; ``used`` are the zones that plans name."""
        self._speakers = {plugin.zone: plugin for plugin in plugins if isinstance(plugin, Followed)}
        self._numbers = {zone: self.number(zone) for zone in self._speakers}
        self._wanted = set(used)
        for number in set(self.snapshots) - self._wanted:
            del self.snapshots[number]
        for zone, plugin in self._speakers.items():
            assert isinstance(plugin, Followed)
            plugin.subscribe(partial(self._heard, plugin, zone, fronts))
            self._begin(zone, fronts)

    def _begin(self, zone: Zone, fronts: Fronts) -> None:
        """Tell a zone as a whole, where fronts are to have it, it is whole, and they have not got it."""
        number = self._numbers[zone]
        if number in self._wanted and zone.synced and number not in self.snapshots:
            self.snapshots[number] = lambda: (change.pack() for change in zone.snapshot())
            fronts.ready(number)

    def _heard(self, plugin: Plugin, zone: Zone, fronts: Fronts, changes: list[Change], tags: set[bytes]) -> None:
        if self._speakers.get(zone) is not plugin:
            return  # another configuration's plugin tells the same
        number = self._numbers[zone]
        if number in self.snapshots:
            fronts.change(number, [change.pack() for change in changes])
        elif tags and number not in self._wanted:
            fronts.drop(*tags)
        else:
            self._begin(zone, fronts)
