"""`chaos [VERSION] [AUTHORS…]`: answers `CH TXT version.bind` and its like (https://coredns.io/plugins/chaos/)."""

import random
import socket
from importlib.metadata import version

from wherry.dns import names, records
from wherry.dns.corefile.model import Block, Directive, latest
from wherry.dns.plugin import Base, Next, Reply, Request

_VERSION = frozenset(map(names.from_text, ("version.bind.", "version.server.")))
_HOST = frozenset(map(names.from_text, ("hostname.bind.", "id.server.")))
_AUTHORS = names.from_text("authors.bind.")
_LONGEST = 255  # octets of a string in a TXT record


class Chaos(Base):
    """Answers TXT questions of the class CH for the names that servers describe themselves under."""

    name = "chaos"

    def __init__(self, version: bytes, authors: list[bytes]) -> None:
        self._version = version
        self._authors = authors

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer what is asked about the server."""
        strings = self._strings(request.folded)
        if request.klass != records.CH or request.type != records.TXT or strings is None:
            return await next(request)
        message = request.query.reply()
        message.authoritative = False
        message.answer = [records.txt(request.name, 0, string)._replace(klass=records.CH) for string in strings]
        return Reply(message, self.name)

    def _strings(self, name: bytes) -> list[bytes] | None:
        if name in _VERSION:
            return [self._version]
        if name in _HOST:
            return [_short(socket.gethostname())]
        if name == _AUTHORS:
            return random.sample(self._authors, len(self._authors))
        return None


def _short(text: str) -> bytes:
    return text.encode(errors="surrogateescape")[:_LONGEST]


def setup(directives: list[Directive], block: Block) -> Chaos:
    """Read the directive; raises CorefileError."""
    directive = latest(directives)
    directive.no_body()
    shown, *authors = directive.args or [f"wherry-{version('wherry')}"]
    return Chaos(_short(shown), [_short(author) for author in dict.fromkeys(authors)] or [b"wherry"])
