"""Addresses of the node's pods: one from each of its ranges, in turn, so that none is used again soon.

Where the last one stood is kept on disk, because an address that was free for a second after an agent's restart may
still be in somebody's connection table.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from wherry.net.allocator import NextFitPool
from wherry.net.errors import AlreadyTaken, Exhausted, OutOfRange
from wherry.pods.sandbox.model import Address, Network


class PodAddresses:
    """The pools of one node. Raises the errors of `wherry.net`."""

    def __init__(self, ranges: tuple[Network, ...], *, store: Path) -> None:
        self._store = store
        cursors = _load(store)
        self._pools = [NextFitPool(prefix, cursor=cursors.get(str(prefix))) for prefix in ranges]

    def allocate(self) -> tuple[Address, ...]:
        """One address of each range. Raises `Exhausted`, and takes nothing then."""
        if not self._pools:
            raise Exhausted("the node has no pod range yet")
        addresses: list[Address] = []
        try:
            for pool in self._pools:
                addresses.append(_next(pool))
            self._save()
        except BaseException:
            self.release(addresses)
            raise
        return tuple(addresses)

    def occupy(self, addresses: Iterable[Address]) -> None:
        """Take the addresses a pod has already; one outside of today's ranges stays the pod's and is nobody's."""
        for address in addresses:
            for pool in self._pools:
                try:
                    pool.occupy(address)
                except (OutOfRange, AlreadyTaken):
                    continue

    def release(self, addresses: Iterable[Address]) -> None:
        """Give addresses back."""
        for address in addresses:
            for pool in self._pools:
                if address in pool:
                    pool.release(address)

    def _save(self) -> None:
        cursors = {str(pool.prefix): pool.cursor for pool in self._pools}
        self._store.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._store.with_name(self._store.name + "~")
        temporary.write_bytes(msgspec.json.encode(cursors))
        os.replace(temporary, self._store)


def _next(pool: NextFitPool) -> Address:
    try:
        return pool.allocate()
    except Exhausted as error:
        raise Exhausted(
            f"failed to allocate an address: no IP addresses available in the node's range {pool.prefix} "
            f"(all {pool.size} are taken; delete a pod of this node, or let the next ones go to another)"
        ) from error


def _load(store: Path) -> dict[str, str | None]:
    """Cursors by range; a file that was damaged counts as none, which only costs the memory of recent addresses."""
    try:
        return msgspec.json.decode(store.read_bytes(), type=dict[str, str | None])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
