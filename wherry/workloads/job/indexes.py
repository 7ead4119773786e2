"""Sets of completion indexes, written compactly as Kubernetes writes them: ``1,3-5,7``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Indexes:
    """Indexes as ranges: ordered, apart from each other, both ends included."""

    ranges: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(indexes: Iterable[int]) -> Indexes:
        """The set of some indexes, in any order."""
        return _merged((index, index) for index in indexes)

    @staticmethod
    def parse(text: str, completions: int) -> Indexes:
        """What ``text`` says, without indexes that a job of so many completions does not have.

        Parts that are not numbers are left out: the text may have been written by hand.
        """
        found = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            if first.isdecimal() and (last.isdecimal() if dash else not last):
                found.append((int(first), min(int(last or first), completions - 1)))
        return _merged((low, high) for low, high in found if low <= high)

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and any(low <= index <= high for low, high in self.ranges)

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self.ranges)

    def __or__(self, other: Indexes) -> Indexes:
        return _merged((*self.ranges, *other.ranges))

    def __and__(self, other: Indexes) -> Indexes:
        pairs = ((max(a, c), min(b, d)) for a, b in self.ranges for c, d in other.ranges)
        return _merged((low, high) for low, high in pairs if low <= high)

    def __str__(self) -> str:
        return ",".join(_text(low, high) for low, high in self.ranges)

    def missing(self, completions: int) -> Iterator[int]:
        """The indexes below ``completions`` that are not in the set, in order."""
        start = 0
        for low, high in self.ranges:
            yield from range(start, min(low, completions))
            start = high + 1
        yield from range(start, completions)


def _text(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low},{high}" if high == low + 1 else f"{low}-{high}"


def _merged(ranges: Iterable[tuple[int, int]]) -> Indexes:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return Indexes(tuple(merged))
