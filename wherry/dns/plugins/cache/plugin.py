"""The plugin `cache`: what is looked up where, what is kept, and when it is asked for again.

Answers of the cluster's own zones (plugin `kubernetes`) are never stored, as their plugin is at least as fast and never
late: they pass with their TTLs clamped, which is what clients of CoreDNS see. Identical questions in flight wait for
the first of them. The rest is CoreDNS' (RFC 2308 for denials, RFC 8767 for stale answers).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import replace
from typing import Protocol, runtime_checkable

from wherry.dns import names, records
from wherry.dns.corefile.model import Block
from wherry.dns.fallthrough import closest
from wherry.dns.message import MAX_SIZE, NOERROR, NXDOMAIN, QUERY, SERVFAIL, Message
from wherry.dns.plugin import Base, Keep, Next, Reply, Request, ServeError
from wherry.dns.plugins.cache.classify import DENIALS, Kind, answers, cacheable, classify, lowest_ttl
from wherry.dns.plugins.cache.counters import DENIAL, SUCCESS, Counters, count_for
from wherry.dns.plugins.cache.options import Options
from wherry.dns.plugins.cache.store import Item, Key, Store, key_of, with_ttl

_log = logging.getLogger(__name__)
_TRANSFERS = (records.AXFR, records.IXFR)
_OWN = "kubernetes"
_WILDCARD = "zone/wildcard"


@runtime_checkable
class Owner(Protocol):
    """The plugin whose answers need no cache."""

    def answers(self, request: Request) -> bool:
        """Whether it answers this query itself, rather than letting it pass."""


class Flight:
    """A question that is on its way, for those who wait for the same."""

    __slots__ = ("done", "error", "item", "reply", "settled")

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.settled = False
        """Whether it came to an end by itself; else whoever waits tries for himself."""
        self.error: ServeError | None = None
        self.item: Item | None = None
        self.reply: Reply | None = None


class Cache(Base):
    """One block's cache."""

    name = "cache"

    def __init__(self, options: Options, block: Block) -> None:
        """Start empty."""
        self.options = options
        self.clamp = options.clamp
        self._block = block
        self._clock = block.config.clock
        self._stores = {SUCCESS: Store(options.success_capacity), DENIAL: Store(options.denial_capacity)}
        self._flights: dict[object, Flight] = {}
        self._counted: dict[str, Counters] = {}
        self._owner: Owner | None = None

    async def start(self) -> None:
        """Find the plugin of the cluster's zones."""
        owner = self._block.plugins.get(_OWN)
        self._owner = owner if isinstance(owner, Owner) else None

    def credit(self, server: str, kind: str, count: int) -> None:
        """Count ``count`` hits of a kind (``success``, ``denial``) that fronts answered by themselves."""
        counters = self._counters(server)
        counters.requests.inc(count)
        counters.hits[kind].inc(count)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer from a store, or keep what the rest of the chain answers."""
        if request.query.opcode != QUERY or request.type in _TRANSFERS:
            return await next(request)
        if closest(request.folded, self.clamp.zones) is None:
            return await next(request)
        counters = self._counters(request.server)
        counters.requests.inc()
        if self._owner is not None and self._owner.answers(request):
            counters.misses.inc()
            reply = await next(request)
            return None if reply is None else self._passed(request, reply)
        query = request.query
        key = key_of(request.question, dnssec_ok=request.dnssec_ok, checking_disabled=query.checking_disabled)
        now = self._clock()
        item = self._find(key, now)
        if item is None:
            counters.misses.inc()
            return await self._fetch(request, next, key)
        counters.hits[item.kind].inc()
        if item.remaining(now) <= 0:
            if self.options.verify:
                reply = await self._verified(request, next, key, item)
                if reply is not None:
                    return reply
            else:
                self._prefetch(request, next, key, item, stale=True)
            counters.stale.inc()
            request.note("stale")
            return self._reply(request, item, self.options.stale_ttl or (item.ttl if self.options.keep_ttl else 0))
        if self._due(item, now):
            self._prefetch(request, next, key, item, stale=False)
        return self._hit(request, item)

    def _find(self, key: Key, now: float) -> Item | None:
        good = self._stores[SUCCESS].get(key)
        if self.options.prefer_positive and self.options.stale and good is not None:
            best = good if good.answering else good.good
            if best is not None and self._usable(best, now):
                return best
        positive = good if good is not None and self._usable(good, now) else None
        denial = self._stores[DENIAL].get(key)
        if denial is not None and self._usable(denial, now) and not (denial.rcode == SERVFAIL and positive):
            return denial
        return positive

    def _usable(self, item: Item, now: float) -> bool:
        remaining = item.remaining(now)
        return remaining > 0 or -remaining < int(self.options.stale)

    def _hit(self, request: Request, item: Item) -> Reply:
        now = self._clock()
        remaining = item.remaining(now)
        request.note(f"{item.kind}, {remaining} s left")
        reply = self._reply(request, item, item.ttl if self.options.keep_ttl else max(remaining, 0))
        reply.keep = self._keep(item, now)
        return reply

    def _reply(self, request: Request, item: Item, ttl: int) -> Reply:
        if item.wildcard:
            wildcard = item.wildcard
            request.metadata[_WILDCARD] = lambda: wildcard
        authentic = request.dnssec_ok or request.query.authentic
        return Reply(item.message(request.query, ttl, authentic=authentic), self.name)

    def _keep(self, item: Item, now: float) -> Keep | None:
        seconds = item.ttl - (now - item.stored)
        if self.options.prefetch:
            # The query that is to start the refresh, and enough before it to know the item is popular, must come here.
            if item.hits < self.options.prefetch:
                return None
            seconds = min(seconds - self._threshold(item), self.options.prefetch_gap)
            item.last = max(item.last, now + seconds)
        return Keep(seconds, not self.options.keep_ttl, credit=item.kind) if seconds > 0 else None

    def _threshold(self, item: Item) -> int:
        return math.ceil(self.options.prefetch_percentage / 100 * item.ttl)

    def _due(self, item: Item, now: float) -> bool:
        if not self.options.prefetch:
            return False
        item.count(now, self.options.prefetch_gap)
        return item.hits >= self.options.prefetch and item.remaining(now) <= self._threshold(item)

    async def _fetch(self, request: Request, next: Next, key: Key) -> Reply | None:
        way = _way(request, key)
        while (flight := self._flights.get(way)) is not None:
            await flight.done.wait()
            if flight.error is not None:
                raise ServeError(flight.error.rcode, flight.error.text)
            if flight.item is not None:
                return self._hit(request, flight.item)
            if flight.settled:
                # What cannot be stored may be for that client alone.
                reply = await next(_authenticated(request))
                return None if reply is None else self._take(request, reply, key)[0]
            # Whoever asked gave up; another one of those who waited may have the answer by now.
            item = self._find(key, self._clock())
            if item is not None and item.remaining(self._clock()) > 0:
                return self._hit(request, item)
        return await self._lead(request, next, key, way)

    async def _lead(self, request: Request, next: Next, key: Key, way: object) -> Reply | None:
        flight = self._flights[way] = Flight()
        try:
            reply = await next(_authenticated(request))
            if reply is not None:
                reply, flight.item = self._take(request, reply, key)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            flight.settled = True
            flight.error = error if isinstance(error, ServeError) else None
            raise
        else:
            flight.settled = True
            return reply
        finally:
            del self._flights[way]
            flight.done.set()

    def _passed(self, request: Request, reply: Reply) -> Reply:
        message = reply.message
        kind = classify(message, time.time())
        ttl = self._ttl(request.folded, message, kind)
        sections = (message.answer, message.authority, message.additional)
        if not message.authentic and all(record.ttl == ttl for section in sections for record in section):
            return reply
        return replace(reply, message=_shown(request, message, ttl))

    def _ttl(self, name: bytes, message: Message, kind: Kind) -> int:
        if kind is Kind.FAILURE:
            return self.options.failure_ttl
        ttl = self.clamp.seconds(name, lowest_ttl(message, kind), denial=kind in DENIALS)
        return 0 if ttl is None else ttl

    def _take(self, request: Request, reply: Reply, key: Key, *, renewal: bool = False) -> tuple[Reply, Item | None]:
        """What goes to the client of a new reply, and the item that holds it where it was stored."""
        if reply.plugin == _OWN:
            return self._passed(request, reply), None
        message = reply.message
        kind = classify(message, time.time())
        ttl = self._ttl(key[0], message, kind)
        shown = _shown(request, message, ttl)
        item = None
        if ttl > 0 and cacheable(message, kind):
            if _matches(message, key):
                item = self._store(request, message, kind, ttl, key, renewal=renewal)
            else:
                self._counters(request.server).drops.inc()
        keep = self._keep(item, self._clock()) if item is not None and _repeatable(shown) else None
        return replace(reply, message=shown, keep=keep), item

    def _store(
        self, request: Request, message: Message, kind: Kind, ttl: int, key: Key, *, renewal: bool
    ) -> Item | None:
        which = DENIAL if kind in DENIALS else SUCCESS
        if closest(key[0], self.options.no_denial if which == DENIAL else self.options.no_success) is not None:
            return None
        wildcard = request.metadata.get(_WILDCARD)
        item = Item(message, which, ttl, self._clock(), wildcard() if wildcard else "")
        store = self._stores[which]
        counters = self._counters(request.server)
        if which == SUCCESS:
            if self.options.prefer_positive and not item.answering and (before := store.get(key)) is not None:
                item.good = before if before.answering else before.good
            if item.answering if self.options.prefer_positive else renewal:
                self._stores[DENIAL].remove(key)
        counters.evictions[which].inc(store.add(key, item))
        for name, each in self._stores.items():
            counters.entries[name].set(len(each))
        return item

    def _prefetch(self, request: Request, next: Next, key: Key, item: Item, *, stale: bool) -> None:
        recheck = self.options.recheck if stale else 0.0
        if not item.begin_refresh(self._clock(), recheck):
            return
        self._counters(request.server).prefetches.inc()
        # Nobody waits, so that the whole answer may be fetched: TCP leaves nothing out.
        detached = replace(request, transport="tcp", limit=MAX_SIZE, metadata={}, notes=None)
        self._block.config.spawn(self._refresh(detached, next, key, item, recheck, stale=stale))

    async def _refresh(
        self, request: Request, next: Next, key: Key, item: Item, recheck: float, *, stale: bool
    ) -> None:
        refreshed = not stale
        try:
            if stale:
                refreshed = (await self._renewed(request, next, key))[0] is not None
            else:
                reply = await next(_authenticated(request))
                if reply is not None:
                    self._take(request, reply, key, renewal=True)
        except ServeError as error:
            _log.debug("cache: %s was not refreshed: %s", names.to_text(key[0]), error.text)
        except Exception:
            # A client's own query would be answered by SERVFAIL; here there is nobody to answer.
            _log.exception("cache: %s was not refreshed", names.to_text(key[0]))
        finally:
            item.end_refresh(self._clock(), recheck, refreshed=refreshed)
        if refreshed:
            for store in (self._stores[DENIAL], self._stores[SUCCESS]):
                if (successor := store.get(key)) is not None:
                    successor.hits, successor.last = item.hits, self._clock()
                    break

    async def _verified(self, request: Request, next: Next, key: Key, item: Item) -> Reply | None:
        """A reply fresher than a stale item, None where the item has to do."""
        recheck = self.options.recheck
        way = (_way(request, key), "verify")
        flight = self._flights.get(way)
        if flight is None:
            if not item.begin_refresh(self._clock(), recheck):
                return None
            flight = self._flights[way] = Flight()
            detached = replace(request, metadata=dict(request.metadata), notes=None)
            self._block.config.spawn(self._verify(detached, next, key, item, way, flight))
        elif recheck:
            return None
        try:
            async with asyncio.timeout(self.options.verify_timeout or None):
                await flight.done.wait()
        except TimeoutError:
            return None
        if flight.item is not None:
            return self._hit(request, flight.item)
        if flight.reply is not None:
            return replace(flight.reply, message=_addressed(request, flight.reply.message))
        return None

    async def _verify(self, request: Request, next: Next, key: Key, item: Item, way: object, flight: Flight) -> None:
        try:
            flight.reply, flight.item = await self._renewed(request, next, key)
        except Exception:
            _log.exception("cache: %s was not verified", names.to_text(key[0]))
        finally:
            del self._flights[way]
            item.end_refresh(self._clock(), self.options.recheck, refreshed=flight.reply is not None)
            flight.done.set()

    async def _renewed(self, request: Request, next: Next, key: Key) -> tuple[Reply | None, Item | None]:
        """Ask again for a stale item: only what may take its place is returned and, as a rule, stored (RFC 8767 §5)."""
        try:
            reply = await next(_authenticated(request))
        except ServeError:
            return None, None
        if reply is None or reply.message.truncated or not _matches(reply.message, key):
            return None, None
        kind = classify(reply.message, time.time())
        if self.options.prefer_positive:
            taken = self._take(request, reply, key, renewal=True)
            return taken if kind is Kind.SUCCESS and answers(reply.message) else (None, None)
        if kind is Kind.OTHER or reply.message.rcode not in (NOERROR, NXDOMAIN):
            return None, None
        return self._take(request, reply, key, renewal=True)

    def _counters(self, server: str) -> Counters:
        found = self._counted.get(server)
        if found is None:
            found = self._counted[server] = count_for(server, self.clamp.zones, self._block)
        return found


def _way(request: Request, key: Key) -> object:
    """What two queries must share for one reply to serve both, also a reply that depends on the client's limits."""
    edns = request.query.edns
    size = None if edns is None else (edns.size, edns.options)
    return key, request.transport, size, request.query.recursion_desired


def _authenticated(request: Request) -> Request:
    """The request with AD set (RFC 6840 §5.7), so that what is stored tells whether it was validated."""
    return replace(request, query=request.query.copy(authentic=True))


def _matches(message: Message, key: Key) -> bool:
    question = message.question
    return question is not None and (question.name.lower(), question.type, question.klass) == key[:3]


def _shown(request: Request, message: Message, ttl: int) -> Message:
    """A reply as the client gets it: one TTL everywhere, AD only for those who understand it (RFC 6840 §5.8)."""
    return message.copy(
        authentic=message.authentic and (request.dnssec_ok or request.query.authentic),
        answer=with_ttl(message.answer, ttl),
        authority=with_ttl(message.authority, ttl),
        additional=with_ttl(message.additional, ttl),
    )


def _repeatable(message: Message) -> bool:
    """Whether a new reply already looks as it will from the store: AA set, without what an upstream told one client."""
    return message.authoritative and (message.edns is None or not message.edns.options)


def _addressed(request: Request, message: Message) -> Message:
    """A reply to one query as the reply to an equal one."""
    return message.copy(id=request.query.id, question=request.question)
