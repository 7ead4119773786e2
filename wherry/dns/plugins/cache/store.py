"""Where cached replies lie: bounded by their number and by their size."""

from __future__ import annotations

import random

from wherry.dns.message import Message, Question
from wherry.dns.plugins.cache.classify import answers
from wherry.dns.records import Record

Key = tuple[bytes, int, int, bool, bool]
"""Folded name, type, class, DO and CD."""

SHARDS = 256
BYTES_EACH = 1664
"""Memory that a store takes for each entry of its capacity: 16 MB at CoreDNS' default capacity."""
_CANDIDATES = 4


class Item:
    """One reply, its lifetime in whole seconds, and how often it was asked for.

    ``answering`` says that it answers its question; ``good`` is the last item that did, kept while a later reply that
    does not lies in its place (`serve_stale_policy prefer_positive`).
    """

    __slots__ = (
        "additional",
        "answer",
        "answering",
        "authentic",
        "authority",
        "good",
        "hits",
        "kind",
        "last",
        "place",
        "rcode",
        "recursion_available",
        "refreshing",
        "retry_at",
        "size",
        "stored",
        "ttl",
        "wildcard",
    )

    def __init__(self, message: Message, kind: str, ttl: int, now: float, wildcard: str = "") -> None:
        """Take a reply over for the store ``kind``; ``wildcard`` is the name in a zone that it was made from."""
        self.kind = kind
        self.rcode = message.rcode
        self.authentic = message.authentic
        self.recursion_available = message.recursion_available
        self.answer = tuple(message.answer)
        self.authority = tuple(message.authority)
        self.additional = tuple(message.additional)
        self.answering = answers(message)
        self.wildcard = wildcard
        self.good: Item | None = None
        self.ttl = ttl
        self.stored = now
        self.hits = 0
        self.last = float("-inf")
        self.refreshing = False
        self.retry_at = float("-inf")
        self.place = -1
        self.size = _size(self.answer) + _size(self.authority) + _size(self.additional)

    def remaining(self, now: float) -> int:
        """Seconds of life left as TTLs show it: none or negative once it has expired."""
        return self.ttl - int(now - self.stored)

    def count(self, now: float, gap: float) -> None:
        """Count a hit; a pause of more than ``gap`` seconds starts anew."""
        self.hits = 1 if self.last < now - gap else self.hits + 1
        self.last = max(self.last, now)

    def begin_refresh(self, now: float, recheck: float) -> bool:
        """Claim the one refresh at a time; False while one runs or the last failed under ``recheck`` seconds ago."""
        if self.refreshing or (recheck > 0 and now < self.retry_at):
            return False
        self.refreshing = True
        return True

    def end_refresh(self, now: float, recheck: float, *, refreshed: bool) -> None:
        """Give the refresh back."""
        self.retry_at = float("-inf") if refreshed or not recheck else now + recheck
        self.refreshing = False

    def message(self, query: Message, ttl: int, *, authentic: bool) -> Message:
        """The reply to a query, every TTL set; AA is always set, since some resolvers throw other answers away."""
        reply = query.reply(self.rcode)
        reply.authentic = self.authentic and authentic
        reply.recursion_available = self.recursion_available
        reply.answer = with_ttl(self.answer, ttl)
        reply.authority = with_ttl(self.authority, ttl)
        reply.additional = with_ttl(self.additional, ttl)
        return reply


def with_ttl(section: tuple[Record, ...] | list[Record], ttl: int) -> list[Record]:
    """Copy records with another TTL."""
    return [Record(name, kind, ttl, rdata, klass) for name, kind, _, rdata, klass in section]


def _size(section: tuple[Record, ...]) -> int:
    return sum(200 + len(record.name) + len(record.rdata) for record in section)


class Store:
    """Items under keys. When it is full, the one of a few random items that expires first gives way."""

    def __init__(self, capacity: int) -> None:
        """Hold up to ``capacity`` items as CoreDNS rounds it: a multiple of 256, at least 1024."""
        self.capacity = max(capacity // SHARDS, 4) * SHARDS
        self._room = self.capacity * BYTES_EACH
        self._items: dict[Key, Item] = {}
        self._keys: list[Key] = []

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Key) -> Item | None:
        """The item under a key, expired or not."""
        return self._items.get(key)

    def add(self, key: Key, item: Item) -> int:
        """Put an item under a key; return how many others had to go."""
        self.remove(key)
        item.size += 400 + len(key[0])
        self._room -= item.size
        evicted = 0
        while self._keys and (len(self._keys) >= self.capacity or self._room < 0):
            self._evict()
            evicted += 1
        item.place = len(self._keys)
        self._keys.append(key)
        self._items[key] = item
        return evicted

    def _evict(self) -> None:
        candidates = (random.choice(self._keys) for _ in range(_CANDIDATES))
        self.remove(min(candidates, key=lambda key: self._items[key].stored + self._items[key].ttl))

    def remove(self, key: Key) -> None:
        """Forget a key."""
        item = self._items.pop(key, None)
        if item is None:
            return
        self._room += item.size
        last = self._keys.pop()
        if item.place < len(self._keys):
            self._keys[item.place] = last
            self._items[last].place = item.place


def key_of(question: Question, *, dnssec_ok: bool, checking_disabled: bool) -> Key:
    """The key of a question."""
    return (question.name.lower(), question.type, question.klass, dnssec_ok, checking_disabled)
