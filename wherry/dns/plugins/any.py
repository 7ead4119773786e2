"""`any`: answers questions for all types with one small record, as RFC 8482 has it (https://coredns.io/plugins/any/)."""

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.plugin import Base, Next, Reply, Request
from wherry.dns.records import Record

_TTL = 8482  # seconds; CoreDNS' joke
_RDATA = b"\x0dANY obsoleted\x0cSee RFC 8482"


class Any(Base):
    """Answers ANY, passes on the rest."""

    name = "any"

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """ANY everywhere."""
        return frozenset({(names.ROOT, records.ANY)})

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer with a HINFO record."""
        if request.type != records.ANY:
            return await next(request)
        message = request.query.reply()
        message.authoritative = False
        message.answer.append(Record(request.name, records.HINFO, _TTL, _RDATA))
        return Reply(message, self.name)


def setup(directives: list[Directive], block: Block) -> Any:
    """Read the directive; raises CorefileError."""
    for directive in directives:
        directive.arguments(0)
    return Any()
