"""`local { localhost_prefix on|off }`: answers what never leaves a machine (https://coredns.io/plugins/local/).

`localhost` and what is below it (RFC 6761 6.3), the reverse zones of 0/8, 127/8 and 255/8, and, unless switched off,
`localhost.` before any search domain.
"""

from ipaddress import IPv4Address, IPv6Address

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.plugin import Base, Next, Reply, Request

_TTL = 604_800  # seconds: a week
_LOCALHOST = names.from_text("localhost.")
_ZONES = tuple(map(names.from_text, ("localhost.", "0.in-addr.arpa.", "127.in-addr.arpa.", "255.in-addr.arpa.")))
_LOOPBACK = names.from_text("1.0.0.127.in-addr.arpa.")
_PREFIX = _LOCALHOST[:-1]


class Local(Base):
    """Answers for the local zones, passes on the rest."""

    name = "local"

    def __init__(self, block: Block, *, prefix: bool) -> None:
        # A name that begins with `localhost` may be in any zone, so that fronts could answer for none.
        self.transparent = not prefix
        self._prefix = prefix
        self._count = block.config.metrics.counter(
            "coredns_local_localhost_requests_total", "Counter of localhost.<domain> requests."
        )

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """The local zones."""
        return frozenset((zone, 0) for zone in _ZONES)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer for local names."""
        name = request.folded
        if name != _LOCALHOST and (names.is_within(name, _LOCALHOST) or (self._prefix and name.startswith(_PREFIX))):
            self._count.inc()
            return self._localhost(request)
        zone = next_zone(name)
        if zone is None:
            return await next(request)
        return self._reply(request, request.name[-len(zone) :])

    def _localhost(self, request: Request) -> Reply:
        message = request.query.reply()
        message.authoritative = False
        if not _add_addresses(message, request):
            message.authority.append(_soa(request.name))
        return Reply(message, self.name)

    def _reply(self, request: Request, zone: bytes) -> Reply:
        name, kind = request.folded, request.type
        message = request.query.reply()
        message.authoritative = False
        if name in _ZONES:
            if kind == records.SOA:
                message.answer.append(_soa(request.name))
            elif kind == records.NS:
                message.answer.append(records.ns(request.name, _TTL, _LOCALHOST))
            elif name != _LOCALHOST or not _add_addresses(message, request):
                message.authority.append(_soa(request.name))
        elif name != _LOOPBACK:
            message.rcode = m.NXDOMAIN
            message.authority.append(_soa(zone))
        elif kind == records.PTR:
            message.answer.append(records.ptr(request.name, _TTL, _LOCALHOST))
        else:
            message.authority.append(_soa(zone))
        return Reply(message, self.name)


def next_zone(name: bytes) -> bytes | None:
    """The local zone that a folded name is within."""
    return next((zone for zone in _ZONES if names.is_within(name, zone)), None)


def _add_addresses(message: m.Message, request: Request) -> bool:
    if request.type == records.A:
        message.answer.append(records.a(request.name, _TTL, IPv4Address("127.0.0.1")))
    elif request.type == records.AAAA:
        message.answer.append(records.aaaa(request.name, _TTL, IPv6Address("::1")))
    return bool(message.answer)


def _soa(owner: bytes) -> records.Record:
    return records.soa(owner, _TTL, _LOCALHOST, names.from_text("root.localhost."), 1, 0, 0, 0, _TTL)


def setup(directives: list[Directive], block: Block) -> Local:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    if directive.args:
        raise directive.wrong_arguments()
    prefix = True
    for line in directive.body:
        if line.name != "localhost_prefix":
            raise line.unknown_property()
        text = line.argument()
        if text not in ("on", "off"):
            raise line.error(f"localhost_prefix expects 'on' or 'off', got \"{text}\"")
        prefix = text == "on"
    return Local(block, prefix=prefix)
