"""`autopath [ZONES…] FILE|@kubernetes`: goes through a client's search list for it (https://coredns.io/plugins/autopath/).

A resolver tries a name with every suffix of its search list and asks anew for each. A query for the first of them is
answered here by the first suffix that exists, as an alias of the name that was asked for. Where none does, the answer
is the first one, and the client goes on by itself.

The list is that of a file like /etc/resolv.conf, or with `@kubernetes` that of the client's pod, which takes
`pods verified` there. Which pod asks is told by the address that a query comes from: behind address translation, or
for a pod on its host's network, nothing is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.corefile.zones import zones_of
from wherry.dns.fallthrough import closest
from wherry.dns.message import NXDOMAIN, Message, Question
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError
from wherry.dns.records import Record

_log = logging.getLogger(__name__)
_HOST = Path("/etc/resolv.conf")


@runtime_checkable
class SearchPath(Protocol):
    """A plugin that knows clients' search lists."""

    def search_path(self, request: Request) -> list[bytes]:
        """The suffixes (folded) of the client's search list that the plugin answers for; empty: unknown."""


class AutoPath(Base):
    """Tries the suffixes of a search list within one query."""

    name = "autopath"

    def __init__(self, zones: list[bytes], source: str, directive: Directive, block: Block) -> None:
        """Read the directive, and the file if it names one; raises CorefileError."""
        self.transparent = not source.startswith("@")
        self._zones = tuple(zones)
        self._plugin = "" if self.transparent else source[1:]
        self._directive = directive
        self._block = block
        self._search: Callable[[Request], list[bytes]] = _unknown
        self._succeeded = block.config.metrics.counter(
            "coredns_autopath_success_total", "Counter of requests that did autopath.", ["server"]
        )
        if self.transparent:
            try:
                fixed = [*search_of(block.config.path(source).read_text()), names.ROOT]
            except (OSError, UnicodeDecodeError) as error:
                raise directive.error(f"failed to parse '{source}': {error}") from error
            self._search = lambda _: fixed

    async def start(self) -> None:
        """Find the plugin that knows search lists. Raises CorefileError."""
        if self.transparent:
            return
        plugin = self._block.plugins.get(self._plugin)
        where = f"{self._directive.file}:{self._directive.line}"
        if plugin is None:
            _log.warning("plugin/autopath: %s: does nothing, as this block has no %s", where, self._plugin)
            return
        if not isinstance(plugin, SearchPath):
            raise self._directive.error(f"plugin {self._plugin} knows no search lists; @kubernetes does")
        try:
            host = search_of(_HOST.read_text())
        except (OSError, UnicodeDecodeError) as error:
            _log.warning("plugin/autopath: search lists end without this host's: %s", error)
            host = []
        search = plugin.search_path

        def of_pod(request: Request) -> list[bytes]:
            found = search(request)
            return [*found, *host, names.ROOT] if found else []

        self._search = of_pod

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer by the first suffix under which the name exists."""
        folded = request.folded
        search = self._search(request) if closest(folded, self._zones) is not None else []
        if not search or folded == search[0] or not names.is_within(folded, search[0]):
            return await next(request)
        asked = request.question
        base = asked.name[: len(asked.name) - len(search[0])]
        first: Reply | ServeError | None = None
        for place, suffix in enumerate(search):
            name = base + suffix
            if len(name) > names.MAX_NAME:
                continue
            try:
                reply = await next(request.asking(Question(name, asked.type, asked.klass)))
            except ServeError as error:
                if error.text:
                    raise
                first = error if place == 0 else first
                continue
            if reply is None:
                return None
            if reply.message.rcode != NXDOMAIN:
                self._succeeded.labels(request.server).inc()
                request.note(f"{names.to_text(asked.name)} exists as {names.to_text(name)}")
                return Reply(_as_asked(reply.message, asked), reply.plugin)
            first = reply if place == 0 else first
        if isinstance(first, ServeError):
            raise first
        return None if first is None else Reply(first.message.copy(question=asked), first.plugin)


def _unknown(request: Request) -> list[bytes]:
    return []


def _as_asked(message: Message, asked: Question) -> Message:
    """The answer under the name that was asked for, by an alias where it has another."""
    copy = message.copy(question=asked)
    folded = asked.name.lower()
    other = next((record for record in copy.answer if record.name.lower() != folded), None)
    if other is not None:
        copy.answer.insert(0, Record(asked.name, records.CNAME, other.ttl, other.name))
    return copy


def search_of(text: str) -> list[bytes]:
    """The search list of a file like /etc/resolv.conf; the last `search` or `domain` line counts (resolv.conf(5))."""
    found: list[bytes] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words[:1] in (["search"], ["domain"]):
            found = []
            for word in words[1:]:
                try:
                    found.append(names.fold(names.from_text(word)))
                except names.NameError_:
                    _log.warning("plugin/autopath: '%s' of a search list is no domain name", word)
    return [name for name in found if name != names.ROOT]


def setup(directives: list[Directive], block: Block) -> AutoPath:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    directive.no_body()
    if not directive.args:
        raise directive.error("no resolv-conf specified")
    *zones, source = directive.args
    return AutoPath(zones_of(directive, block, zones), source, directive, block)
