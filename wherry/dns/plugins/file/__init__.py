"""`file`: zones from master files, read again when their SOA's serial changes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakValueDictionary

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import zones_of
from wherry.dns.errors import DnsError
from wherry.dns.fallthrough import Fallthrough, closest
from wherry.dns.message import NOTIFY, NXDOMAIN, REFUSED, SERVFAIL, Message, Question
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError
from wherry.dns.plugins.file.lookup import Lookup, Outcome
from wherry.dns.plugins.file.zone import Zone
from wherry.dns.plugins.transfer import Transfer
from wherry.dns.records import Record

_log = logging.getLogger(__name__)
_SERIALS = 2**32


class Source:
    """One zone of a directive: its file, and what was last read of it."""

    def __init__(self, origin: bytes, path: Path) -> None:
        """Read nothing yet."""
        self.origin = origin
        self.path = path
        self.zone: Zone | None = None
        self.interval = 60.0
        self.by_time = False
        self.fallthrough = Fallthrough()
        self._seen: dict[str, tuple[int, int]] = {}

    def adopt(self, before: Source) -> None:
        """Take over what the configuration before read of the same zone; read() then sees whether it still holds."""
        self.zone = before.zone
        self._seen = before._seen

    def read(self) -> bool:
        """Read the file where it, or one it includes, changed; whether there is a new zone. Raises DnsError, OSError.

        A zone with the serial of the last one is that one, unless changes are told by time.
        """
        if self._seen and self._seen == {file: _status(file) for file in self._seen}:
            return False
        # dnspython is imported where there is a master file to read.
        from wherry.dns.plugins.file import master

        zone = master.load(self.path, self.origin)
        self._seen = {file: _status(file) for file in zone.files}
        if self.zone is not None and not self.by_time and zone.serial == self.zone.serial:
            return False
        self.zone = zone
        return True


def _status(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError:
        return (0, -1)
    return (status.st_mtime_ns, status.st_size)


class File(Base):
    """The zones of a block."""

    name = "file"

    def __init__(self, sources: list[Source], block: Block) -> None:
        """Serve ``sources``; of two for one zone the later counts."""
        self.sources = {source.origin: source for source in sources}
        self._zones = tuple(self.sources)
        self._block = block

    async def start(self) -> None:
        """Tell secondaries of the zones, and look at the files again at their intervals."""
        known = _known(self._block)
        for source in self.sources.values():
            known[source.origin, source.path] = source
            if source.zone is not None:
                self._notify(source)
            if source.interval > 0:
                self._block.config.spawn(self._watch(source))

    async def _watch(self, source: Source) -> None:
        zone = names.to_text(source.origin)
        said = ""
        while True:
            await asyncio.sleep(source.interval)
            try:
                changed = await asyncio.to_thread(source.read)
            except (DnsError, OSError) as error:
                if str(error) != said:
                    _log.error("file: zone %s stays as it is: %s", zone, error)
                said = str(error)
                continue
            said = ""
            if changed and source.zone is not None:
                _log.info("file: zone %s is read from %s, serial %d", zone, source.path, source.zone.serial)
                self._notify(source)

    def _notify(self, source: Source) -> None:
        transfer = self._block.plugins.get("transfer")
        if isinstance(transfer, Transfer):
            self._block.config.spawn(transfer.notify(source.origin))

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer from the zone that the name is in."""
        origin = closest(request.folded, self._zones)
        if origin is None:
            return await next(request)
        if request.type in (records.AXFR, records.IXFR):
            raise ServeError(REFUSED, "")
        if request.query.opcode == NOTIFY:
            # Only a secondary has a use for it, and here is none: no answer, as CoreDNS' file gives none.
            return None
        source = self.sources[origin]
        if source.zone is None:
            raise ServeError(SERVFAIL, "")

        async def ask(question: Question) -> Message | None:
            reply = await self._block.config.lookup(request.asking(question))
            return None if reply is None else reply.message

        found = await Lookup(source.zone, request.question, ask, signed=request.dnssec_ok).run()
        request.note(f"zone {names.to_text(origin)} of {source.path}: {found.outcome.value}")
        passes = found.outcome in (Outcome.NAME_ERROR, Outcome.SUCCESS) and not found.answer
        if passes and source.fallthrough.through(request.folded):
            return await next(request)
        if found.outcome is Outcome.FAILURE and not found.answer:
            raise ServeError(SERVFAIL, "")
        if found.wildcard:
            request.metadata["zone/wildcard"] = lambda: names.to_text(found.wildcard)
        message = request.query.reply()
        message.answer, message.authority, message.additional = found.answer, found.authority, found.additional
        if found.outcome is Outcome.DELEGATION and not found.answer:
            message.authoritative = False
        elif found.outcome is Outcome.NAME_ERROR:
            message.rcode = NXDOMAIN
        elif found.outcome is Outcome.FAILURE:
            # The alias is ours to tell; the rcode is that of its target (RFC 6604 §3).
            message.rcode = SERVFAIL
        return Reply(message, self.name)

    def transfer(self, zone: bytes, serial: int | None) -> Iterator[Record] | None:
        """All records of a zone, only its SOA where ``serial`` is as new; None where it is none of these."""
        source = self.sources.get(zone)
        if source is None:
            return None
        if source.zone is None or source.zone.soa is None:
            raise DnsError(f"{source.path} could not be read")
        if serial is not None and (serial - source.zone.serial) % _SERIALS < _SERIALS // 2:
            return iter((source.zone.soa,))
        return source.zone.records()


def _known(block: Block) -> WeakValueDictionary[tuple[bytes, Path], Source]:
    """The zones of configurations that serve, so that a reload need not read large files again."""
    state = block.config.process.state.setdefault("file", WeakValueDictionary())
    assert isinstance(state, WeakValueDictionary)
    return state


def setup(directives: list[Directive], block: Block) -> File:
    """Read all `file` directives of a block, and their master files."""
    return File([source for directive in directives for source in _read(directive, block)], block)


def _read(directive: Directive, block: Block) -> list[Source]:
    if not directive.args:
        raise directive.wrong_arguments()
    path = block.config.path(directive.args[0])
    sources = [Source(origin, path) for origin in zones_of(directive, block, directive.args[1:])]
    for line in directive.body:
        match line.name:
            case "fallthrough":
                fallthrough = Fallthrough.of(line)
                for source in sources:
                    source.fallthrough = fallthrough
            case "reload":
                seconds = line.duration(line.argument())
                if seconds < 0:
                    raise line.error(f"invalid negative duration for reload '{line.args[0]}'")
                for source in sources:
                    source.interval = seconds
            case "reload_by_mtime":
                line.arguments(0)
                for source in sources:
                    source.by_time = True
            case "upstream":
                # CoreDNS accepts it, and anything after it, without effect.
                line.no_body()
            case _:
                raise line.unknown_property()
    known = _known(block)
    for source in sources:
        before = known.get((source.origin, source.path))
        if before is not None:
            source.adopt(before)
        try:
            source.read()
        except OSError as error:
            if not source.interval:
                raise directive.error(f"cannot read {path}: {error.strerror}") from error
            _log.warning("file: cannot read %s: %s; trying again in %gs", path, error.strerror, source.interval)
        except DnsError as error:
            raise directive.error(str(error)) from error
    return sources
