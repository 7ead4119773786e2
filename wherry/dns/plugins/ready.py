"""`ready [ADDRESS] { monitor until-ready|continuously }`: says at /ready whether all plugins of all blocks can answer.

https://coredns.io/plugins/ready/
"""

from wherry.dns.corefile.addresses import endpoint_of
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.http import Page
from wherry.dns.plugin import Base, Readiness

_PATH = "/ready"


class Ready(Base):
    """Not ready while a plugin is not, and from the moment the process begins to end."""

    name = "ready"

    def __init__(self, block: Block, host: str, port: int, *, continuously: bool) -> None:
        self._config = block.config
        self._address = (host, port)
        self._continuously = continuously
        self._done: set[Readiness] = set()
        self.port = port
        """Where it listens once started; differs from the directive's only for port 0."""

    async def start(self) -> None:
        """Listen; raises OSError."""
        self.port = await self._config.process.http.serve(*self._address, _PATH, self._page)

    async def stop(self) -> None:
        """Leave the listener to the next configuration."""
        await self._config.process.http.release(self._address[0], self.port, _PATH, self._page)

    def waiting(self) -> list[str]:
        """Names of the plugins that are not ready."""
        names = set()
        for block in self._config.blocks:
            for name, plugin in block.plugins.items():
                if not isinstance(plugin, Readiness) or plugin in self._done:
                    continue
                if not plugin.ready():
                    names.add(name)
                elif not self._continuously:
                    self._done.add(plugin)
        return sorted(names)

    async def _page(self) -> Page:
        if self._config.stopping:
            return Page(b"Shutting down", 503)
        waiting = self.waiting()
        return Page(",".join(waiting).encode(), 503) if waiting else Page(b"OK")


def setup(directives: list[Directive], block: Block) -> Ready:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    if len(directive.args) > 1:
        raise directive.wrong_arguments()
    monitor = "until-ready"
    for line in directive.body:
        if line.name != "monitor":
            raise line.unknown_property()
        monitor = line.argument()
        if monitor not in ("until-ready", "continuously"):
            raise line.error(f"monitor type '{monitor}' not supported; there are until-ready and continuously")
    address = endpoint_of(directive, directive.args[0] if directive.args else ":8181")
    return Ready(block, *address, continuously=monitor == "continuously")
