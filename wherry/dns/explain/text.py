"""Answers and steps as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.dns import names, records
from wherry.dns.message import Message, rcode_name
from wherry.dns.plugin import Step
from wherry.dns.records import Record


def outcome(message: Message) -> str:
    """What an answer says, in a word or two."""
    if message.rcode:
        return rcode_name(message.rcode)
    return "NOERROR" if message.answer else "NODATA (the name exists, with other types)"


def lines(message: Message) -> list[str]:
    """The answer section as a zone file has it, columns aligned."""
    rows = [_row(record) for record in message.answer]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]


def _row(record: Record) -> tuple[str, str, str, str]:
    kind = records.type_name(record.type)
    return names.to_text(record.name), str(record.ttl), kind, records.rdata_text(record)


def trace(steps: Sequence[Step]) -> list[str]:
    """One line for each plugin that was asked, after the zone of its server block; what it says of itself below."""
    found: list[str] = []
    for step in steps:
        found.append(f"block {names.to_text(step.zone)}  {step.plugin}: {step.verdict}")
        found += [f"    {note}" for note in step.notes]
    return found
