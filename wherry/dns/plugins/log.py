"""`log [NAMES…] [FORMAT] { class all|success|denial|error… }`: a line for each query (https://coredns.io/plugins/log/)."""

import logging
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.acceptance import bare
from wherry.dns.classify import sort_of
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import zones_of
from wherry.dns.logbound import LogBound
from wherry.dns.message import Message
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError

log = logging.getLogger(__name__)

_MOST = 2000  # lines a second
_CLASSES = ("all", "success", "denial", "error")
_ASKED = '"{type} {class} {name} {proto} {size} {>do} {>bufsize}"'
_COMMON = f"{{remote}}:{{port}} - {{>id}} {_ASKED} {{rcode}} {{>rflags}} {{rsize}} {{duration}}"
_COMBINED = f'{_COMMON} "{{>opcode}}"'
_NONE = "-"
_FLAGS = (
    ("qr", "response"),
    ("aa", "authoritative"),
    ("tc", "truncated"),
    ("rd", "recursion_desired"),
    ("ra", "recursion_available"),
    ("z", "zero"),
    ("ad", "authentic"),
    ("cd", "checking_disabled"),
)


class Exchange(NamedTuple):
    """A query and what it got; `reply` None is silence."""

    request: Request
    reply: Message | None
    seconds: float


Piece = Callable[[Exchange], str]

PLACEHOLDERS: dict[str, Piece] = {
    "{type}": lambda one: records.type_name(one.request.type),
    "{name}": lambda one: names.to_text(one.request.folded),
    "{class}": lambda one: records.class_name(one.request.klass),
    "{proto}": lambda one: "udp" if one.request.transport == "udp" else "tcp",
    "{size}": lambda one: str(len(m.encode(one.request.query))),
    "{remote}": lambda one: _bracketed(one.request.client),
    "{port}": lambda one: str(one.request.port),
    "{local}": lambda one: _bracketed(one.request.local),
    "{>id}": lambda one: str(one.request.query.id),
    "{>opcode}": lambda one: str(one.request.query.opcode),
    "{>do}": lambda one: str(one.request.dnssec_ok).lower(),
    "{>bufsize}": lambda one: str(one.request.limit),
    "{rcode}": lambda one: _NONE if one.reply is None else m.rcode_name(one.reply.rcode),
    "{rsize}": lambda one: "0" if one.reply is None else str(len(m.encode(one.reply))),
    "{duration}": lambda one: f"{one.seconds:.9f}".rstrip("0").rstrip(".") + "s",
    "{>rflags}": lambda one: _NONE if one.reply is None else _flags(one.reply),
}
"""What a format may name, besides `{/METADATA}`."""


class Rule(NamedTuple):
    """Queries within `zone` whose answer is of one of `classes` are logged as `pieces` say."""

    zone: bytes
    pieces: list[Piece]
    classes: frozenset[str]


class Log(Base):
    """Logs by the first rule whose zone holds the name."""

    name = "log"
    transparent = False

    def __init__(self, block: Block, rules: list[Rule]) -> None:
        self._rules = rules
        self._bound = LogBound(log, _MOST, block.config.clock)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on and log; raises what the rest of the chain raises."""
        rule = next_rule(self._rules, request.folded)
        if rule is None:
            return await next(request)
        start = time.perf_counter()
        try:
            reply = await next(request)
        except ServeError as error:
            self._log(rule, request, bare(request.query, error.rcode), start)
            raise
        self._log(rule, request, None if reply is None else reply.message, start)
        return reply

    async def stop(self) -> None:
        """Say how much was left out."""
        self._bound.flush()

    def _log(self, rule: Rule, request: Request, reply: Message | None, start: float) -> None:
        sort = sort_of(reply)
        if "all" not in rule.classes and sort.klass not in rule.classes:
            return
        request.metadata["log/type"] = lambda: sort.type
        request.metadata["log/class"] = lambda: sort.klass
        one = Exchange(request, reply, time.perf_counter() - start)
        self._bound.log(logging.INFO, "".join(piece(one) for piece in rule.pieces))


def next_rule(rules: list[Rule], name: bytes) -> Rule | None:
    """The first rule for a folded name."""
    return next((rule for rule in rules if names.is_within(name, rule.zone)), None)


def pieces_of(text: str) -> list[Piece]:
    """A format as functions; what is in braces and no placeholder stays as it stands."""
    pieces: list[Piece] = []
    for part in re.split(r"(\{[^{}]*\})", text):
        if part in PLACEHOLDERS:
            pieces.append(PLACEHOLDERS[part])
        elif part.startswith("{/"):
            pieces.append(_metadata(part[2:-1]))
        elif part:
            pieces.append(_literal(part))
    return pieces


def _literal(text: str) -> Piece:
    return lambda one: text


def _metadata(label: str) -> Piece:
    def read(one: Exchange) -> str:
        function = one.request.metadata.get(label)
        return _NONE if function is None else function()

    return read


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _flags(message: Message) -> str:
    return ",".join(flag for flag, field in _FLAGS if getattr(message, field))


def setup(directives: list[Directive], block: Block) -> Log:
    """Read the directives, whose rules follow each other; raises CorefileError."""
    rules: list[Rule] = []
    for directive in directives:
        scopes, text = list(directive.args), _COMMON
        if len(scopes) > 1 and "{" in scopes[-1]:
            text = scopes.pop().replace("{common}", _COMMON).replace("{combined}", _COMBINED)
        pieces = pieces_of(text)
        classes: set[str] = set()
        for line in directive.body:
            if line.name != "class":
                raise line.unknown_property()
            line.no_body()
            if not line.args:
                raise line.wrong_arguments()
            for word in line.args:
                if word not in _CLASSES:
                    raise line.error(f"invalid Class: {word}; there are {', '.join(_CLASSES)}")
            classes.update(line.args)
        zones = zones_of(directive, block, scopes) if scopes else [names.ROOT]
        rules += [Rule(zone, pieces, frozenset(classes or {"all"})) for zone in zones]
    return Log(block, rules)
