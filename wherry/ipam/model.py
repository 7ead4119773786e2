"""Which node owns which pod ranges: the state of node range allocation. Pure; no I/O, no clock.

One pool per cluster CIDR, in the order in which they were given; a node gets one range of each or none at all.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wherry.net.allocator import RangePool
from wherry.net.errors import Exhausted
from wherry.net.types import IPNetwork

MASK_SIZES: Mapping[int, int] = {4: 24, 6: 64}
"""The prefix length of a node's range by IP version, where nothing else is asked for."""


class Owner(NamedTuple):
    """A node that has ranges; a node deleted and made anew has another uid."""

    uid: str
    ranges: tuple[IPNetwork, ...]


class NodeRanges:
    """The ranges of all nodes. Raises ValueError for cluster CIDRs that overlap or cannot hold the mask sizes."""

    def __init__(
        self,
        cluster_cidrs: Iterable[IPNetwork],
        *,
        mask_sizes: Mapping[int, int] = MASK_SIZES,
        service_cidrs: Iterable[IPNetwork] = (),
    ) -> None:
        self._pools: list[RangePool] = []
        for prefix in cluster_cidrs:
            if any(prefix.version == pool.prefix.version and prefix.overlaps(pool.prefix) for pool in self._pools):
                raise ValueError(f"the cluster CIDR {prefix} overlaps another")
            self._pools.append(RangePool(prefix, mask_sizes[prefix.version]))
        self._services = tuple(service_cidrs)
        for pool in self._pools:
            for service in self._services:
                pool.exclude(service)
        self._owners: dict[str, Owner] = {}

    def owner(self, node: str) -> Owner | None:
        """Return what a node owns."""
        return self._owners.get(node)

    def occupy(self, node: str, uid: str, ranges: tuple[IPNetwork, ...]) -> list[str]:
        """Record the ranges that a node has, whoever gave them; return in words what is wrong with them.

        They are the node's, however wrong: pods have their addresses from them.
        """
        if self._owners.get(node) == Owner(uid, ranges):
            return []
        self.release(node)
        problems: list[str] = []
        for network in ranges:
            pool = self._pool(network)
            if pool is None:
                problems.append(f"{network} is not in any cluster CIDR")
                continue
            if other := next((name for name, owner in self._owners.items() if _touches(owner, network)), None):
                problems.append(f"{network} overlaps the range of node {other}")
            pool.exclude(network)
        self._owners[node] = Owner(uid, ranges)
        return problems

    def allocate(self, node: str, uid: str) -> tuple[IPNetwork, ...]:
        """Return the node's ranges, new ones (one of each cluster CIDR) where it has none.

        Raises Exhausted when a cluster CIDR is full; then nothing is taken from the others.
        """
        if (owner := self._owners.get(node)) is not None:
            if owner.uid == uid:
                return owner.ranges
            self.release(node)
        got: list[IPNetwork] = []
        try:
            for pool in self._pools:
                got.append(pool.allocate())
        except Exhausted:
            for pool, network in zip(self._pools, got, strict=False):
                pool.release(network)
            raise
        self._owners[node] = Owner(uid, tuple(got))
        return self._owners[node].ranges

    def release(self, node: str) -> bool:
        """Give back what a node owns; return whether that was anything."""
        owner = self._owners.pop(node, None)
        if owner is None:
            return False
        for network in owner.ranges:
            pool = self._pool(network)
            if pool is None:
                continue
            pool.release(network)
            # What others (or the services) hold of the freed blocks stays taken: ranges that were not made here may
            # overlap, or share a block.
            freed = network.supernet(new_prefix=min(pool.length, network.prefixlen))
            for held in (*self._services, *(one for other in self._owners.values() for one in other.ranges)):
                if _overlap(held, freed):
                    pool.exclude(held)
        return bool(owner.ranges)

    def _pool(self, network: IPNetwork) -> RangePool | None:
        return next((pool for pool in self._pools if _overlap(pool.prefix, network)), None)


def _overlap(a: IPNetwork, b: IPNetwork) -> bool:
    return a.version == b.version and a.overlaps(b)


def _touches(owner: Owner, network: IPNetwork) -> bool:
    return any(_overlap(held, network) for held in owner.ranges)
