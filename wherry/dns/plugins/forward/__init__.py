"""`forward`: asks other DNS servers.

Several directives of a block are tried in the Corefile's order. A block whose upstreams are all gone, or that never had
one, answers SERVFAIL at once: names of the cluster are no matter of upstreams.
"""

from __future__ import annotations

import logging

from wherry.dns.corefile.model import Block, Directive
from wherry.dns.plugin import Base, Next, Reply, Request
from wherry.dns.plugins.forward.options import read
from wherry.dns.plugins.forward.stanza import Stanza
from wherry.dns.plugins.forward.upstream import Upstream

_log = logging.getLogger(__name__)


class Forward(Base):
    """The directives of a block."""

    name = "forward"

    def __init__(self, stanzas: list[Stanza]) -> None:
        """Ask by ``stanzas`` in their order."""
        self.stanzas = stanzas

    async def start(self) -> None:
        """Start each directive."""
        for stanza in self.stanzas:
            await stanza.start()

    async def stop(self) -> None:
        """Close all connections."""
        for stanza in self.stanzas:
            await stanza.stop()

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Forward by the first directive that has the name, and by later ones where it says so."""
        name = request.folded
        stanzas = [stanza for stanza in self.stanzas if stanza.matches(name)]
        for stanza in stanzas:
            reply = await stanza.ask(request)
            # What follows a directive is the next one of the block, whether that has the name or not.
            if stanza is not self.stanzas[-1] and stanza.goes_on(reply.message):
                continue
            return reply
        return await next(request)

    def upstreams(self) -> list[str]:
        """The addresses, with ports, of all upstreams, those that were dropped included."""
        return list(dict.fromkeys(upstream.address for _, upstream in self._all()))

    def drop(self, address: str, reason: str) -> None:
        """Stop asking an upstream."""
        for _, upstream in self._all():
            if upstream.address == address:
                upstream.dropped = reason
        left = sum(not upstream.dropped for _, upstream in self._all())
        _log.warning("forward: upstream %s is not asked any more: %s; %d upstreams are left", address, reason, left)

    def restore(self, address: str) -> None:
        """Ask an upstream again."""
        for _, upstream in self._all():
            if upstream.address == address:
                upstream.dropped = ""

    async def probe(self, address: str, request: Request) -> None:
        """Send a query to one upstream, dropped or not; raises OSError where no reply comes (TimeoutError is one)."""
        for stanza, upstream in self._all():
            if upstream.address == address:
                await stanza.probe(upstream, request)
                return
        raise LookupError(f"{address} is no upstream")

    def _all(self) -> list[tuple[Stanza, Upstream]]:
        return [(stanza, upstream) for stanza in self.stanzas for upstream in stanza.upstreams]


def setup(directives: list[Directive], block: Block) -> Forward:
    """Read all `forward` directives of a block."""
    return Forward([Stanza(directive, read(directive, block), block) for directive in directives])
