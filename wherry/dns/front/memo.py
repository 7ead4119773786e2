"""Answers that are given again as they are: octets of a query (without its id) to octets of its reply.

Guarantees:

* **Bounded.** There are two generations: what is used moves to the young one, and when that is full, the old one goes
  and the young one becomes old. Denials, whose names anyone can make up, have a small place of their own.
* **Dropped by tag.** An answer is filed under the tags of what it depends on; `drop` forgets all that have one.
* **Counted.** Whatever leaves is first given to ``settle``, as its hits are what metrics are made of.

A *slot* is a set of sockets for which the same octets mean the same reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Generic, NamedTuple, TypeVar

GENERATION = 12 << 20
"""Octets, roughly, of a generation."""
DENIALS = 8192
"""Denials kept at a time."""
_OVERHEAD = 360


class Label(NamedTuple):
    """What an answer counts under; see `protocol.Row`."""

    server: int
    zone: str
    view: str
    transport: str
    family: int
    type: int
    dnssec_ok: bool
    rcode: int
    plugin: str
    credit: str = ""


class Entry:
    """One answer: its variants, which take turns, without their ids, and the tags of what makes it untrue.

    ``until`` is when somebody must look at it again (`time.monotonic`).
    """

    __slots__ = ("hits", "label", "replies", "tags", "until")

    def __init__(self, replies: tuple[bytes, ...], label: Label, tags: tuple[bytes, ...], until: float = inf) -> None:
        self.hits = 0
        self.until = until
        self.replies = replies
        self.label = label
        self.tags = tags

    def refresh(self, now: float) -> bool:
        """Whether this is still good now."""
        return self.until > now


class FallingEntry(Entry):
    """An answer whose TTLs fall each second from when it was made until it expires.

    ``places`` are the offsets of TTLs in each variant.
    """

    __slots__ = ("_expires", "_made", "_originals", "_places")

    def __init__(
        self,
        replies: tuple[bytes, ...],
        label: Label,
        tags: tuple[bytes, ...],
        *,
        made: float,
        expires: float,
        places: tuple[tuple[int, ...], ...],
    ) -> None:
        super().__init__(replies, label, tags, min(made + 1, expires))
        self._made = made
        self._expires = expires
        self._originals = replies
        self._places = places

    def refresh(self, now: float) -> bool:
        """Whether this is still good now, with TTLs brought up to date."""
        if self.until > now:
            return True
        if now >= self._expires:
            return False
        elapsed = int(now - self._made)
        replies = []
        for original, places in zip(self._originals, self._places, strict=True):
            reply = bytearray(original)
            for at in places:
                ttl = int.from_bytes(original[at : at + 4], "big")
                reply[at : at + 4] = max(ttl - elapsed, 0).to_bytes(4, "big")
            replies.append(bytes(reply))
        self.replies = tuple(replies)
        self.until = min(self._made + elapsed + 1, self._expires)
        return True


Settle = Callable[[bytes, Entry], None]
Item = TypeVar("Item")


class Generations(Generic[Item]):
    """Dictionaries, one for each slot, of which what is not used is lost in time."""

    def __init__(self, leave: Callable[[bytes, Item], None], room: int) -> None:
        self.young: list[dict[bytes, Item]] = []
        self._old: list[dict[bytes, Item]] = []
        self._tags: dict[bytes, list[tuple[int, bytes]]] = {}
        self._old_tags: dict[bytes, list[tuple[int, bytes]]] = {}
        self._leave = leave
        self._room = room
        self._used = 0

    def widen(self, slots: int) -> None:
        """Have at least so many slots."""
        while len(self.young) < slots:
            self.young.append({})
            self._old.append({})

    def put(self, slot: int, key: bytes, item: Item, tags: tuple[bytes, ...], size: int) -> None:
        """Take an item in; ``size`` is about its octets."""
        self._used += size + _OVERHEAD
        if self._used > self._room:
            self._turn()
            self._used = size + _OVERHEAD
        replaced = self.young[slot].get(key)
        if replaced is not None:
            self._leave(key, replaced)
        self.young[slot][key] = item
        for tag in tags:
            self._tags.setdefault(tag, []).append((slot, key))

    def find(self, slot: int, key: bytes) -> tuple[Item, bool] | None:
        """The item, and whether it is a young one; what is old and still good should be `put` again."""
        item = self.young[slot].get(key)
        if item is not None:
            return item, True
        item = self._old[slot].get(key)
        return None if item is None else (item, False)

    def remove(self, slot: int, key: bytes) -> None:
        """Forget one item, if it is there."""
        for generation in (self.young, self._old):
            item = generation[slot].pop(key, None)
            if item is not None:
                self._leave(key, item)

    def drop(self, tags: Iterable[bytes]) -> None:
        """Forget what depends on any of these."""
        for tag in tags:
            for filed in (self._tags, self._old_tags):
                for slot, key in filed.pop(tag, ()):
                    self.remove(slot, key)

    def clear(self) -> None:
        """Forget everything."""
        self._turn()
        self._turn()
        self._used = 0

    def visit(self) -> None:
        """Let every item settle without leaving."""
        for generation in (self.young, self._old):
            for items in generation:
                for key, item in items.items():
                    self._leave(key, item)

    def _turn(self) -> None:
        for items in self._old:
            for key, item in items.items():
                self._leave(key, item)
        self._old, self._old_tags = self.young, self._tags
        self.young, self._tags = [{} for _ in self._old], {}


class Memo(Generations[Entry]):
    """Whole replies by their queries, and denials aside. Keys are queries without their ids."""

    def __init__(self, settle: Settle, room: int = GENERATION) -> None:
        super().__init__(settle, room)
        self._settle = settle
        self.denials: list[dict[bytes, Entry]] = []
        self._denied = 0

    def widen(self, slots: int) -> None:
        """Have at least so many slots."""
        super().widen(slots)
        while len(self.denials) < slots:
            self.denials.append({})

    def keep(self, slot: int, key: bytes, entry: Entry) -> None:
        """Take an answer in."""
        self.put(slot, key, entry, entry.tags, len(key) + sum(map(len, entry.replies)))

    def current(self, slot: int, key: bytes, now: float) -> Entry | None:
        """The answer to a query, brought up to date; None where there is none (any more)."""
        entry = self.denials[slot].get(key)
        if entry is not None:
            return self._fresh(slot, key, entry, now)
        found = self.find(slot, key)
        if found is None:
            return None
        entry, young = found
        if self._fresh(slot, key, entry, now) is None:
            return None
        if not young:
            self.keep(slot, key, entry)
        return entry

    def deny(self, slot: int, key: bytes, entry: Entry) -> None:
        """Keep a denial until anything changes."""
        if self._denied >= DENIALS:
            self.forget_denials()
        self._denied += 1
        self.denials[slot][key] = entry

    def forget_denials(self) -> None:
        """Something changed, and what did not exist may exist now."""
        for denied in self.denials:
            for key, entry in denied.items():
                self._settle(key, entry)
            denied.clear()
        self._denied = 0

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self.forget_denials()

    def visit(self) -> None:
        """Let every entry settle without leaving."""
        super().visit()
        for denied in self.denials:
            for key, entry in denied.items():
                self._settle(key, entry)

    def _fresh(self, slot: int, key: bytes, entry: Entry, now: float) -> Entry | None:
        if entry.refresh(now):
            return entry
        self.remove(slot, key)
        gone = self.denials[slot].pop(key, None)
        if gone is not None:
            self._settle(key, gone)
        return None
