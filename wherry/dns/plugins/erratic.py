"""`erratic { drop [N]; truncate [N]; delay [N [DURATION]]; large }`: a bad server, for tests of clients.

https://coredns.io/plugins/erratic/
"""

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wherry.dns import records
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.message import SERVFAIL
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError

_LARGE = 30  # records, so that an answer is longer than 512 octets
_MOST = 2**31 - 1


@dataclass(slots=True)
class Faults:
    """Each befalls one of so many queries, 0 none; `pause` is seconds of a delay."""

    drop: int = 2
    truncate: int = 0
    delay: int = 0
    pause: float = 0.1
    large: bool = False


class Erratic(Base):
    """Answers A and AAAA, and SERVFAIL otherwise, if it answers at all."""

    name = "erratic"
    transparent = False

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._queries = 0

    def ready(self) -> bool:
        """Now and then, so that `ready` can be tried."""
        return 3 <= self._queries < 5

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer badly; nothing is passed on."""
        number = self._queries
        self._queries += 1
        faults = self.faults
        if faults.drop and number % faults.drop == 0:
            return None
        if faults.delay and number % faults.delay == 0:
            await asyncio.sleep(faults.pause)
        message = request.query.reply()
        message.truncated = bool(faults.truncate) and number % faults.truncate == 0
        if request.type == records.A:
            record = records.a(request.name, 0, IPv4Address("192.0.2.53"))
            message.answer = [record] * (_LARGE if faults.large else 1)
        elif request.type == records.AAAA:
            message.answer = [records.aaaa(request.name, 0, IPv6Address("2001:db8::53"))]
        else:
            raise ServeError(SERVFAIL, "")
        return Reply(message, self.name)


def setup(directives: list[Directive], block: Block) -> Erratic:
    """Read the directives; raises CorefileError."""
    faults = Faults()
    dropping = False
    for directive in directives:
        if directive.args:
            raise directive.wrong_arguments()
        for line in directive.body:
            if line.name == "drop":
                args = line.arguments(0, 1)
                faults.drop = _amount(line, args)
                dropping = True
            elif line.name == "truncate":
                faults.truncate = _amount(line, line.arguments(0, 1))
            elif line.name == "delay":
                args = line.arguments(0, 2)
                faults.delay = _amount(line, args)
                faults.pause = line.duration(args[1]) if len(args) > 1 else 0.1
            elif line.name == "large":
                line.arguments(0)
                faults.large = True
            else:
                raise line.unknown_property()
    if (faults.delay or faults.truncate) and not dropping:
        faults.drop = 0
    return Erratic(faults)


def _amount(line: Directive, args: list[str]) -> int:
    return line.integer(args[0], 0, _MOST) if args else 2
