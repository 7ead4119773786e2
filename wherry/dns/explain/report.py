"""What becomes of a name, told line by line: asked of a server, or worked out in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from wherry.dns import names, records
from wherry.dns.explain.ask import ask
from wherry.dns.explain.search import Resolver, tried
from wherry.dns.explain.serving import Explainer
from wherry.dns.explain.text import lines, outcome, trace
from wherry.dns.message import NOERROR, NXDOMAIN, Message, Question


def questions(name: str, kind: str, resolver: Resolver) -> list[Question]:
    """What a resolver asks, one after the other, for a name and a type by its mnemonic. Raises DnsError."""
    number = records.type_number(kind.upper())
    return [Question(names.from_text(each), number) for each in tried(name, resolver)]


def goes_on(message: Message | None) -> bool:
    """Whether a resolver tries its next name: where neither the name nor the type was there, and nothing failed."""
    return message is not None and message.rcode in (NOERROR, NXDOMAIN) and not message.answer


def queried(server: str, asked: list[Question], say: Callable[[str], None]) -> bool:
    """Ask a server and say what it answers; returns whether anything was found. Raises NoAnswer."""
    for question in asked:
        message, seconds = ask(server, question)
        say(f"{names.to_text(question.name)}  {outcome(message)}  {seconds * 1000:.1f} ms")
        for line in lines(message):
            say(f"    {line}")
        if not goes_on(message):
            return bool(message.answer)
    return False


async def explained(explainer: Explainer, asked: list[Question]) -> AsyncIterator[str]:
    """Lines that say for each name which plugin did what."""
    for question in asked:
        message, steps = await explainer.explain(question)
        said = outcome(message) if message is not None else "no answer at all"
        yield f"{names.to_text(question.name)}  {said}"
        for line in trace(steps):
            yield f"  | {line}"
        for line in lines(message) if message is not None else ():
            yield f"    {line}"
        if not goes_on(message):
            return
