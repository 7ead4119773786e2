"""`loadbalance [round_robin | weighted FILE] { reload DURATION; prefer CIDR… }`: which address comes first.

https://coredns.io/plugins/loadbalance/
"""

import asyncio
import ipaddress
import logging
import random
from collections.abc import Callable
from pathlib import Path

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, latest
from wherry.dns.errors import NameError_
from wherry.dns.plugin import Base, Next, Reply, Request
from wherry.dns.records import Record

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Weights = dict[bytes, dict[bytes, int]]
"""By folded name and packed address."""

_ADDRESSES = (records.A, records.AAAA)
_TRANSFERS = (records.AXFR, records.IXFR)
_WEIGHED = (records.A, records.AAAA, records.SRV)


class LoadBalance(Base):
    """Shuffles addresses and MX records of every positive answer; where networks are preferred, those come first."""

    name = "loadbalance"

    def __init__(self, preferred: list[Network]) -> None:
        self._preferred = preferred
        self.transparent = not preferred

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on and put the answer's records into another order."""
        reply = await next(request)
        if reply is None or reply.message.rcode != m.NOERROR or request.type in _TRANSFERS:
            return reply
        message = reply.message
        answer, authority, additional = self.ordered(message.answer, message.authority, message.additional, request)
        if self._preferred:
            answer, additional = (_preferring(section, self._preferred) for section in (answer, additional))
        message = message.copy(answer=answer, authority=authority, additional=additional)
        return Reply(message, reply.plugin, reply.keep if self.transparent else None, reply.following)

    def ordered(
        self, answer: list[Record], authority: list[Record], additional: list[Record], request: Request
    ) -> tuple[list[Record], list[Record], list[Record]]:
        """The sections in the order that the policy gives them."""
        return shuffled(answer), shuffled(authority), shuffled(additional)


class Weighted(LoadBalance):
    """Puts one address first, each as often as its weight says; addresses without a weight have 1."""

    def __init__(self, block: Block, path: Path, every: float, preferred: list[Network]) -> None:
        super().__init__(preferred)
        self.transparent = False
        self._block = block
        self._path = path
        self._every = every
        self._text = ""
        self.weights: Weights = {}

    def read(self) -> None:
        """Read the file again; raises OSError, and ValueError for a bad line, and then the weights stay."""
        text = self._path.read_text(errors="replace")
        if text != self._text:
            self._text = text
            self.weights = weights_of(text)
            log.info("plugin/loadbalance: Successfully reloaded weight file %s", self._path)

    async def start(self) -> None:
        """Begin to look at the file now and then."""
        if self._every > 0:
            self._block.config.spawn(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                self.read()
            except (OSError, ValueError) as error:
                log.error("plugin/loadbalance: weight file %s: %s", self._path, error)

    def ordered(
        self, answer: list[Record], authority: list[Record], additional: list[Record], request: Request
    ) -> tuple[list[Record], list[Record], list[Record]]:
        """Addresses of answer and additional section, for questions that lead to addresses."""
        if request.type not in _WEIGHED:
            return answer, authority, additional
        return self._weighed(answer), authority, self._weighed(additional)

    def _weighed(self, section: list[Record]) -> list[Record]:
        cnames, rest, addresses, mx = _parted(section)
        if not addresses:
            return section
        weights = [self.weights.get(record.name.lower(), {}).get(record.rdata, 1) for record in addresses]
        first = random.choices(range(len(addresses)), weights)[0]
        addresses[0], addresses[first] = addresses[first], addresses[0]
        return cnames + rest + addresses + mx


def shuffled(section: list[Record], shuffle: Callable[[list[Record]], None] = random.shuffle) -> list[Record]:
    """CNAMEs, other records, addresses and MX records, the last two in any order; a list of its own."""
    if len(section) < 2:
        return section
    cnames, rest, addresses, mx = _parted(section)
    shuffle(addresses)
    shuffle(mx)
    return cnames + rest + addresses + mx


def weights_of(text: str) -> Weights:
    """Read a weight file: a name on a line, then lines `ADDRESS WEIGHT`; raises ValueError."""
    weights: Weights = {}
    current: dict[bytes, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) == 1:
            if _address(words[0]) is not None:
                raise ValueError(f'line {number}: wrong domain name: "{words[0]}" (maybe a missing weight value?)')
            try:
                current = weights.setdefault(names.fold(names.from_text(words[0])), {})
            except NameError_ as error:
                raise ValueError(f"line {number}: {error}") from error
        elif len(words) == 2:
            address = _address(words[0])
            if address is None:
                raise ValueError(f'line {number}: wrong IP address: "{words[0]}"')
            if not (words[1].isascii() and words[1].isdecimal() and 0 < int(words[1]) < 256):
                raise ValueError(f'line {number}: wrong weight value: "{words[1]}"; there are 1 to 255')
            if current is None:
                raise ValueError(f"line {number}: missing domain name")
            current.setdefault(address, int(words[1]))
        else:
            raise ValueError(f'line {number}: could not parse weight line: "{line.strip()}"')
    return weights


def _address(text: str) -> bytes | None:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        return None


def _parted(section: list[Record]) -> tuple[list[Record], list[Record], list[Record], list[Record]]:
    cnames: list[Record] = []
    rest: list[Record] = []
    addresses: list[Record] = []
    mx: list[Record] = []
    for record in section:
        if record.type in _ADDRESSES:
            addresses.append(record)
        elif record.type == records.CNAME:
            cnames.append(record)
        elif record.type == records.MX:
            mx.append(record)
        else:
            rest.append(record)
    return cnames, rest, addresses, mx


def _preferring(section: list[Record], networks: list[Network]) -> list[Record]:
    cnames, rest, addresses, mx = _parted(section)
    addresses.sort(key=lambda record: _rank(ipaddress.ip_address(record.rdata), networks))
    return cnames + addresses + mx + rest


def _rank(address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: list[Network]) -> int:
    return next((place for place, network in enumerate(networks) if address in network), len(networks))


def setup(directives: list[Directive], block: Block) -> LoadBalance:
    """Read the directive; raises CorefileError."""
    directive = latest(directives)
    policy, *args = directive.args or ["round_robin"]
    if policy not in ("round_robin", "weighted"):
        raise directive.error(f"unknown policy: {policy}; there are round_robin and weighted")
    weighted = policy == "weighted"
    if weighted and not args:
        raise directive.error("missing weight file argument")
    if len(args) > weighted:
        raise directive.error(f"unexpected argument '{args[-1]}'")
    every, preferred = 30.0, []
    for line in directive.body:
        if line.name == "reload" and weighted:
            every = line.duration(line.argument())
        elif line.name == "prefer":
            preferred += _networks(line)
        else:
            raise line.unknown_property()
    if not weighted:
        return LoadBalance(preferred)
    plugin = Weighted(block, block.config.path(args[0]), every, preferred)
    try:
        plugin.read()
    except ValueError as error:
        raise directive.error(f"weight file {args[0]}: {error}") from error
    except OSError as error:
        if not every:
            raise
        log.warning("plugin/loadbalance: weight file %s: %s. Will try again in %g s", args[0], error.strerror, every)
    return plugin


def _networks(line: Directive) -> list[Network]:
    line.no_body()
    networks = []
    for text in line.args:
        try:
            if "/" not in text:
                raise ValueError("no prefix length")
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise line.error(f'invalid CIDR "{text}": {error}') from error
    if not networks:
        raise line.wrong_arguments()
    return networks
