"""`template`: answers made from the question by Go templates.

Directives are tried in the Corefile's order. One whose zone, class and type fit but whose expressions do not is
SERVFAIL unless it falls through.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import zones_of
from wherry.dns.errors import DnsError
from wherry.dns.expression.compile import Node, compile_expression
from wherry.dns.fallthrough import Fallthrough, closest
from wherry.dns.message import NOERROR, SERVFAIL, Edns, Message, Question, rcode_number
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError
from wherry.dns.plugins.template.render import Data, RenderError, Template
from wherry.dns.plugins.view import COUNTS, Environment
from wherry.dns.regex import Pattern

_Made = TypeVar("_Made")
_EDE = 15
"""Extended DNS errors (RFC 8914)."""
_EDNS_SIZE = 4096
_FIELDS = frozenset(
    ("Zone", "Name", "Regex", "Match", "Group", "Class", "Type", "Message", "Question", "Remote", "Meta")
)
_SECTIONS = ("answer", "additional", "authority")


class Found(NamedTuple):
    """A question that a rule answers: the zone, and what the first expression that matches says."""

    zone: bytes
    expression: str
    groups: tuple[str, ...]
    names: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Rule:
    """One directive."""

    place: str
    """File and line of the Corefile."""
    zones: tuple[bytes, ...]
    klass: int
    type: int
    patterns: list[Pattern] = field(default_factory=list)
    conditions: list[Node] = field(default_factory=list)
    sections: dict[str, list[Template]] = field(default_factory=lambda: {section: [] for section in _SECTIONS})
    rcode: int = NOERROR
    extended_error: tuple[int, str] | None = None
    fallthrough: Fallthrough = field(default_factory=Fallthrough)

    def concerns(self, request: Request) -> bytes | None:
        """The zone of the rule that a question is in, None where zone, class or type do not fit."""
        if request.klass not in (self.klass, records.CLASS_ANY) and self.klass != records.CLASS_ANY:
            return None
        if request.type not in (self.type, records.ANY) and self.type != records.ANY:
            return None
        return closest(request.folded, self.zones)

    def find(self, zone: bytes, name: str) -> Found | None:
        """The first expression that matches a name; without expressions all names do."""
        if not self.patterns:
            return Found(zone, ".*", (name,), ())
        for pattern in self.patterns:
            groups = pattern.find(name)
            if groups is not None:
                return Found(zone, pattern.text, groups, tuple(pattern.names.items()))
        return None


class TemplatePlugin(Base):
    """The rules of a block."""

    name = "template"

    def __init__(self, rules: list[Rule], block: Block) -> None:
        """Try ``rules`` in their order."""
        self.rules = rules
        self._config = block.config
        metrics = block.config.metrics
        labels = ["server", "zone", "view", "class", "type"]
        self._matches = metrics.counter("coredns_template_matches", "Counter of template regex matches.", labels)
        labels = [*labels, "section", "template"]
        self._failures = metrics.counter(
            "coredns_template_template_failures", "Counter of go template failures.", labels
        )
        self._bad_records = metrics.counter("coredns_template_rr_failures", "Counter of mis-templated RRs.", labels)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer by the first rule that matches."""
        for rule in self.rules:
            zone = rule.concerns(request)
            if zone is None:
                continue
            found = rule.find(zone, names.to_text(request.folded))
            if found is not None and rule.conditions and not _holds(rule, request, found):
                found = None
            if found is not None:
                request.note(f"{found.expression} of {rule.place} matches")
                return await self._answer(request, rule, found)
            if not rule.fallthrough.through(request.folded):
                request.note(f"no expression of {rule.place} matches and it does not fall through")
                raise ServeError(SERVFAIL, "")
        return await next(request)

    async def _answer(self, request: Request, rule: Rule, found: Found) -> Reply:
        klass = records.class_name(request.klass if request.klass != records.CLASS_ANY else rule.klass)
        kind = records.type_name(request.type if request.type != records.ANY else rule.type)
        labels = (request.server, names.to_text(found.zone), request.view, klass, kind)
        self._matches.labels(*labels).inc()
        if rule.rcode == SERVFAIL:
            raise ServeError(SERVFAIL, "")
        message = request.query.reply(rule.rcode)
        if any(rule.sections.values()):
            data = _data(request, found, klass, kind)
            for template in rule.sections["answer"]:
                record = self._record(template, data, (*labels, "answer"))
                message.answer.append(record)
                if record.type == records.CNAME and request.type in (records.A, records.AAAA):
                    await self._chase(request, record, message)
            message.additional = [self._record(t, data, (*labels, "additional")) for t in rule.sections["additional"]]
            message.authority = [self._record(t, data, (*labels, "authority")) for t in rule.sections["authority"]]
        if rule.extended_error is not None:
            code, reason = rule.extended_error
            message.edns = Edns(_EDNS_SIZE, options=((_EDE, code.to_bytes(2, "big") + reason.encode()),))
        return Reply(message, self.name)

    def _record(self, template: Template, data: Data, labels: tuple[str, ...]) -> records.Record:
        try:
            text = template.render(data)
        except RenderError as error:
            self._failures.labels(*labels, template.text).inc()
            raise ServeError(SERVFAIL, f"template {template.text}: {error}") from error
        try:
            return _parsed(text)
        except DnsError as error:
            self._bad_records.labels(*labels, template.text).inc()
            raise ServeError(SERVFAIL, str(error)) from error

    async def _chase(self, request: Request, record: records.Record, message: Message) -> None:
        reply = await self._config.lookup(request.asking(Question(record.rdata, request.type, request.klass)))
        if reply is not None:
            message.truncated = reply.message.truncated
            message.answer += reply.message.answer

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Where rules answer, or refuse to pass on; a question of type ANY concerns every rule."""
        return frozenset(
            (zone, kind)
            for rule in self.rules
            for zone in rule.zones
            for kind in ((0,) if rule.type == records.ANY else (rule.type, records.ANY))
        )


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> records.Record:
    return records.from_text(text)


def _groups(found: Found) -> dict[str, str]:
    """The groups of a match by number and by name."""
    groups = {str(number): text for number, text in enumerate(found.groups)}
    groups.update((name, found.groups[number]) for name, number in found.names)
    return groups


def _data(request: Request, found: Found, klass: str, kind: str) -> Data:
    query = request.query

    def meta(label: str) -> str:
        value = request.metadata.get(label)
        return value() if value else ""

    return {
        "Zone": names.to_text(found.zone),
        "Name": names.to_text(request.folded),
        "Regex": found.expression,
        "Match": list(found.groups),
        "Group": _groups(found),
        "Class": klass,
        "Type": kind,
        "Message": {
            "Id": query.id,
            "Opcode": query.opcode,
            "RecursionDesired": query.recursion_desired,
            "AuthenticatedData": query.authentic,
            "CheckingDisabled": query.checking_disabled,
        },
        "Question": {"Name": names.to_text(request.name), "Qtype": request.type, "Qclass": request.klass},
        "Remote": request.client,
        "Meta": meta,
    }


def _read(directive: Directive, block: Block) -> Rule:
    if len(directive.args) < 2:
        raise directive.wrong_arguments()
    klass, kind, *zones = directive.args
    try:
        rule = Rule(f"{directive.file}:{directive.line}", (), records.class_number(klass), records.type_number(kind))
    except DnsError as error:
        raise directive.error(str(error)) from error
    rule.zones = tuple(zones_of(directive, block, zones))
    for line in directive.body:
        match line.name:
            case "match":
                rule.patterns += [_checked(line, Pattern, text) for text in line.arguments(1, 1024)]
            case "answer" | "additional" | "authority":
                rule.sections[line.name] += [_checked(line, _template, text) for text in line.arguments(1, 1024)]
            case "rcode":
                rcode = rcode_number(line.argument())
                if rcode is None:
                    raise line.error(f"unknown rcode {line.args[0]}")
                rule.rcode = rcode
            case "ederror":
                code, *reason = line.arguments(1, 2)
                rule.extended_error = (line.integer(code, 0, 0xFFFF), reason[0] if reason else "")
            case "fallthrough":
                rule.fallthrough = Fallthrough.of(line)
            case "upstream":
                # CoreDNS accepts it, and anything after it, without effect.
                line.no_body()
            case "expr":
                line.no_body()
                rule.conditions.append(_checked(line, _condition, " ".join(line.args)))
            case "var":
                raise line.error("'var' of CoreDNS' template is not part of wherry; 'expr' is")
            case _:
                raise line.unknown_property()
    return rule


def _holds(rule: Rule, request: Request, found: Found) -> bool:
    """Whether all conditions of a rule are true; raises ServeError where one cannot be told, as CoreDNS does."""
    groups = _groups(found)
    environment = Environment(request)
    environment["group"] = lambda key: groups.get(str(key), "")
    try:
        return all(condition(environment) is True for condition in rule.conditions)
    except (TypeError, ValueError) as error:
        raise ServeError(SERVFAIL, f"{rule.place}: expr: {error}") from error


def _condition(text: str) -> Node:
    return compile_expression(text, COUNTS | {"group": 1})


def _template(text: str) -> Template:
    return Template(text, _FIELDS)


def _checked(line: Directive, make: Callable[[str], _Made], text: str) -> _Made:
    try:
        return make(text)
    except ValueError as error:
        raise line.error(f"could not compile '{text}': {error}") from error


def setup(directives: list[Directive], block: Block) -> TemplatePlugin:
    """Read all `template` directives of a block."""
    return TemplatePlugin([_read(directive, block) for directive in directives], block)
