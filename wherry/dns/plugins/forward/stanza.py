"""One `forward` directive at work: which upstream is asked, in which order, how often."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import socket
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, Problem
from wherry.dns.errors import MessageError
from wherry.dns.fallthrough import closest
from wherry.dns.message import FORMERR, NOERROR, REFUSED, SERVFAIL, Message, Question
from wherry.dns.plugin import Reply, Request, ServeError
from wherry.dns.plugins.forward.options import Options
from wherry.dns.plugins.forward.targets import Target
from wherry.dns.plugins.forward.upstream import Counters, Upstream

if TYPE_CHECKING:
    from prometheus_client import Counter

_log = logging.getLogger(__name__)
_PATIENCE = 5.0
"""Seconds for all tries of a query together: what clients wait."""
_QUIET = 60.0
"""Seconds between two words in the log that there is no upstream."""
_RESOLVE_AGAIN = (1.0, 60.0)
"""Seconds until an upstream's name is looked up again, at first and at most."""
_BREATH = 0.05
"""Seconds between tries whose number has no limit."""
_LOCAL = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Errors that say nothing about an upstream."""


class Stanza:
    """All that belongs to one directive."""

    def __init__(self, directive: Directive, options: Options, block: Block) -> None:
        """Make the upstreams; nothing is opened."""
        self.options = options
        self._where = f"{directive.file}:{directive.line}"
        self._process = block.config.process
        self._clock = block.config.clock
        self._config = block.config
        self._counters = Counters(block.config.metrics)
        self._broken: Counter = block.config.metrics.counter(
            "coredns_forward_healthcheck_broken", "Counter of the number of complete failures of the healthchecks."
        )
        self._rejects: Counter = block.config.metrics.counter(
            "coredns_forward_max_concurrent_rejects",
            "Counter of the number of queries rejected because the concurrent queries were at maximum.",
        )
        self._unresolved = [target for target in options.targets if target.is_name()]
        self.upstreams = [self._upstream(target) for target in options.targets if not target.is_name()]
        self._flying = 0
        self._robin = 0
        self._said = float("-inf")

    def _upstream(self, target: Target) -> Upstream:
        return Upstream(target, self.options, self._clock, self._counters, lambda check: self._config.spawn(check))

    async def start(self) -> None:
        """Say where there is no upstream, and look names up."""
        for target in self._unresolved:
            self._config.spawn(self._resolve(target))
        if not self.options.targets:
            text = (
                f"{self._where}: forward has no upstream ({'; '.join(self.options.sources)}): other names get SERVFAIL"
            )
            self._process.report(Problem("NoUpstream", text))

    async def stop(self) -> None:
        """Close all connections."""
        for upstream in self.upstreams:
            await upstream.close()

    def matches(self, name: bytes) -> bool:
        """Whether a folded name is for these upstreams."""
        if closest(name, self.options.zones) is None:
            return False
        return name in self.options.zones or closest(name, self.options.excepted) is None

    def goes_on(self, message: Message) -> bool:
        """Whether a reply is to be asked of the next directive instead."""
        if message.rcode in self.options.next:
            return True
        return self.options.next_on_nodata and message.rcode == NOERROR and not message.answer

    async def ask(self, request: Request) -> Reply:
        """Forward a query; raises ServeError where no upstream gave a reply."""
        if self._flying >= self.options.max_concurrent:
            self._rejects.inc()
            raise ServeError(REFUSED, f"concurrent queries exceeded maximum {self.options.max_concurrent}")
        self._flying += 1
        try:
            return Reply(await self._ask(request), "forward")
        finally:
            self._flying -= 1

    async def _ask(self, request: Request) -> Message:
        usable = self._usable()
        deadline = self._clock() + _PATIENCE
        attempts = self.options.attempts
        left = 2 * len(usable) if attempts is None else attempts or None
        failovers = 0
        trouble: Exception | None = None
        for upstream in self._order(usable):
            if self._clock() >= deadline or left == 0:
                break
            request.metadata["forward/upstream"] = partial(str, upstream.address)
            try:
                reply = await self._exchange(upstream, request, deadline)
            except (OSError, MessageError) as error:
                if isinstance(error, OSError) and error.errno in _LOCAL:
                    raise ServeError(SERVFAIL, f"{upstream.address}: {error.strerror}") from error
                trouble = error
                request.note(f"{upstream.address}: {_words(error)}")
                if self.options.max_fails:
                    upstream.check()
                if left is None:
                    await asyncio.sleep(_BREATH)
                else:
                    left -= 1
                continue
            if not _matches(request, reply):
                return request.query.reply(FORMERR).copy(authoritative=False)
            if reply.rcode in self.options.failover:
                failovers += 1
                if failovers < len(usable):
                    continue
            request.note(f"answered by {upstream.address}")
            return reply.copy(question=request.question)
        if trouble is None:
            raise ServeError(SERVFAIL, "no healthy proxies")
        raise ServeError(SERVFAIL, f"{upstream.address}: {_words(trouble)}") from trouble

    def _usable(self) -> list[Upstream]:
        usable = [upstream for upstream in self.upstreams if not upstream.dropped]
        if usable:
            return usable
        now = self._clock()
        if now < self._said + _QUIET:
            raise ServeError(SERVFAIL, "")
        self._said = now
        reasons = [f"{upstream.address}: {upstream.dropped}" for upstream in self.upstreams]
        reasons += [f"{target.host} is not resolved yet" for target in self._unresolved]
        raise ServeError(SERVFAIL, f"no upstream ({'; '.join(reasons or self.options.sources)})")

    def _order(self, usable: list[Upstream]) -> Iterator[Upstream]:
        """The upstreams as the policy puts them, again and again, those that are down left out while others are up."""
        order = usable
        if self.options.policy == "random" and len(usable) > 1:
            order = random.sample(usable, len(usable))
        elif self.options.policy == "round_robin":
            self._robin = (self._robin + 1) % len(usable)
            order = [usable[self._robin], *usable[: self._robin], *usable[self._robin + 1 :]]
        while True:
            up = [upstream for upstream in order if not upstream.down()]
            if up:
                yield from up
                continue
            # The checks themselves may be what fails: anyone may still answer.
            self._broken.inc()
            if self.options.failfast:
                return
            yield random.choice(usable)

    async def _exchange(self, upstream: Upstream, request: Request, deadline: float) -> Message:
        options = self.options
        tcp = options.force_tcp or (request.transport != "udp" and not options.prefer_udp)
        reply = await upstream.ask(request.query, "tcp" if tcp else "udp", deadline - self._clock())
        if reply.truncated and options.prefer_udp and not tcp:
            reply = await upstream.ask(request.query, "tcp", deadline - self._clock())
        return reply

    async def probe(self, upstream: Upstream, request: Request) -> None:
        """Send a query to one upstream, whatever it says; raises OSError (TimeoutError is one)."""
        try:
            await upstream.ask(request.query, "tcp" if self.options.force_tcp else "udp", _PATIENCE)
        except MessageError as error:
            raise OSError(f"{upstream.address}: {error}") from error

    async def _resolve(self, target: Target) -> None:
        """Look an upstream's name up until that gives addresses; they take part from then on."""
        pause, longest = _RESOLVE_AGAIN
        reported = False
        while True:
            try:
                found = await self._addresses(target.host)
            except (OSError, MessageError, UnicodeError) as error:
                if not reported:
                    text = f"{self._where}: upstream {target.host} does not resolve and is not asked: {_words(error)}"
                    self._process.report(Problem("UpstreamUnresolved", text))
                    reported = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
                continue
            known = {upstream.address for upstream in self.upstreams}
            for host in found:
                resolved = target._replace(host=host)
                if resolved.address not in known:
                    self.upstreams.append(self._upstream(resolved))
            self._unresolved.remove(target)
            _log.info("forward: upstream %s is %s", target.host, ", ".join(found))
            return

    async def _addresses(self, host: str) -> list[str]:
        if not self.options.resolvers:
            rows = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(row[4][0]) for row in rows))
        trouble: Exception = OSError(f"no addresses found for {host}")
        for resolver in self.options.resolvers:
            upstream = self._upstream(resolver)
            found = []
            try:
                for kind in (records.A, records.AAAA):
                    query = Message(recursion_desired=True, question=Question(names.from_text(host), kind))
                    reply = await upstream.ask(query, "udp", _PATIENCE)
                    found += [records.rdata_text(record) for record in reply.answer if record.type == kind]
            except (OSError, MessageError) as error:
                trouble = error
            finally:
                await upstream.close()
            if found:
                return found
        raise trouble


def _matches(request: Request, reply: Message) -> bool:
    question = reply.question
    if question is None or not reply.response:
        return False
    return question.name.lower() == request.folded and question.type == request.type


def _words(error: Exception) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
