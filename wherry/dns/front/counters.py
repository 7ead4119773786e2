"""What a front answered by itself, added up by label until the back asks for it."""

from __future__ import annotations

from bisect import bisect_left

from wherry.dns.front.memo import Entry, Label
from wherry.dns.front.protocol import SIZES, Row


class Counters:
    """Sums by label. Durations are not measured one by one: the time of whole batches is shared out evenly."""

    def __init__(self) -> None:
        self._sums: dict[Label, _Sum] = {}
        self._queries = 0
        self.busy = 0.0
        """Seconds spent on queries since the last `take`."""

    def add(self, label: Label, request: int, response: int, queries: int = 1) -> None:
        """Count queries that were alike; sizes in octets."""
        total = self._sums.get(label)
        if total is None:
            total = self._sums[label] = _Sum()
        total.add(request, response, queries)
        self._queries += queries

    def settle(self, key: bytes, entry: Entry) -> None:
        """Count the uses of a kept answer; ``key`` is the query without its id."""
        if entry.hits:
            self.add(entry.label, len(key) + 2, len(entry.replies[0]) + 2, entry.hits)
            entry.hits = 0

    def take(self) -> list[Row]:
        """All sums; from now on they start at nothing."""
        each = self.busy / max(self._queries, 1)
        rows = [total.row(label, each) for label, total in self._sums.items()]
        self._sums = {}
        self._queries = 0
        self.busy = 0.0
        return rows


class _Sum:
    __slots__ = ("queries", "request_bytes", "request_sizes", "response_bytes", "response_sizes")

    def __init__(self) -> None:
        self.queries = self.request_bytes = self.response_bytes = 0
        self.request_sizes = [0] * (len(SIZES) + 1)
        self.response_sizes = [0] * (len(SIZES) + 1)

    def add(self, request: int, response: int, queries: int) -> None:
        self.queries += queries
        self.request_bytes += request * queries
        self.response_bytes += response * queries
        self.request_sizes[bisect_left(SIZES, request)] += queries
        self.response_sizes[bisect_left(SIZES, response)] += queries

    def row(self, label: Label, each: float) -> Row:
        return Row(
            *label,
            queries=self.queries,
            seconds=each * self.queries,
            request_bytes=self.request_bytes,
            request_sizes=tuple(self.request_sizes),
            response_bytes=self.response_bytes,
            response_sizes=tuple(self.response_sizes),
        )
