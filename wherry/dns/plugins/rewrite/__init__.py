"""`rewrite`: asks the rest of the chain something else than the client did, and undoes that in the reply.

Rules are tried in the Corefile's order on what the ones before made of the query; the first that matches is the last
unless it says `continue`. Replies go through the rules that matched backwards.
"""

from __future__ import annotations

from dataclasses import replace

from wherry.dns import names
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.plugin import Base, Keep, Next, Reply, Request, ServeError
from wherry.dns.plugins.rewrite.answers import AnswerRule, Lifetime, Target, rewritten
from wherry.dns.plugins.rewrite.rules import FieldRule, NameRule, ReplyRule, Rule, TargetRule, read

_BLINK = 1.0
"""Seconds in which a TTL does not fall by more than one."""


class Rewrite(Base):
    """The rules of a block."""

    name = "rewrite"

    def __init__(self, rules: list[tuple[Rule, bool]]) -> None:
        """Try ``rules`` in their order; the flag says whether to go on after a match."""
        self.rules = rules

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Apply the rules, ask on, and apply what they say to the reply."""
        changes: list[AnswerRule] = []
        asked = request
        for rule, goes_on in self.rules:
            applied = rule.apply(asked)
            if applied is None:
                continue
            asked, more = applied
            changes += more
            if not goes_on:
                break
        if asked.question != request.question:
            asked.note(f"asks for {names.to_text(asked.name)}")
        try:
            reply = await next(asked)
        except ServeError as error:
            bare = await rewritten(request.query.reply(error.rcode), changes)
            if bare.rcode == error.rcode:
                raise
            raise ServeError(bare.rcode, error.text) from error
        if reply is None or (not changes and asked is request):
            return reply
        message = await rewritten(reply.message, changes) if changes else reply.message.copy()
        message.question = request.question
        return replace(reply, message=message, keep=_kept(reply.keep, changes))

    def excluded(self) -> frozenset[bytes]:
        """The names that rules name."""
        return frozenset(
            name for rule, _ in self.rules if isinstance(rule, NameRule | ReplyRule) for name in rule.matcher.excluded()
        )

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Where rules match more than some names. Those for EDNS options change no answer of the cluster's zones."""
        found: set[tuple[bytes, int]] = set()
        for rule, _ in self.rules:
            if isinstance(rule, NameRule | ReplyRule):
                found |= rule.matcher.excluded_zones()
            elif isinstance(rule, FieldRule):
                found.add((names.ROOT, rule.old if rule.field == "type" else 0))
            elif isinstance(rule, TargetRule):
                found.add((names.ROOT, 0))
        return frozenset(found)


def _kept(keep: Keep | None, changes: list[AnswerRule]) -> Keep | None:
    """How long a front may repeat a changed reply: it does not know how TTLs changed, nor what else was asked for."""
    if keep is None or any(isinstance(rule, Target) for rule in changes):
        return None
    if any(isinstance(rule, Lifetime) for rule in changes):
        return keep._replace(seconds=min(keep.seconds, _BLINK), countdown=False)
    return keep


def setup(directives: list[Directive], block: Block) -> Rewrite:
    """Read all `rewrite` directives of a block."""
    return Rewrite([read(directive, block.config) for directive in directives])
