"""Numbered slots that are free or taken: the bookkeeping below every allocator.

Memory follows what is taken, not the size: 2^64 slots cost nothing while free, a million taken ones 130 KB. Finding
a free slot looks at 4096 at a time.
"""

from typing import Final

_CHUNK: Final = 4096
_FULL: Final = (1 << _CHUNK) - 1


class Slots:
    """Slots 0 to `size` - 1, all free at first."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"{size} slots")
        self.size = size
        self.taken = 0
        """How many are taken."""
        self._chunks: dict[int, int] = {}

    def __contains__(self, slot: int) -> bool:
        """Say whether a slot is taken."""
        chunk, bit = divmod(slot, _CHUNK)
        return bool(self._chunks.get(chunk, 0) >> bit & 1)

    def take(self, slot: int) -> bool:
        """Take a slot; False if it was taken already. Raises IndexError."""
        if not 0 <= slot < self.size:
            raise IndexError(slot)
        chunk, bit = divmod(slot, _CHUNK)
        bits = self._chunks.get(chunk, 0)
        if bits >> bit & 1:
            return False
        self._chunks[chunk] = bits | 1 << bit
        self.taken += 1
        return True

    def free(self, slot: int) -> bool:
        """Free a slot; False if it was free already."""
        chunk, bit = divmod(slot, _CHUNK)
        bits = self._chunks.get(chunk, 0)
        if not bits >> bit & 1:
            return False
        bits ^= 1 << bit
        if bits:
            self._chunks[chunk] = bits
        else:
            del self._chunks[chunk]
        self.taken -= 1
        return True

    def first_free(self, start: int, stop: int) -> int | None:
        """Return the lowest free slot in [start, stop), or None."""
        slot = start
        while slot < stop:
            chunk, bit = divmod(slot, _CHUNK)
            if open_bits := (self._chunks.get(chunk, 0) ^ _FULL) >> bit:
                found = slot + (open_bits & -open_bits).bit_length() - 1
                return found if found < stop else None
            slot = (chunk + 1) * _CHUNK
        return None

    def next_free(self, start: int, stop: int, cursor: int) -> int | None:
        """Return the first free slot from `cursor` on, going round within [start, stop), or None."""
        if not start <= cursor < stop:
            cursor = start
        found = self.first_free(cursor, stop)
        return self.first_free(start, cursor) if found is None else found
