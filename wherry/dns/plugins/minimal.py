"""`minimal`: positive answers without authority and additional section (https://coredns.io/plugins/minimal/)."""

from wherry.dns import names, records
from wherry.dns.classify import sort_of
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.plugin import Base, Next, Reply, Request


class Minimal(Base):
    """Takes away what clients did not ask for; denials, referrals and errors stay whole."""

    name = "minimal"

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Types of questions whose positive answers carry more than an answer section in our own zones."""
        return frozenset((names.ROOT, kind) for kind in (records.SRV, records.NS, records.MX))

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on and shorten."""
        reply = await next(request)
        if reply is None or sort_of(reply.message).type != "NOERROR":
            return reply
        return Reply(reply.message.copy(authority=(), additional=()), reply.plugin, reply.keep, reply.following)


def setup(directives: list[Directive], block: Block) -> Minimal:
    """Read the directive; raises CorefileError."""
    for directive in directives:
        directive.arguments(0)
    return Minimal()
