"""What `cache` does to TTLs, also of answers that it does not hold.

Imports next to nothing, as receive loops that answer for the cluster's zone apply it too.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.dns.names import is_within

LOWEST = 5
"""Seconds: CoreDNS keeps nothing for less, and takes this where a reply has no record to say so."""
HIGHEST = 3600
"""Seconds: the most that an answer is kept; denials half as long."""


class Clamp(NamedTuple):
    """Within its zones every TTL of a reply becomes the smallest one, moved into bounds (seconds)."""

    zones: tuple[bytes, ...]
    success: tuple[int, int] = (LOWEST, HIGHEST)
    denial: tuple[int, int] = (LOWEST, HIGHEST // 2)

    def seconds(self, name: bytes, lowest: int | None, *, denial: bool) -> int | None:
        """The TTL of a reply to a folded name whose smallest is ``lowest`` (None: it has no record).

        None is returned for names outside the zones, whose TTLs stay.
        """
        if not any(is_within(name, zone) for zone in self.zones):
            return None
        least, most = self.denial if denial else self.success
        return min(max(LOWEST if lowest is None else min(lowest, most), least), most)
