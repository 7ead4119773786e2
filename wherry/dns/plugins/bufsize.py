"""`bufsize [SIZE]`: lowers how large a UDP reply clients may ask for, against fragments (https://coredns.io/plugins/bufsize/).

1232 by default, what http://www.dnsflagday.net/2020/ recommends.
"""

from wherry.dns.corefile.model import Block, Directive, latest
from wherry.dns.plugin import Base, Next, Reply, Request


class Bufsize(Base):
    """Caps the size in a query's OPT record at `size` octets, for the reply and for upstreams alike."""

    name = "bufsize"

    def __init__(self, size: int) -> None:
        self.size = size

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on with a smaller size, which whoever encodes the reply reads from the request."""
        edns = request.query.edns
        if edns is not None and edns.size > self.size:
            edns.size = self.size
            if request.transport == "udp":
                request.limit = min(request.limit, self.size)
        return await next(request)


def setup(directives: list[Directive], block: Block) -> Bufsize:
    """Read the directive; raises CorefileError."""
    directive = latest(directives)
    args = directive.arguments(0, 1)
    return Bufsize(directive.integer(args[0], 512, 4096) if args else 1232)
