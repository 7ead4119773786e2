"""`nsid [DATA]`: says which server answered, to those who ask (RFC 5001; https://coredns.io/plugins/nsid/)."""

import socket

from wherry.dns import message as m
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.message import Edns
from wherry.dns.plugin import Base, Next, Reply, Request


class Nsid(Base):
    """Puts the option into replies to queries that carry it. Fronts hand over queries with options."""

    name = "nsid"

    def __init__(self, data: bytes) -> None:
        self._option = (m.NSID, data)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on and add the option."""
        reply = await next(request)
        asked = request.query.edns
        if reply is None or asked is None or all(code != m.NSID for code, _ in asked.options):
            return reply
        edns = reply.message.edns or asked
        options = (*(option for option in edns.options if option[0] != m.NSID), self._option)
        message = reply.message.copy(edns=Edns(asked.size, asked.dnssec_ok, options=options))
        return Reply(message, reply.plugin, None, reply.following)


def setup(directives: list[Directive], block: Block) -> Nsid:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    directive.no_body()
    return Nsid((" ".join(directive.args) or socket.gethostname()).encode(errors="surrogateescape"))
