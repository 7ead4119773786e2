"""What rules do to replies, in reverse order of the rules: names, values, TTLs, rcodes, targets of CNAMEs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from wherry.dns import names, records
from wherry.dns.message import SERVFAIL, Edns, Message
from wherry.dns.plugin import ServeError
from wherry.dns.plugins.rewrite.texts import Change
from wherry.dns.records import Record

#: Octets before the name in the rdata of the types whose values are rewritten; NAPTR's is after three strings.
_VALUES = {
    records.SRV: 6, records.MX: 2, records.CNAME: 0, records.NS: 0, records.DNAME: 0, records.SOA: 0, records.PTR: 0,
}  # fmt: skip


class AnswerRule:
    """Changes one record, the message without records, or its EDNS options; the default is to change nothing."""

    def record(self, record: Record, message: Message) -> Record:
        """The record as it goes to the client; ``message`` may be changed too."""
        return record

    def message(self, message: Message) -> None:
        """Change a message that has no record."""

    def options(self, options: tuple[tuple[int, bytes], ...]) -> tuple[tuple[int, bytes], ...]:
        """The EDNS options of the reply."""
        return options


@dataclass(slots=True, frozen=True)
class Owner(AnswerRule):
    """Changes the names that records have."""

    change: Change

    def record(self, record: Record, message: Message) -> Record:
        """The record under its other name."""
        return record._replace(name=_changed(self.change, record.name))


@dataclass(slots=True, frozen=True)
class Value(AnswerRule):
    """Changes the names that records hold."""

    change: Change

    def record(self, record: Record, message: Message) -> Record:
        """The record with its other value."""
        if record.type == records.NAPTR:
            start = 4
            for _ in range(3):
                start += record.rdata[start] + 1
        elif record.type in _VALUES:
            start = _VALUES[record.type]
        else:
            return record
        end = start
        while record.rdata[end]:
            end += record.rdata[end] + 1
        value = _changed(self.change, record.rdata[start : end + 1])
        return record._replace(rdata=record.rdata[:start] + value + record.rdata[end + 1 :])


@dataclass(slots=True, frozen=True)
class Lifetime(AnswerRule):
    """Moves TTLs into bounds."""

    least: int
    most: int

    def record(self, record: Record, message: Message) -> Record:
        """The record with its TTL within bounds."""
        return record._replace(ttl=min(max(record.ttl, self.least), self.most))


@dataclass(slots=True, frozen=True)
class Rcode(AnswerRule):
    """Puts one rcode where another is."""

    old: int
    new: int

    def record(self, record: Record, message: Message) -> Record:
        """Change the rcode of a message with records."""
        self.message(message)
        return record

    def message(self, message: Message) -> None:
        """Change the rcode."""
        if message.rcode == self.old:
            message.rcode = self.new


@dataclass(slots=True, frozen=True)
class Option(AnswerRule):
    """Undoes in the reply what an `edns0 … revert` rule did to an option; ``before`` None: it was not there."""

    code: int
    before: bytes | None

    def options(self, options: tuple[tuple[int, bytes], ...]) -> tuple[tuple[int, bytes], ...]:
        """The options with the first of this code as the client had it."""
        for place, (code, _) in enumerate(options):
            if code == self.code:
                kept = () if self.before is None else ((code, self.before),)
                return options[:place] + kept + options[place + 1 :]
        return options


@dataclass(slots=True, frozen=True)
class Target(AnswerRule):
    """Replaces a CNAME's target, and what follows it by what the server answers for the new one."""

    change: Callable[[str], str | None]
    """The new target of one as text, None where it does not match."""
    lookup: Callable[[bytes], Awaitable[Message | None]]


async def rewritten(message: Message, rules: Sequence[AnswerRule]) -> Message:
    """A reply with all rules applied, the last first. Raises ServeError where a rule makes a name that is none."""
    backwards = list(reversed(rules))
    result = message.copy()
    result.authority = [_record(record, result, backwards) for record in message.authority]
    answer: list[Record] = []
    for record in message.answer:
        tail = None
        for rule in backwards:
            if isinstance(rule, Target):
                if tail is None and record.type == records.CNAME:
                    record, tail = await _retargeted(record, rule)
            else:
                record = rule.record(record, result)
        if tail is None:
            answer.append(record)
            continue
        answer = [kept for kept in answer if kept.type == records.CNAME]
        answer += [record, *tail.answer]
        result.truncated = tail.truncated
        break
    result.answer = answer
    result.additional = [_record(record, result, backwards) for record in message.additional]
    if not (message.authority or message.answer or message.additional):
        for rule in backwards:
            rule.message(result)
    if result.edns is not None and result.edns.options:
        options = result.edns.options
        for rule in backwards:
            options = rule.options(options)
        edns = result.edns
        result.edns = Edns(edns.size, edns.dnssec_ok, edns.version, options)
    return result


def _record(record: Record, message: Message, backwards: list[AnswerRule]) -> Record:
    for rule in backwards:
        record = rule.record(record, message)
    return record


async def _retargeted(record: Record, rule: Target) -> tuple[Record, Message | None]:
    to = rule.change(names.to_text(record.rdata).lower())
    if to is None:
        return record, None
    target = _name(to)
    found = await rule.lookup(target)
    return (record, None) if found is None else (record._replace(rdata=target), found)


def _changed(change: Change, name: bytes) -> bytes:
    text = names.to_text(name)
    changed = change(text)
    return name if changed == text else _name(changed)


def _name(text: str) -> bytes:
    try:
        return names.from_text(text)
    except names.NameError_ as error:
        raise ServeError(SERVFAIL, f"invalid name after rewrite: {error}") from error
