"""`kubernetes [ZONES…] { … }`: names of services, endpoints and pods (https://coredns.io/plugins/kubernetes/).

What it says is in `wherry.dns.kubernetes`; this is its place in a chain: the options, names that lead outside of its
zones, readiness, metadata, zone transfers, and word of changes to whoever keeps copies.

Unlike CoreDNS it answers SERVFAIL before it has seen the whole cluster also where `fallthrough` would pass a name on,
so that no name of the cluster is asked for elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator

from prometheus_client import Gauge

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.errors import DnsError
from wherry.dns.kubernetes import transfer
from wherry.dns.kubernetes.answer import Answer, answer, soa_record, zone_of
from wherry.dns.kubernetes.describe import describe, explain
from wherry.dns.kubernetes.lookup import split_labels
from wherry.dns.kubernetes.own import own_addresses
from wherry.dns.kubernetes.packed import address_of
from wherry.dns.kubernetes.settings import Settings, read
from wherry.dns.kubernetes.watch import Listener, Scope, Watch
from wherry.dns.kubernetes.zone import Change, Zone
from wherry.dns.message import REFUSED, Question
from wherry.dns.plugin import Base, Keep, Next, Reply, Request, ServeError
from wherry.dns.records import Record
from wherry.kube.endpoint import ConfigError

_log = logging.getLogger(__name__)
_SAY_WAITING = 0.5
_KEEP = 3600.0
"""Seconds: the tag, not time, ends what is kept."""


class Kubernetes(Base):
    """Answers from a zone that follows an API server.

    `zone`, `options` and subscribe() are for those who answer in our place; all of them mean something once start()
    has returned.
    """

    name = "kubernetes"

    def __init__(self, settings: Settings, directive: Directive, block: Block) -> None:
        self.options = settings.options
        self.zones = settings.options.zones
        self.fallthrough_zones = settings.fallthrough.zones
        self.zone = Zone()
        self._settings = settings
        self._directive = directive
        self._block = block
        self._watch: Watch | None = None
        self._listeners: list[Listener] = []
        self._zone_text = names.to_text(settings.options.primary)

    @property
    def synced(self) -> bool:
        """Whether the zone has been complete once."""
        return self.zone.synced

    def ready(self) -> bool:
        """As synced; never again false."""
        return self.zone.synced

    def subscribe(self, listener: Listener) -> None:
        """Have `listener` called with changes and the tags of what they changed, until stop()."""
        self._listeners.append(listener)

    # -- start and stop ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Follow the server, and wait for a while until the zone is complete. Raises CorefileError."""
        config = self._block.config
        self.options = self.options._replace(addresses=own_addresses(self._block.bind or config.process.bind))
        watch = self._obtain()
        watch.users += 1
        watch.subscribe(self._tell)
        self._watch = watch
        self.zone = watch.zone
        self._ages().labels(self._zone_text).set_function(watch.age)
        self._measured()[self._zone_text] = watch
        config.spawn(watch.run())
        await self._wait(watch)

    async def _wait(self, watch: Watch) -> None:
        left = self._settings.startup_timeout
        while not watch.synced.is_set():
            if left <= 0:
                _log.warning("plugin/kubernetes: starting server with unsynced Kubernetes API")
                return
            pause = min(left, _SAY_WAITING)
            try:
                await asyncio.wait_for(watch.synced.wait(), pause)
            except TimeoutError:
                left -= pause
                if left > 0:
                    _log.info("plugin/kubernetes: waiting for Kubernetes API before starting server")

    async def stop(self) -> None:
        """Leave the zone to the next configuration, if that follows the same."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.unsubscribe(self._tell)
        watch.users -= 1
        shared = self._shared()
        if watch.users:
            return
        if shared.get(watch.scope) is watch:
            del shared[watch.scope]
        if self._measured().get(self._zone_text) is watch:
            del self._measured()[self._zone_text]
            self._ages().remove(self._zone_text)

    def _obtain(self) -> Watch:
        config, scope = self._block.config, self._settings.scope
        shared = self._shared()
        if scope not in shared:
            try:
                endpoint = self._settings.connect()
            except ConfigError as error:
                raise self._directive.error(str(error)) from error
            shared[scope] = Watch(scope, endpoint, config.metrics, config.clock)
        return shared[scope]

    def _shared(self) -> dict[Scope, Watch]:
        """The watches that run, by what they follow."""
        state = self._block.config.process.state.setdefault("kubernetes", {})
        assert isinstance(state, dict)
        return state

    def _measured(self) -> dict[str, Watch]:
        """The watches whose ages are told, by the zone that they are told for."""
        state = self._block.config.process.state.setdefault("kubernetes ages", {})
        assert isinstance(state, dict)
        return state

    def _ages(self) -> Gauge:
        return self._block.config.metrics.gauge(
            "wherry_dns_kubernetes_state_age_seconds",
            "How long ago the names of a zone were last known to be as the API server has them.",
            ["zone"],
        )

    def _tell(self, changes: list[Change], tags: Iterable[bytes]) -> None:
        told = set(tags)
        for listener in self._listeners:
            listener(changes, told)

    # -- answering -----------------------------------------------------------------------------------------------

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer for names in the zones."""
        question = request.question
        found = answer(self.zone, self.options, question) if request.klass == records.IN else None
        if found is None:
            return await next(request)
        if request.notes is not None:
            for text in explain(self.zone, self.options, question):
                request.note(text)
        if found.passes:
            return await next(request)
        if found.rcode == REFUSED:
            raise ServeError(REFUSED, "")
        if found.external is not None:
            return await self._follow(request, found, found.external)
        return self._reply(request, found)

    def _reply(self, request: Request, found: Answer) -> Reply:
        message = request.query.reply(found.rcode)
        message.answer = list(found.answer)
        message.additional = list(found.additional)
        if found.soa:
            message.authority = [soa_record(self.zone, self.options, found.apex)]
        keep = None if found.tag is None else Keep(_KEEP, False, found.tag)
        return Reply(message, self.name, keep)

    async def _follow(self, request: Request, found: Answer, target: bytes) -> Reply:
        """Add what our whole server says to a name outside of the zones; where it is silent there is no answer."""
        asked = request.asking(Question(target, request.type, request.klass))
        beyond = await self._block.config.lookup(asked)
        if beyond is None:
            return self._reply(request, found._replace(answer=(), soa=True))
        reply = self._reply(request, found)
        reply.message.answer += beyond.message.answer
        reply.message.truncated = beyond.message.truncated
        return reply

    # -- for other plugins ---------------------------------------------------------------------------------------

    def describe(self, request: Request) -> None:
        """Metadata ``kubernetes/…``: what the name means and whose pod asks."""
        pods = () if self._watch is None else self._watch.pods.at(address_of(request.client) or b"")
        describe(request, self.options, pods)

    def answers(self, request: Request) -> bool:
        """Whether a query is answered here rather than passed on, for `cache`: what is kept must not hide that."""
        folded = request.folded
        if request.klass != records.IN or zone_of(folded, self.options) is None:
            return False
        if not any(names.is_within(folded, through) for through in self.options.passing):
            return True
        found = answer(self.zone, self.options, request.question)
        return found is not None and not found.passes

    def search_path(self, request: Request) -> list[bytes]:
        """The search list of the pod that asks, for `autopath`; empty where it is not known for certain.

        Only `pods verified` knows pods. An address that pods of several namespaces have tells nothing.
        """
        zone = zone_of(request.folded, self.options)
        namespaces = split_labels(self.zone.pods.get(address_of(request.client) or b"", b""))
        if zone is None or len(namespaces) != 1:
            return []
        return [namespaces[0] + b"\x03svc" + zone, b"\x03svc" + zone, zone]

    def transfer(self, zone: bytes, serial: int | None) -> Iterator[Record] | None:
        """All records of one of the zones (folded), for the plugin `transfer`; None where it is none of them."""
        if zone not in self.options.zones:
            return None
        if not self.zone.synced:
            raise DnsError("the zone is not complete yet")
        return transfer.records_of(self.zone, self.options, zone, serial)


def setup(directives: list[Directive], block: Block) -> Kubernetes:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    return Kubernetes(read(directive, block), directive, block)
