"""`whoami`: answers every question with who asked (https://coredns.io/plugins/whoami/)."""

import ipaddress

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.plugin import Base, Next, Reply, Request


class Whoami(Base):
    """The client's address and port, as address and SRV records of the additional section."""

    name = "whoami"
    transparent = False

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer; nothing is passed on."""
        message = request.query.reply()
        address = ipaddress.ip_address(request.client.partition("%")[0])
        kind = records.A if address.version == 4 else records.AAAA
        record = records.Record(request.name, kind, 0, address.packed)
        label = b"_udp" if request.transport == "udp" else b"_tcp"
        owner = bytes([len(label)]) + label + request.name
        if len(owner) > names.MAX_NAME:
            owner = request.name
        service = records.srv(owner, 0, 0, 0, request.port, names.ROOT)
        message.additional = [one._replace(klass=request.klass) for one in (record, service)]
        return Reply(message, self.name)


def setup(directives: list[Directive], block: Block) -> Whoami:
    """Read the directive; raises CorefileError."""
    for directive in directives:
        directive.arguments(0)
    return Whoami()
