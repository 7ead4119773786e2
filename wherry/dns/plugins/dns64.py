"""`dns64`: IPv6 addresses made of IPv4 ones for clients behind NAT64 (RFC 6147, RFC 6052).

Only for clients that ask over IPv6, unless `allow_ipv4` says otherwise. Reverse names of such addresses are left alone,
as CoreDNS leaves them.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.message import NOERROR, NXDOMAIN, Message, Question
from wherry.dns.plugin import Base, Next, Reply, Request
from wherry.dns.records import Record

_PREFIX = IPv6Network("64:ff9b::/96")
_NO_SOA_TTL = 600
"""The most that a made record lives where no SOA says it (RFC 6147 §5.1.7)."""
_RESERVED = 8
"""The octet of an address that stays zero (RFC 6052 §2.2)."""


class Dns64(Base):
    """The plugin."""

    name = "dns64"

    def __init__(self, block: Block, prefix: IPv6Network, *, translate_all: bool, allow_ipv4: bool) -> None:
        """``translate_all`` also hides IPv6 addresses that there are."""
        self.prefix = prefix
        self.translate_all = translate_all
        self.allow_ipv4 = allow_ipv4
        self._config = block.config
        self._translated = block.config.metrics.counter(
            "coredns_dns64_requests_translated", "Counter of DNS requests translated by dns64.", ["server"]
        )

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Every AAAA query."""
        return frozenset(((names.ROOT, records.AAAA),))

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Make addresses where the rest of the chain has none."""
        if request.type != records.AAAA or request.klass != records.IN:
            return await next(request)
        reply = await next(request)
        if reply is not None and not self.allow_ipv4:
            # The next client may come by the other family.
            reply = replace(reply, keep=None)
        if reply is None or not (self.allow_ipv4 or _is_ipv6(request.client)) or not self._wanted(reply.message):
            return reply
        found = await self._config.lookup(request.asking(Question(request.name, records.A, records.IN)))
        if found is None or found.message.rcode != NOERROR:
            return reply
        self._translated.labels(request.server).inc()
        request.note(f"made of IPv4 addresses within {self.prefix}")
        return Reply(self._made(request.query, reply.message, found.message), self.name)

    def _wanted(self, message: Message) -> bool:
        """Whether a reply lets addresses be made: the name exists, and has no IPv6 address (RFC 6147 §5.1)."""
        if message.rcode == NXDOMAIN and not message.answer:
            return False
        return self.translate_all or not any(record.type == records.AAAA for record in message.answer)

    def _made(self, query: Message, original: Message, found: Message) -> Message:
        lifetimes = [record.ttl for record in original.authority if record.type == records.SOA]
        most = lifetimes[-1] if lifetimes else _NO_SOA_TTL
        message = query.reply()
        message.authoritative = False
        message.truncated = found.truncated
        message.authority, message.additional = found.authority, found.additional
        message.answer = [
            record if record.type != records.A else self._aaaa(record, most) for record in found.answer
        ]  # fmt: skip
        return message

    def _aaaa(self, record: Record, most: int) -> Record:
        return Record(
            record.name, records.AAAA, min(record.ttl, most), embed(self.prefix, record.rdata).packed, record.klass
        )


def embed(prefix: IPv6Network, address: bytes) -> IPv6Address:
    """An IPv4 address (packed) within a prefix of 32 to 96 bits, the reserved octet left out (RFC 6052 §2.2)."""
    octets = bytearray(prefix.network_address.packed)
    place = prefix.prefixlen // 8
    for octet in address:
        if place == _RESERVED:
            place += 1
        octets[place] = octet
        place += 1
    return IPv6Address(bytes(octets))


def _is_ipv6(client: str) -> bool:
    address = ip_address(client.partition("%")[0])
    return isinstance(address, IPv6Address) and address.ipv4_mapped is None


def setup(directives: list[Directive], block: Block) -> Dns64:
    """Read all `dns64` directives of a block; later ones overrule earlier ones."""
    prefix = _PREFIX
    translate_all = allow_ipv4 = False
    for directive in directives:
        if len(directive.args) > 1:
            raise directive.wrong_arguments()
        if directive.args:
            prefix = _prefix(directive, directive.args[0])
        for line in directive.body:
            match line.name:
                case "prefix":
                    prefix = _prefix(line, line.argument())
                case "translate_all":
                    line.arguments(0)
                    translate_all = True
                case "allow_ipv4":
                    line.arguments(0)
                    allow_ipv4 = True
                case _:
                    raise line.unknown_property()
    return Dns64(block, prefix, translate_all=translate_all, allow_ipv4=allow_ipv4)


def _prefix(line: Directive, text: str) -> IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise line.error(f"invalid prefix: {error}") from error
    if not isinstance(network, IPv6Network):
        raise line.error(f"invalid prefix {text}: it is not IPv6")
    if network.prefixlen % 8 or not 32 <= network.prefixlen <= 96:
        raise line.error(f"invalid prefix length {text}: it must be a multiple of 8 from 32 to 96")
    return network
