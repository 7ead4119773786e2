"""The rules of `rewrite`, read from its directives."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Protocol

from wherry.dns import names, records
from wherry.dns.corefile.model import Directive, ServerConfig
from wherry.dns.errors import DnsError
from wherry.dns.message import SERVFAIL, Message, Question, rcode_number
from wherry.dns.plugin import Request, ServeError
from wherry.dns.plugins.rewrite import answers, options, texts
from wherry.dns.plugins.rewrite.answers import AnswerRule
from wherry.dns.plugins.rewrite.texts import KINDS, Matcher

_MOST_TTL = 2**31 - 1
_RCODES = 23
_TTL = re.compile(r"(?P<least>[0-9]*)(?:(?P<range>-)(?P<most>[0-9]*))?")
Applied = tuple[Request, list[AnswerRule]]


class Rule(Protocol):
    """Changes a query, its reply, or both."""

    def apply(self, request: Request) -> Applied | None:
        """The query after the rule and what is to be done to the reply; None where the rule does not match."""


class NameRule:
    """`name [KIND] FROM TO [answer …]`."""

    def __init__(self, matcher: Matcher, to: str, change: texts.Change, rules: list[AnswerRule], *, auto: bool) -> None:
        """``auto``: put the name that was asked for back wherever the reply has the other."""
        self.matcher = matcher
        self._to = to
        self._change = change
        self._rules = rules
        self._auto = auto

    def apply(self, request: Request) -> Applied | None:
        """Ask for the other name."""
        name = names.to_text(request.folded)
        if self.matcher.groups(name) is None:
            return None
        to = self._change(name)
        try:
            question = Question(names.from_text(to), request.type, request.klass)
        except names.NameError_ as error:
            raise ServeError(SERVFAIL, f"invalid name after rewrite: {to}") from error
        rules = self._rules
        if self._auto:
            back = texts.by_domain(to, name)
            rules = [answers.Owner(back), answers.Value(back), *rules]
        return request.asking(question), rules


class ReplyRule:
    """`ttl` and `rcode`: the query stays, the reply changes."""

    def __init__(self, matcher: Matcher, rule: AnswerRule) -> None:
        """Apply ``rule`` to replies about names that match."""
        self.matcher = matcher
        self._rule = rule

    def apply(self, request: Request) -> Applied | None:
        """Leave the query as it is."""
        matched = self.matcher.groups(names.to_text(request.folded)) is not None
        return (request, [self._rule]) if matched else None


class FieldRule:
    """`type FROM TO` and `class FROM TO`."""

    def __init__(self, field: str, old: int, new: int) -> None:
        """Put ``new`` where ``old`` is in the question's ``field``."""
        self.field = field
        self.old = old
        self._new = new

    def apply(self, request: Request) -> Applied | None:
        """Ask for the other type or class."""
        name, kind, klass = request.question
        if self.field == "type":
            return (request.asking(Question(name, self._new, klass)), []) if kind == self.old else None
        return (request.asking(Question(name, kind, self._new)), []) if klass == self.old else None


class TargetRule:
    """`cname [KIND] FROM TO`."""

    def __init__(self, change: Callable[[str], str | None], config: ServerConfig) -> None:
        """Change targets of CNAMEs in replies and ask this server for the new ones."""
        self._change = change
        self._config = config

    def apply(self, request: Request) -> Applied | None:
        """Leave the query as it is."""
        return request, [answers.Target(self._change, partial(self._lookup, request))]

    async def _lookup(self, request: Request, target: bytes) -> Message | None:
        reply = await self._config.lookup(request.asking(Question(target, request.type, request.klass)))
        return None if reply is None else reply.message


def read(directive: Directive, config: ServerConfig) -> tuple[Rule, bool]:
    """Read one `rewrite` directive: its rule, and whether later rules are tried after it. Raises CorefileError."""
    args = list(directive.args)
    if len(args) < 2:
        args += [word for line in directive.body for word in (line.name, *line.args)]
    elif directive.body:
        raise directive.body[0].error("a rule is either on the line of rewrite or in its block")
    if not args:
        raise directive.error("no rule type specified for rewrite")
    mode = args[0].lower()
    if mode in ("continue", "stop"):
        args.pop(0)
        if not args:
            raise directive.error(f"{mode} rule must begin with a rule type")
    field, rest = args[0].lower(), args[1:]
    match field:
        case "name":
            rule: Rule = _name(directive, rest)
        case "type" | "class":
            rule = _field(directive, field, rest)
        case "edns0":
            rule = options.read(directive, rest)
        case "ttl":
            rule = _ttl(directive, rest)
        case "rcode":
            rule = _rcode(directive, rest)
        case "cname":
            rule = TargetRule(_target(directive, rest), config)
        case "answer":
            raise directive.error("response rewrites must begin with a name rule")
        case _:
            raise directive.error(f"invalid rule type '{args[0]}'")
    return rule, mode == "continue"


def _name(line: Directive, args: list[str]) -> NameRule:
    if len(args) < 2:
        raise line.error("too few arguments for a name rule")
    kind = "exact" if len(args) == 2 else args.pop(0).lower()
    if len(args) < 2:
        raise line.error("too few arguments for a name rule")
    source, to, *rest = args
    matcher = Matcher(line, kind, source)
    to = texts.normal(to)
    auto, rules = _answers(line, kind, rest) if rest else (False, [])
    if kind == "suffix" and auto:
        # The suffixes themselves lead back, which is better than one name's way.
        back = texts.by_suffix(to, matcher.text)
        rules, auto = [answers.Owner(back), answers.Value(back), *rules], False
    old = matcher.text
    change = {
        "exact": lambda text: to,
        "prefix": lambda text: to + text[len(old) :],
        "suffix": lambda text: text[: -len(old)] + to,
        "substring": lambda text: text.replace(old, to),
    }.get(kind)
    if change is None:
        change = texts.by_pattern(line, source, to)
    return NameRule(matcher, to, change, rules, auto=auto or kind == "exact")


def _answers(line: Directive, kind: str, args: list[str]) -> tuple[bool, list[AnswerRule]]:
    """Read `answer auto|name FROM TO|value FROM TO`, the word `answer` needed only the first time."""
    if args[0] != "answer" or len(args) < 2:
        raise line.error(
            f"exceeded the number of arguments for a {kind} rule: only 'answer …' may follow, not '{args[0]}'"
        )
    auto = named = False
    rules: list[AnswerRule] = []
    while args:
        if args[0] == "answer":
            args.pop(0)
        if not args:
            raise line.error(f"type missing for answer rule for {kind} rule")
        word = args.pop(0)
        if word == "auto":
            auto = True
            continue
        if word not in ("name", "value"):
            raise line.error(f"invalid type '{word}' for answer rule for {kind} rule; there are auto, name, value")
        if word == "name" and args[:1] == ["auto"]:
            # As CoreDNS' own manual spells it.
            args.pop(0)
            auto = True
            continue
        if len(args) < 2:
            raise line.error(f"{word} answer rule for {kind} rule: 2 arguments required")
        change = texts.by_pattern(line, args.pop(0), texts.normal(args.pop(0)))
        rules.append(answers.Owner(change) if word == "name" else answers.Value(change))
        named = named or word == "name"
    if auto and named:
        raise line.error("auto name answer rule cannot be combined with explicit name answer rules")
    return auto, rules


def _field(line: Directive, field: str, args: list[str]) -> FieldRule:
    if len(args) != 2:
        raise line.error(f"{field} rules must have exactly two arguments")
    number = records.type_number if field == "type" else records.class_number
    try:
        return FieldRule(field, number(args[0]), number(args[1]))
    except DnsError as error:
        raise line.error(f"invalid {field}: {error}") from error


def _matcher(line: Directive, field: str, args: list[str], values: int) -> Matcher:
    if len(args) == values + 1:
        return Matcher(line, "exact", args[0])
    if len(args) == values + 2:
        return Matcher(line, args[0].lower(), args[1])
    raise line.error(f"a {field} rule takes [KIND] NAME and {values} more arguments, not {len(args)}")


def _ttl(line: Directive, args: list[str]) -> ReplyRule:
    matcher = _matcher(line, "ttl", args, 1)
    found = _TTL.fullmatch(args[-1])
    if found is None or (not found["least"] and not found["most"]):
        raise line.error(f"invalid TTL '{args[-1]}' for a ttl rule")
    least = int(found["least"] or 0)
    most = least if not found["range"] else int(found["most"] or _MOST_TTL)
    if not least <= most < 2**32:
        raise line.error(f"invalid TTL '{args[-1]}' for a ttl rule")
    return ReplyRule(matcher, answers.Lifetime(least, most))


def _rcode(line: Directive, args: list[str]) -> ReplyRule:
    matcher = _matcher(line, "rcode", args, 2)
    found = []
    for text in args[-2:]:
        number = int(text) if text.isascii() and text.isdecimal() else rcode_number(text)
        if number is None or number > _RCODES:
            raise line.error(f"invalid RCODE '{text}' for a rcode rule")
        found.append(number)
    return ReplyRule(matcher, answers.Rcode(*found))


def _target(line: Directive, args: list[str]) -> Callable[[str], str | None]:
    if len(args) not in (2, 3):
        raise line.error(f"a cname rule takes [KIND] FROM TO, not {len(args)} arguments")
    kind = "exact" if len(args) == 2 else args[0].lower()
    source, to = args[-2], args[-1].lower()
    if kind not in KINDS:
        raise line.error(f"unknown cname rewrite type: {kind}; there are {', '.join(KINDS)}")
    if kind == "regex":
        compiled = texts.pattern(line, source)

        def filled(text: str) -> str | None:
            groups = compiled.find(text)
            return None if groups is None else texts.fill(to, groups)

        return filled
    source = texts.normal(source) if kind == "exact" else source.lower()
    to = texts.normal(to) if kind == "exact" else to
    return {
        "exact": lambda text: to if text == source else None,
        "prefix": lambda text: to + text[len(source) :] if text.startswith(source) else None,
        "suffix": lambda text: text[: len(text) - len(source)] + to if text.endswith(source) else None,
        "substring": lambda text: text.replace(source, to) if source in text else None,
    }[kind]
