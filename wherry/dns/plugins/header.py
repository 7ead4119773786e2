"""`header { query|response set|clear aa|ra|rd… }`: changes flags (https://coredns.io/plugins/header/)."""

from dataclasses import replace

from wherry.dns import names
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.message import Message
from wherry.dns.plugin import Base, Next, Reply, Request

_FIELDS = {"aa": "authoritative", "ra": "recursion_available", "rd": "recursion_desired"}


class Header(Base):
    """Sets and clears flags of queries before, and of replies after the rest of the chain."""

    name = "header"

    def __init__(self, queries: dict[str, bool], replies: dict[str, bool]) -> None:
        self._queries = queries
        self._replies = replies

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Everything: fronts know no such flags."""
        return frozenset({(names.ROOT, 0)})

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on with other flags."""
        if self._queries:
            request = replace(request, query=_changed(request.query, self._queries))
        reply = await next(request)
        if reply is None or not self._replies:
            return reply
        return Reply(_changed(reply.message, self._replies), reply.plugin, reply.keep, reply.following)


def _changed(message: Message, rules: dict[str, bool]) -> Message:
    return message.copy(**{_FIELDS[flag]: state for flag, state in rules.items()})


def setup(directives: list[Directive], block: Block) -> Header:
    """Read the directives, of whose rules for one flag the last counts; raises CorefileError."""
    rules: dict[str, dict[str, bool]] = {"query": {}, "response": {}}
    for directive in directives:
        if directive.args or not directive.body:
            raise directive.wrong_arguments()
        for line in directive.body:
            selector = line.name.lower()
            if selector not in rules:
                raise line.error(f"setting up rule: invalid selector={selector} should be query or response")
            action, *flags = line.arguments(2, 1 << 16) if line.args else [""]
            if action.lower() not in ("set", "clear"):
                raise line.error(f"setting up rule: unknown flag action={action}, should be set or clear")
            for flag in flags:
                if flag.lower() not in _FIELDS:
                    raise line.error(
                        f"setting up rule: unknown/unsupported flag={flag}; there are {', '.join(_FIELDS)}"
                    )
                rules[selector][flag.lower()] = action.lower() == "set"
    return Header(rules["query"], rules["response"])
