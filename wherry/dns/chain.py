"""The way of a query: to the server block that serves its zone, through that block's plugins, and back.

A router stands for one listening address. A query goes to the block with the longest zone that holds its name; where
several blocks serve the same zone, views choose. A DS query is for the parent's side of a zone cut (RFC 4035
§3.1.4.1) and so goes on to the block of a parent zone where there is one.

Nothing here does I/O: plugins do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.acceptance import bare, finish, limit_of
from wherry.dns.corefile.model import Block
from wherry.dns.errors import ServeError
from wherry.dns.message import Message
from wherry.dns.plugin import Base, MetadataProvider, Next, Plugin, Reply, Request, Step, Transport
from wherry.dns.plugins.metadata import Metadata

log = logging.getLogger(__name__)

#: Plugins that answer questions of classes other than IN.
_OTHER_CLASSES = ("chaos", "forward")
#: Plugins whose part is played by the server itself.
_SEEN_ELSEWHERE = ("prometheus", "metadata")
#: How often an answer may make plugins ask the server itself, one from within another.
_DEEPEST = 10


class Chain:
    """A server block's plugins in their order, ready to be asked."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.plugins: tuple[Plugin, ...] = tuple(block.plugins.values())
        self.describers: tuple[MetadataProvider, ...] = ()
        if any(directive.name == "metadata" for directive in block.directives):
            self.describers = tuple(plugin for plugin in self.plugins if isinstance(plugin, MetadataProvider))
        metadata = block.plugins.get("metadata")
        self._described = tuple(metadata.zones) if isinstance(metadata, Metadata) else (names.ROOT,)
        self.empty = not any(_takes_part(plugin) for plugin in self.plugins)
        self.serve: Next = _end
        for plugin in reversed(self.plugins):
            if type(plugin).serve is not Base.serve:
                self.serve = _link(plugin, self.serve)

    def admits(self, request: Request) -> bool:
        """Whether the block's views let a request in; describes the request for them."""
        if self.describers and any(names.is_within(request.folded, zone) for zone in self._described):
            for plugin in self.describers:
                plugin.describe(request)
        return all(holds(request) for holds in self.block.filters)


def _takes_part(plugin: Plugin) -> bool:
    """Whether CoreDNS' plugin of that name is part of the chain, so that a block of it alone is not empty."""
    return type(plugin).serve is not Base.serve or plugin.name in _SEEN_ELSEWHERE


def _link(plugin: Plugin, then: Next) -> Next:
    async def serve(request: Request) -> Reply | None:
        if request.trace is not None:
            return await _traced(plugin, then, request, request.trace)
        return await plugin.serve(request, then)

    return serve


async def _traced(plugin: Plugin, then: Next, request: Request, trace: list[Step]) -> Reply | None:
    place = len(trace)
    passed = False

    async def pass_on(request: Request) -> Reply | None:
        nonlocal passed
        passed = True
        return await then(request)

    notes: list[str] = []
    trace.append(Step(request.zone, plugin.name, "asked"))
    verdict = "dropped"
    try:
        reply = await plugin.serve(replace(request, notes=notes), pass_on)
        if reply is not None:
            verdict = "passed on" if passed else f"answered {m.rcode_name(reply.message.rcode)}"
    except ServeError as error:
        verdict = "passed on" if passed else f"failed with {m.rcode_name(error.rcode)}: {error.text}".rstrip(": ")
        raise
    finally:
        trace[place] = Step(request.zone, plugin.name, verdict, tuple(notes))
    return reply


async def _end(request: Request) -> Reply | None:
    raise ServeError(m.SERVFAIL, "no next plugin found")


class Router:
    """One listening address and the blocks that serve it; ``server`` is its name in metrics (``dns://:53``).

    ``failed`` is called with the block whose plugin raised what it should not have; the client gets SERVFAIL.
    """

    def __init__(
        self, server: str, blocks: Iterable[tuple[bytes, Block]], *,
        chains: dict[int, Chain] | None = None, failed: Callable[[Block, Exception], None] | None = None,
    ) -> None:  # fmt: skip
        self.server = server
        self.zones: dict[bytes, list[Chain]] = {}
        self._failed = failed or _log_failure
        made = {} if chains is None else chains
        for zone, block in blocks:
            chain = made.get(id(block)) or made.setdefault(id(block), Chain(block))
            self.zones.setdefault(zone, []).append(chain)
        self.other_classes = any(name in chain.block.plugins for chain in self.chains() for name in _OTHER_CLASSES)

    def chains(self) -> Sequence[Chain]:
        """Every chain once, in the order of the Corefile."""
        return list({id(chain): chain for chains in self.zones.values() for chain in chains}.values())

    def chain_of(self, zone: str) -> Chain | None:
        """Return the first chain of a zone, which is given as metrics spell it."""
        return next((chains[0] for name, chains in self.zones.items() if names.to_text(name) == zone), None)

    def request(
        self, query: Message, *, client: str, port: int, local: str, local_port: int, transport: Transport
    ) -> Request:
        """Return a query as plugins see it, not routed yet."""
        return Request(
            query=query, client=client, port=port, local=local, local_port=local_port, transport=transport,
            server=self.server, zone=names.ROOT, limit=limit_of(query, transport),
        )  # fmt: skip

    def route(self, request: Request) -> Chain | None:
        """Choose the chain for a request and note its zone and view there; None where nobody serves the name."""
        parent = None
        zone = names.ROOT
        for zone in names.parents(request.folded):
            if zone == names.ROOT and parent is not None:
                break
            for chain in self.zones.get(zone, ()):
                if chain.empty:
                    return None
                request.zone = zone
                request.view = chain.block.view
                if not chain.admits(request):
                    continue
                if request.type != records.DS or zone == names.ROOT:
                    return chain
                parent = (chain, zone, chain.block.view)
                break
        if parent is None:
            return None
        chain, request.zone, request.view = parent
        return chain

    async def handle(self, request: Request) -> Reply | None:
        """Answer a request: routed, through the chain, finished for its client; None is silence."""
        return await self.run(self.route(request), request)

    async def run(self, chain: Chain | None, request: Request) -> Reply | None:
        """Answer a request by the chain that route() gave; errors become bare rcodes.

        Raises only what a plugin of a block in debug mode raises.
        """
        query = request.query
        if chain is None:
            return Reply(bare(query, m.REFUSED), "")
        try:
            reply = await chain.serve(request)
        except ServeError as error:
            return Reply(bare(query, error.rcode), "")
        except Exception as error:
            self._failed(chain.block, error)
            if chain.block.debug:
                raise
            return Reply(bare(query, m.SERVFAIL), "")
        if reply is None:
            return None
        following = (finish(message, query) for message in reply.following) if reply.following else ()
        return Reply(finish(reply.message, query), reply.plugin, reply.keep, following)

    async def lookup(self, request: Request) -> Reply | None:
        """Answer a plugin's own question, as the target of a CNAME, as if the same client asked it."""
        if request.depth >= _DEEPEST:
            return Reply(bare(request.query, m.SERVFAIL), "")
        return await self.handle(
            replace(request, depth=request.depth + 1, original=request.question, metadata={}, limit=m.MAX_SIZE)
        )


def _log_failure(block: Block, error: Exception) -> None:
    log.error("%s:%d: a plugin failed: %s", block.file, block.line, error, exc_info=error)
