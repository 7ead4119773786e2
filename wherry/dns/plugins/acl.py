"""`acl [ZONES…] { allow|block|filter|drop [type TYPE…] [net CIDR…] }`: who may ask for what.

https://coredns.io/plugins/acl/. Rules are tried in their order, and so are a rule's lines; the first that matches
decides: `block` refuses (RFC 8914 code 15), `filter` answers with nothing (code 17), `drop` stays silent, `allow` lets
through, as happens where nothing matches.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import zones_of
from wherry.dns.errors import DnsError
from wherry.dns.fallthrough import closest
from wherry.dns.message import Edns
from wherry.dns.plugin import Base, Next, Reply, Request

_COUNTED = {"block": "blocked", "filter": "filtered", "drop": "dropped"}
_SECTIONS = ("type", "net")
_EXTENDED_ERROR = 15  # the EDNS option (RFC 8914)
_BLOCKED, _FILTERED = 15, 17

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Networks:
    """A set of networks in which an address is found by one look for each prefix length."""

    def __init__(self, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._by_length: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            self._by_length.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> shift in prefixes
            for (version, shift), prefixes in self._by_length.items()
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """One line: None means every type, or every address."""

    action: str
    types: frozenset[int] | None
    networks: Networks | None

    def matches(self, kind: int, address: Address) -> bool:
        """Whether it decides on a question of this type from this address."""
        return (self.types is None or kind in self.types) and (self.networks is None or address in self.networks)


@dataclass(frozen=True, slots=True)
class Rule:
    """One directive."""

    zones: tuple[bytes, ...]
    policies: tuple[Policy, ...]


class Acl(Base):
    """Refuses, empties or drops what the rules say."""

    name = "acl"

    def __init__(self, block: Block, rules: list[Rule]) -> None:
        self._rules = rules
        self._allowed = block.config.metrics.counter(
            "coredns_acl_allowed_requests_total", "Counter of DNS requests being allowed.", ("server", "view")
        )
        self._counters = {
            action: block.config.metrics.counter(
                f"coredns_acl_{word}_requests_total",
                f"Counter of DNS requests being {word}.",
                ("server", "zone", "view"),
            )
            for action, word in _COUNTED.items()
        }

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """The zones of the rules: who asks decides there."""
        return frozenset((zone, 0) for rule in self._rules for zone in rule.zones)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on what is allowed. What fronts answer outside of all rules' zones is not counted as allowed."""
        action, zone = self.decision(request.folded, request.type, request.client)
        if action == "allow":
            self._allowed.labels(request.server, request.view).inc()
            reply = await next(request)
            if reply is not None and zone is not None:
                return Reply(reply.message, reply.plugin, None, reply.following)
            return reply
        self._counters[action].labels(request.server, names.to_text(zone or names.ROOT), request.view).inc()
        if action == "drop":
            return None
        blocked = action == "block"
        message = request.query.reply(m.REFUSED if blocked else m.NOERROR)
        message.authoritative = False
        code = (_BLOCKED if blocked else _FILTERED).to_bytes(2, "big")
        message.edns = Edns(4096, True, options=[(_EXTENDED_ERROR, code)])
        return Reply(message, self.name)

    def decision(self, name: bytes, kind: int, client: str) -> tuple[str, bytes | None]:
        """What to do with a question for a folded name, and the zone by which; None: no rule holds the name."""
        found = None
        address = _address(client)
        for rule in self._rules:
            zone = closest(name, rule.zones)
            if zone is None:
                continue
            found = zone
            for policy in rule.policies:
                if policy.matches(kind, address):
                    return policy.action, zone
        return "allow", found


def _address(text: str) -> Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def setup(directives: list[Directive], block: Block) -> Acl:
    """Read the directives, each one rule; raises CorefileError."""
    return Acl(block, [_rule(directive, block) for directive in directives])


def _rule(directive: Directive, block: Block) -> Rule:
    return Rule(tuple(zones_of(directive, block)), tuple(_policy(line) for line in directive.body))


def _policy(line: Directive) -> Policy:
    line.no_body()
    action = line.name.lower()
    if action not in ("allow", "block", "filter", "drop"):
        raise line.error(f"unexpected token \"{line.name}\"; expect 'allow', 'block', 'filter' or 'drop'")
    sections: dict[str, list[str]] = {}
    section: list[str] | None = None
    for word in line.args:
        if word.lower() in _SECTIONS:
            section = sections.setdefault(word.lower(), [])
        elif section is None:
            raise line.error(f"unexpected token \"{word}\"; expect 'type | net'")
        else:
            section.append(word)
    for name, words in sections.items():
        if not words:
            raise line.error(f'no token specified in "{name}" section')
    return Policy(action, _types(line, sections.get("type")), _networks(line, sections.get("net")))


def _types(line: Directive, words: list[str] | None) -> frozenset[int] | None:
    if words is None or "*" in words:
        return None
    try:
        return frozenset(map(records.type_number, words))
    except DnsError as error:
        raise line.error(f"{error}; expect legal QTYPE") from error


def _networks(line: Directive, words: list[str] | None) -> Networks | None:
    if words is None or "*" in words:
        return None
    networks = []
    for word in words:
        try:
            networks.append(ipaddress.ip_network(word, strict=False))
        except ValueError as error:
            raise line.error(f'illegal CIDR notation "{word}"') from error
    return Networks(networks)
