"""`hosts`: addresses, and names of addresses, from files like /etc/hosts and from lines of the Corefile.

Several `hosts` directives of a block are one plugin here (CoreDNS refuses the second): a name has the addresses that
any of them gives it, and an unanswered name passes on where any of them lets it.

Files are looked up afresh at every reload, as a mounted ConfigMap swaps a symbolic link. A file that is missing keeps
what was read of it before. A and AAAA only match within a directive's zones; PTR matches everywhere, and a PTR
question without an answer always passes on. A name that has only another type is answered NOERROR without records,
and also without SOA, as there is no zone.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, Problem
from wherry.dns.corefile.zones import zones_of
from wherry.dns.fallthrough import Fallthrough, closest
from wherry.dns.message import SERVFAIL
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError

_log = logging.getLogger(__name__)
_SMALL = 65536
"""Octets of a file that is parsed in place: under 5 ms; what is larger goes to a thread."""

_MOST_POINTERS = 4096
"""Names of one address in a reply: more fit no message."""
_WILDCARD = b"\x01*"


@dataclass(slots=True)
class Table:
    """What the lines of one file, or those of a Corefile, say; names are folded, a wildcard's key is its parent."""

    names4: dict[bytes, list[bytes]] = field(default_factory=dict)
    names6: dict[bytes, list[bytes]] = field(default_factory=dict)
    wild4: dict[bytes, list[bytes]] = field(default_factory=dict)
    wild6: dict[bytes, list[bytes]] = field(default_factory=dict)
    pointers: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Names by packed address."""

    def __len__(self) -> int:
        """Addresses and pointers, as CoreDNS counts entries."""
        parts = (self.names4, self.names6, self.wild4, self.wild6, self.pointers)
        return sum(len(found) for part in parts for found in part.values())

    def addresses(self, name: bytes, version: int) -> list[bytes]:
        """The packed addresses of a folded name, or of the wildcard one label above it."""
        exact, wild = (self.names4, self.wild4) if version == 4 else (self.names6, self.wild6)
        if name in exact:
            return exact[name]
        return wild.get(name[name[0] + 1 :], []) if wild and name[0] else []


def parse(lines: Iterable[str], zones: tuple[bytes, ...], *, reverse: bool) -> Table:
    """Read lines `ADDRESS NAME…`; comments, names outside ``zones`` and lines that are none are left out."""
    table = Table()
    for line in lines:
        fields = line.partition("#")[0].split()
        packed = _packed(fields[0]) if len(fields) > 1 else None
        if packed is None:
            continue
        exact, wild = (table.names4, table.wild4) if len(packed) == 4 else (table.names6, table.wild6)
        for text in fields[1:]:
            try:
                name = names.fold(names.from_text(text))
            except names.NameError_:
                continue
            if closest(name, zones) is None:
                continue
            if name.startswith(_WILDCARD):
                wild.setdefault(name[2:], []).append(packed)
                continue
            exact.setdefault(name, []).append(packed)
            if reverse:
                table.pointers.setdefault(packed, []).append(name)
    return table


@functools.lru_cache(maxsize=1024)
def _packed(text: str) -> bytes | None:
    """An address as octets, None where text is none; lists that block names have one for thousands of lines."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.packed
    return address.packed


def _reverse(packed: bytes) -> bytes:
    return names.reverse_of(ip_address(packed))


class Source:
    """One directive: its file, its lines and its options."""

    def __init__(self, directive: Directive, block: Block) -> None:
        """Read the directive; raises CorefileError. The file is read by refresh()."""
        args = directive.args
        self.path = block.config.path(args[0]) if args else Path("/etc/hosts")
        self.place = f"{self.path} or {directive.file}:{directive.line}"
        """Where its lines are, for people."""
        self.zones = tuple(zones_of(directive, block, args[1:]))
        self.ttl = 3600
        self.interval = 5.0
        self.fallthrough = Fallthrough()
        self.passes_types = False
        """Whether a type other than A, AAAA and PTR passes on where fallthrough lets the name."""
        self.file = Table()
        self._seen: tuple[int, int] | None = None
        if args:
            self._check(directive)
        reverse = True
        lines: list[str] = []
        for line in directive.body:
            match line.name:
                case "fallthrough":
                    self.fallthrough = Fallthrough.of(line)
                case "fallthrough_unsupported":
                    line.arguments(0)
                    self.passes_types = True
                case "no_reverse":
                    line.arguments(0)
                    reverse = False
                case "ttl":
                    self.ttl = line.integer(line.argument(), 1, 65535)
                case "reload":
                    self.interval = line.duration(line.argument())
                    if self.interval < 0:
                        raise line.error(f"invalid negative duration for reload '{line.args[0]}'")
                case _ if self.fallthrough:
                    raise line.unknown_property()
                case _:
                    lines.append(" ".join((line.name, *line.args)))
                    if not line.args or _packed(line.name) is None:
                        text = f"{line.file}:{line.line}: '{lines[-1]}' is neither an option of hosts nor ADDRESS NAME…"
                        block.config.process.report(Problem("BadHostsLine", text))
        if self.passes_types and not self.fallthrough:
            raise directive.error("fallthrough_unsupported requires fallthrough")
        self.reverse = reverse
        self.inline = parse(lines, self.zones, reverse=reverse)

    def _check(self, directive: Directive) -> None:
        try:
            if self.path.is_dir():
                _log.warning("hosts file %s is a directory", self.path)
            elif not self.path.exists():
                _log.warning("hosts file %s does not exist; it is read as soon as it does", self.path)
        except OSError as error:
            raise directive.error(f"unable to access hosts file '{self.path}': {error.strerror}") from error

    async def refresh(self) -> float | None:
        """Read the file again where its time or size changed; return that time (seconds of Unix), None without a
        change.

        A file that cannot be read keeps what is known of it.
        """
        try:
            status = os.stat(self.path)
            seen = (status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return None
            if status.st_size <= _SMALL:
                self.file = self._read()
            else:
                self.file = await asyncio.to_thread(self._read)
        except OSError as error:
            if self._seen is not None:
                _log.warning("hosts file %s cannot be read, its last content stays: %s", self.path, error.strerror)
                self._seen = None
            return None
        self._seen = seen
        return status.st_mtime_ns / 1e9

    def _read(self) -> Table:
        with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
            return parse(file, self.zones, reverse=self.reverse)

    def addresses(self, name: bytes, version: int) -> list[bytes]:
        """The packed addresses that a folded name within the zones has: the file's first."""
        return self.file.addresses(name, version) + self.inline.addresses(name, version)


class Hosts(Base):
    """The plugin: all directives of a block."""

    name = "hosts"

    def __init__(self, sources: list[Source], block: Block) -> None:
        """Serve from ``sources`` in their order."""
        self.sources = sources
        self._config = block.config
        self._passes = any(source.passes_types for source in sources)
        metrics = block.config.metrics
        self._entries = metrics.gauge(
            "coredns_hosts_entries", "The combined number of entries in hosts and Corefile.", ["hostsfile"]
        )
        self._reloaded = metrics.gauge(
            "coredns_hosts_reload_timestamp_seconds", "The timestamp of the last reload of hosts file."
        )

    async def start(self) -> None:
        """Read the files, and look at each again at its own interval."""
        for source in self.sources:
            await self._refresh(source)
            self._entries.labels(str(source.path)).set(len(source.file) + len(source.inline))
            if source.interval > 0:
                self._config.spawn(self._watch(source))

    async def _watch(self, source: Source) -> None:
        while True:
            await asyncio.sleep(source.interval)
            if await self._refresh(source):
                self._config.changed()

    async def _refresh(self, source: Source) -> bool:
        changed = await source.refresh()
        if changed is None:
            return False
        self._entries.labels(str(source.path)).set(len(source.file) + len(source.inline))
        self._reloaded.set(changed)
        return True

    def excluded(self) -> frozenset[bytes]:
        """The names that have an answer here, those of addresses included."""
        found: set[bytes] = set()
        for source in self.sources:
            for table in (source.file, source.inline):
                found.update(table.names4, table.names6, map(_reverse, table.pointers))
        return frozenset(found)

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Where wildcards answer, and where names do not pass on."""
        found: set[bytes] = set()
        for source in self.sources:
            for table in (source.file, source.inline):
                found.update(table.wild4, table.wild6)
            found.update(zone for zone in source.zones if not self._through(zone))
        return frozenset((zone, 0) for zone in found)

    def _through(self, name: bytes) -> bool:
        return any(source.fallthrough.through(name) for source in self.sources)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer from the tables."""
        name = request.folded
        if request.type == records.PTR:
            return self._pointers(request, name) or await next(request)
        sources = [source for source in self.sources if closest(name, source.zones) is not None]
        if not sources:
            return await next(request)
        answer = []
        if request.type in (records.A, records.AAAA):
            version = 4 if request.type == records.A else 6
            answer = [(packed, source.ttl) for source in sources for packed in source.addresses(name, version)]
        elif self._passes and self._through(name):
            return await next(request)
        if request.notes is not None:
            for source in sources:
                if any(source.addresses(name, version) for version in (4, 6)):
                    request.note(f"{names.to_text(name)} is in {source.place}")
        if not answer and not any(source.addresses(name, version) for source in sources for version in (4, 6)):
            if self._through(name):
                return await next(request)
            # There is no SOA to deny the name with, so that CoreDNS' answer is SERVFAIL, without a word in the log.
            raise ServeError(SERVFAIL, "")
        return self._reply(request, name, answer)

    def _pointers(self, request: Request, name: bytes) -> Reply | None:
        address = names.address_of(name)
        if address is None:
            return None
        answer = [
            (target, source.ttl)
            for source in self.sources
            for table in (source.file, source.inline)
            for target in table.pointers.get(address.packed, ())[:_MOST_POINTERS]
        ]
        return self._reply(request, name, answer) if answer else None

    def _reply(self, request: Request, name: bytes, answer: list[tuple[bytes, int]]) -> Reply:
        message = request.query.reply()
        # One set of records has one TTL (RFC 2181 §5.2), also where two directives contribute.
        ttl = min((ttl for _, ttl in answer), default=0)
        message.answer = [records.Record(name, request.type, ttl, rdata) for rdata, _ in answer]
        return Reply(message, self.name)


def setup(directives: list[Directive], block: Block) -> Hosts:
    """Read all `hosts` directives of a block."""
    return Hosts([Source(directive, block) for directive in directives], block)
