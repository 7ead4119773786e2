"""`transfer [ZONES…] { to ADDRESS…; source ADDRESS }`: whole zones for secondaries (RFC 5936, RFC 1995, RFC 1996).

Any plugin of the block that has records of a whole zone (`Transferable`) gives them; an IXFR gets the whole zone too,
or only the SOA where the secondary has the latest. Over TCP and TLS only. `to` says who may ask: an address, with a
port where that one is to be notified elsewhere than on 53, or `*` for anyone.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol, runtime_checkable

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import zones_of
from wherry.dns.errors import DnsError
from wherry.dns.fallthrough import closest
from wherry.dns.message import NOERROR, NOTIFY, REFUSED, SERVFAIL, Message, Question, decode, encode, rcode_name
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError
from wherry.dns.records import Record

_log = logging.getLogger(__name__)
_FULL = 60_000
"""Octets of uncompressed records in one message, so that it stays below 64 KiB whatever the names."""
_TRIES, _WAIT = 3, 2.0
"""How often a NOTIFY is sent, and seconds for each."""
_MOST = 10_000


@runtime_checkable
class Transferable(Protocol):
    """A plugin that knows all records of some zones."""

    def transfer(self, zone: bytes, serial: int | None) -> Iterator[Record] | None:
        """All records of a zone (folded), the SOA first and last; None where it is none of the plugin's.

        Only one SOA where `serial`, which an IXFR brings, is the zone's or newer. Raises DnsError where the records
        are not known at present.
        """


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may have some zones: addresses in their usual spelling with the port to notify, or anyone (`*`)."""

    zones: tuple[bytes, ...]
    anyone: bool
    to: tuple[tuple[str, int], ...]
    source: str | None

    def allows(self, client: str) -> bool:
        """Whether a client may have the zones."""
        return self.anyone or any(address == client for address, _ in self.to)


class Transfer(Base):
    """Answers AXFR and IXFR for the zones of its rules; everything else goes on."""

    name = "transfer"

    def __init__(self, rules: list[Rule], block: Block) -> None:
        self._rules = rules
        self._block = block

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Transfer a zone, refuse to, or pass on."""
        if request.type not in (records.AXFR, records.IXFR):
            return await next(request)
        if request.transport == "udp":
            raise ServeError(REFUSED, "")
        zone = request.folded
        rule = self._rule(zone)
        if rule is None:
            return await next(request)
        if not rule.allows(_usual(request.client)):
            raise ServeError(REFUSED, "")
        serial = _serial_of(request.query) if request.type == records.IXFR else None
        for plugin in self._block.plugins.values():
            if not isinstance(plugin, Transferable):
                continue
            try:
                found = plugin.transfer(zone, serial)
            except DnsError as error:
                raise ServeError(SERVFAIL, f"transfer of {names.to_text(zone)}: {error}") from error
            if found is not None:
                _log.info("plugin/transfer: zone %s goes to %s", names.to_text(zone), request.client)
                return self._reply(request.query, found)
        return await next(request)

    def _reply(self, query: Message, found: Iterator[Record]) -> Reply:
        messages = _messages(query, found)
        return Reply(next(messages), self.name, following=messages)

    def _rule(self, name: bytes) -> Rule | None:
        best: tuple[int, Rule] | None = None
        for rule in self._rules:
            zone = closest(name, rule.zones)
            if zone is not None and (best is None or len(zone) > best[0]):
                best = (len(zone), rule)
        return best[1] if best else None

    async def notify(self, zone: bytes) -> None:
        """Tell the secondaries of a zone (folded) that it has changed; who does not answer is logged."""
        rule = self._rule(zone)
        if rule is None:
            return
        async with asyncio.TaskGroup() as group:
            for address, port in rule.to:
                group.create_task(_notify(zone, address, port, rule.source))


def _messages(query: Message, found: Iterator[Record]) -> Iterator[Message]:
    message = query.reply()
    size = 0
    for record in found:
        length = len(record.name) + 10 + len(record.rdata)
        if message.answer and size + length > _FULL:
            yield message
            message, size = query.reply(), 0
        message.answer.append(record)
        size += length
    yield message


def _serial_of(query: Message) -> int:
    """The serial that an IXFR's authority section brings (RFC 1995 §3)."""
    if len(query.authority) != 1 or query.authority[0].type != records.SOA or len(query.authority[0].rdata) < 22:
        raise ServeError(SERVFAIL, "")
    return int.from_bytes(query.authority[0].rdata[-20:-16], "big")


class _Answer(asyncio.DatagramProtocol):
    """The first datagram that comes back."""

    def __init__(self) -> None:
        self.wire: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: tuple[object, ...]) -> None:
        if not self.wire.done():
            self.wire.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.wire.done():
            self.wire.set_exception(error)


async def _notify(zone: bytes, address: str, port: int, source: str | None) -> None:
    problem = "no answer"
    for _ in range(_TRIES):
        try:
            rcode = await _notify_once(zone, address, port, source)
        except (OSError, DnsError, TimeoutError) as error:
            problem = str(error) or "no answer"
            continue
        if rcode == NOERROR:
            return
        problem = rcode_name(rcode)
    _log.warning(
        "plugin/transfer: notify of zone %s was not accepted by %s port %d: %s",
        names.to_text(zone),
        address,
        port,
        problem,
    )


async def _notify_once(zone: bytes, address: str, port: int, source: str | None) -> int:
    query = Message(id=secrets.randbits(16), opcode=NOTIFY, authoritative=True, question=Question(zone, records.SOA))
    transport, answer = await asyncio.get_running_loop().create_datagram_endpoint(
        _Answer, remote_addr=(address, port), local_addr=(source, 0) if source else None
    )
    try:
        transport.sendto(encode(query))
        message = decode(await asyncio.wait_for(answer.wire, _WAIT))
    finally:
        transport.close()
    if message.id != query.id or not message.response:
        raise DnsError("an answer to something else")
    return message.rcode


def _usual(text: str) -> str:
    """An address in its usual spelling, an IPv4-mapped one as IPv4; raises ValueError."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


def _host_port(line: Directive, text: str) -> tuple[str, int]:
    """`1.2.3.4`, `1.2.3.4:53`, `fd00::1`, `[fd00::1]:53`."""
    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    number = line.integer(port, 1, 65535)
    try:
        return _usual(host), number
    except ValueError as error:
        raise line.error(f"not an IP address: '{text}'") from error


def _rule(directive: Directive, block: Block) -> Rule:
    anyone = False
    to: list[tuple[str, int]] = []
    source: str | None = None
    for line in directive.body:
        match line.name:
            case "to":
                for text in line.arguments(1, _MOST):
                    if text == "*":
                        anyone = True
                    else:
                        to.append(_host_port(line, text))
            case "source":
                if source is not None:
                    raise line.error("source already specified")
                text = line.argument()
                try:
                    source = _usual(text)
                except ValueError as error:
                    raise line.error(f"invalid source address '{text}'") from error
            case _:
                raise line.unknown_property()
    if not anyone and not to:
        raise directive.error("'to' is required")
    return Rule(tuple(zones_of(directive, block)), anyone, tuple(to), source)


def setup(directives: list[Directive], block: Block) -> Transfer:
    """Read the directives; raises CorefileError."""
    return Transfer([_rule(directive, block) for directive in directives], block)
