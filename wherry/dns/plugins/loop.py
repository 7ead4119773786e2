"""`loop`: finds upstreams that lead back here (https://coredns.io/plugins/loop/).

CoreDNS ends its process then, and the cluster has no DNS. Here each upstream is asked by itself for a name nobody else
knows; one from which that question comes back is not used any more. Names of the cluster go on, outside names are
answered by the other upstreams, or with SERVFAIL where none is left. A dropped upstream is asked again every minute.
"""

import asyncio
import logging
import secrets
from typing import Protocol, cast, runtime_checkable

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, Problem, once
from wherry.dns.errors import DnsError
from wherry.dns.message import Message, Question
from wherry.dns.plugin import Base, Next, Reply, Request

log = logging.getLogger(__name__)

_TRIES = 30  # as CoreDNS: an upstream that is silent for about 30 s does not lead anywhere
_PAUSE = 1.0  # seconds between tries
_LONGEST = 40  # octets of the two labels that are put before the zone
_AGAIN = 60.0  # seconds between looks at upstreams that were dropped


@runtime_checkable
class Upstreams(Protocol):
    """A plugin that asks other servers (`forward`)."""

    def upstreams(self) -> list[str]:
        """Their addresses, `10.0.0.1:53`."""

    async def probe(self, address: str, request: Request) -> None:
        """Ask one of them, once; raises OSError, TimeoutError or DnsError where no answer comes."""

    def drop(self, address: str, reason: str) -> None:
        """Ask it no more."""

    def restore(self, address: str) -> None:
        """Ask it again."""


class Loop(Base):
    """Recognises its own questions when they come back, and answers them, so that they go no further."""

    name = "loop"

    def __init__(self, block: Block) -> None:
        self._block = block
        self._zone = block.keys[0].zone
        process = block.config.process
        known = process.state.setdefault(f"loop {block.keys[0].text}", set())
        self._known = cast("set[str]", known)
        self._gauge = process.metrics.gauge(
            "wherry_dns_looping_upstreams", "Upstreams that lead back to this server and are not asked.", ("to",)
        )
        self._asked: set[bytes] = set()
        self._returned: set[bytes] = set()

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Our questions must come here."""
        return frozenset({(self._zone, records.HINFO)})

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on whatever is not our own question."""
        if request.type != records.HINFO or request.folded not in self._asked:
            return await next(request)
        self._returned.add(request.folded)
        return Reply(request.query.reply(), self.name)

    async def start(self) -> None:
        """Begin to look, which works once the server listens."""
        plugins = [plugin for plugin in self._block.plugins.values() if isinstance(plugin, Upstreams)]
        for address in self._known - {address for plugin in plugins for address in plugin.upstreams()}:
            self._known.remove(address)
            self._gauge.remove(address)
        for plugin in plugins:
            for address in dict.fromkeys(plugin.upstreams()):
                self._block.config.spawn(self._watch(plugin, address))

    async def _watch(self, plugin: Upstreams, address: str) -> None:
        if address in self._known:
            # Known from before a reload; nothing goes round until it is looked at again.
            self._drop(plugin, address)
        while await self._leads_back(plugin, address):
            if address not in self._known:
                self._drop(plugin, address)
                self._known.add(address)
                self._block.config.process.report(Problem("UpstreamLoops", self._complaint(address)))
            await asyncio.sleep(_AGAIN)
        if address in self._known:
            self._known.remove(address)
            self._gauge.remove(address)
            plugin.restore(address)
            log.info("plugin/loop: %s does not lead back here any more and is asked again", address)

    def _drop(self, plugin: Upstreams, address: str) -> None:
        plugin.drop(address, "it leads back to this server")
        self._gauge.labels(address).set(1)

    def _complaint(self, address: str) -> str:
        zone = names.to_text(self._zone)
        return (
            f"plugin/loop: Loop ({address}) detected for zone {zone!r}: this upstream is not asked any more. Names of "
            "the cluster are answered; let the resolv.conf that `forward` reads name another server"
        )

    async def _leads_back(self, plugin: Upstreams, address: str) -> bool:
        name = names.join([*_random_labels(), *names.labels(self._zone)])
        self._asked.add(name)
        try:
            for _ in range(_TRIES):
                query = Message(id=secrets.randbelow(65536), recursion_desired=True)
                query.question = Question(name, records.HINFO, records.IN)
                request = Request(query, "127.0.0.1", 0, "127.0.0.1", "udp", "", self._zone)
                try:
                    await plugin.probe(address, request)
                except (OSError, TimeoutError, DnsError) as error:
                    log.debug("plugin/loop: %s does not answer: %s", address, error)
                    if name not in self._returned:
                        await asyncio.sleep(_PAUSE)
                        continue
                return name in self._returned
            return False
        finally:
            self._asked.discard(name)
            self._returned.discard(name)


def _random_labels() -> list[bytes]:
    return [str(secrets.randbelow(1 << 62)).encode() for _ in range(2)]


def setup(directives: list[Directive], block: Block) -> Loop:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    directive.arguments(0)
    if len(block.keys[0].zone) + _LONGEST > names.MAX_NAME:
        raise directive.error(f"zone {names.to_text(block.keys[0].zone)} leaves no room for names to ask for")
    return Loop(block)
