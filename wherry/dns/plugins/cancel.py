"""`cancel [TIMEOUT]`: gives up on a query after 5.001 s or what is set (https://coredns.io/plugins/cancel/)."""

import asyncio

from wherry.dns.corefile.model import Block, Directive, latest
from wherry.dns.message import SERVFAIL
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError


class Cancel(Base):
    """Answers SERVFAIL when the rest of the chain takes too long, and stops it."""

    name = "cancel"

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on for a while; raises ServeError."""
        try:
            async with asyncio.timeout(self.timeout) as limit:
                return await next(request)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ServeError(SERVFAIL, "context deadline exceeded") from error


def setup(directives: list[Directive], block: Block) -> Cancel:
    """Read the directive; raises CorefileError."""
    directive = latest(directives)
    args = directive.arguments(0, 1)
    timeout = directive.duration(args[0]) if args else 5.001
    if timeout <= 0:
        raise directive.error(f"invalid negative duration: {args[0]!r}")
    return Cancel(timeout)
