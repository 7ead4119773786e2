"""What a Corefile says once it is read: blocks, directives, and what plugins are set up with.

`setup(directives, block)` of a plugin module is given every directive of its name in the block, in their order.
It only reads: it checks arguments, may read files, may write the block's own fields (`bind`, `tls`, …). Sockets and
tasks belong to the plugin's `start`, as a Corefile that is tried and refused must leave nothing behind.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from wherry.dns.corefile.durations import parse_duration
from wherry.dns.corefile.errors import CorefileError

if TYPE_CHECKING:
    from wherry.dns.http import HttpHub
    from wherry.dns.metrics import Metrics
    from wherry.dns.plugin import Plugin, Reply, Request
    from wherry.kube.endpoint import Endpoint

__all__ = ["Block", "CorefileError", "Directive", "Key", "Problem", "Process", "ServerConfig", "Timeouts"]


@dataclass(slots=True)
class Directive:
    """One line of a block or of a directive's body: `name args… { body }`."""

    name: str
    args: list[str]
    body: "list[Directive]"
    file: str
    line: int
    plugin: str = ""
    """The directive of the block to which this line belongs; its own name where it is that directive."""

    def error(self, text: str) -> CorefileError:
        """An error that names this line."""
        return CorefileError(text, file=self.file, line=self.line, plugin=self.plugin or self.name)

    def wrong_arguments(self) -> CorefileError:
        """The error for too many or too few arguments."""
        last = self.args[-1] if self.args else self.name
        return self.error(f"Wrong argument count or unexpected line ending after '{last}'")

    def unknown_property(self) -> CorefileError:
        """The error for a line that the plugin does not know."""
        return self.error(f"unknown property '{self.name}'")

    def arguments(self, low: int, high: int | None = None) -> list[str]:
        """The arguments: `low` to `high` of them (None: exactly `low`), and no body; raises CorefileError."""
        if not low <= len(self.args) <= (low if high is None else high):
            raise self.wrong_arguments()
        self.no_body()
        return self.args

    def argument(self) -> str:
        """The only argument; raises CorefileError."""
        return self.arguments(1)[0]

    def no_body(self) -> None:
        """Raise CorefileError where the line opens a body of its own."""
        if self.body:
            raise self.body[0].error(f"'{self.name}' takes no block")

    def duration(self, text: str) -> float:
        """An argument as seconds; raises CorefileError."""
        try:
            return parse_duration(text)
        except ValueError as error:
            raise self.error(str(error)) from error

    def integer(self, text: str, low: int, high: int) -> int:
        """An argument as a whole number within bounds; raises CorefileError."""
        try:
            number = int(text) if text.isascii() and "_" not in text else None
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise self.error(f"'{text}' is not a whole number from {low} to {high}")
        return number


class Key(NamedTuple):
    """A zone that a block serves, and where."""

    scheme: str
    """`dns` or `tls`."""
    zone: bytes
    """Folded wire form."""
    port: int
    text: str
    """As CoreDNS prints it: `dns://cluster.local.:53`."""


@dataclass(slots=True)
class Timeouts:
    """Seconds on TCP and TLS: for the first query, for a reply, between queries; and a connection's most queries."""

    read: float = 3.0
    write: float = 5.0
    idle: float = 10.0
    most_queries: int | None = None


Clients = Literal["none", "optional", "required"]
"""Whether clients show certificates; those that are shown are checked."""


class TlsFiles(NamedTuple):
    """Absolute names of PEM files; `ca` is "" where any client may come."""

    cert: str
    key: str
    ca: str
    clients: Clients


class Problem(NamedTuple):
    """What people should hear of though the server goes on: logged, counted and given to whoever writes events."""

    reason: str
    """In CamelCase, as reasons of Kubernetes events are: `BadCustomFile`, `UpstreamLoops`, `ReloadFailed`."""
    text: str


@dataclass(slots=True)
class Process:
    """What outlives a reload."""

    metrics: "Metrics"
    http: "HttpHub"
    report: Callable[[Problem], None]
    clock: Callable[[], float] = time.monotonic
    default_port: int = 53
    endpoint: "Callable[[], Endpoint] | None" = None
    """The API server of `kubernetes` blocks that name none; None: the one of the pod that this runs in."""
    bind: tuple[str, ...] = ()
    """Addresses that blocks without a `bind` listen on; none: all of the machine's."""
    state: dict[str, object] = field(default_factory=dict)
    """What a plugin hands to its successor after a reload, under the plugin's name."""


async def _nowhere(request: "Request") -> "Reply | None":
    raise RuntimeError("the configuration does not serve yet")


def _no_spawn(coroutine: Coroutine[Any, Any, None]) -> None:
    coroutine.close()
    raise RuntimeError("the configuration does not serve yet")


def _nothing() -> None:
    """Nobody keeps answers."""


async def _no_reload() -> None:
    raise RuntimeError("nothing reloads this configuration")


@dataclass(slots=True)
class ServerConfig:
    """One Corefile as read, for all of its blocks. Whoever assembles the server fills in `lookup` and `reload`."""

    process: Process
    root: Path
    """The directory that relative file names in directives start from: the working directory, as with CoreDNS."""
    source: str | None = None
    """The Corefile's path; None where there was none."""
    blocks: "list[Block]" = field(default_factory=list)
    digest: str = ""
    """SHA-512 of the expanded Corefile, imports included."""
    files: tuple[str, ...] = ()
    """Every file that was read or looked for, glob patterns included."""
    optional: frozenset[str] = frozenset()
    """Files in force that a pattern brought in."""
    stopping: bool = False
    """Set when the process begins to shut down: `ready` says so from then on."""
    lookup: "Callable[[Request], Awaitable[Reply | None]]" = _nowhere
    """Ask the whole server as a client would: routing and the full chain (`kubernetes`, `file` chase targets by it)."""
    spawn: Callable[[Coroutine[Any, Any, None]], None] = _no_spawn
    """Run a coroutine in the task group of this configuration; it is cancelled when this stops serving."""
    changed: Callable[[], None] = _nothing
    """Say that a plugin's `excluded()` or `excluded_zones()` changed: fronts must be told what to hand over."""
    reload: Callable[[], Awaitable[None]] = _no_reload
    """Read the Corefile again and swap if it holds; raises CorefileError or OSError, and then nothing changed."""

    @property
    def metrics(self) -> "Metrics":
        """The process' metrics: get-or-create, so that blocks and reloads share a family."""
        return self.process.metrics

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds."""
        return self.process.clock

    def path(self, text: str) -> Path:
        """A file name of a directive, made absolute."""
        return self.root / text


@dataclass(slots=True)
class Block:
    """A server block. Configuration-only plugins (`bind`, `tls`, …) write the fields below `plugins`."""

    keys: list[Key]
    directives: list[Directive]
    file: str
    line: int
    config: ServerConfig
    plugins: "dict[str, Plugin]" = field(default_factory=dict)
    """The chain by name, in its order; complete before any plugin starts, so that `autopath` or `loop` find others."""
    bind: tuple[str, ...] = ()
    """Addresses to listen on; none given: all of them."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    tls: TlsFiles | None = None
    debug: bool = False
    """A failing handler's error goes up instead of being answered by SERVFAIL."""
    stacktrace: bool = False
    """Log where a failing handler failed."""
    view: str = ""
    filters: "list[Callable[[Request], bool]]" = field(default_factory=list)
    """All must hold for a query to be this block's (`view`)."""

    @property
    def zones(self) -> list[bytes]:
        """The zones of the keys, each once, in their order."""
        return list(dict.fromkeys(key.zone for key in self.keys))

    def named(self, name: str) -> list[Directive]:
        """Its directives of one name, in the Corefile's order."""
        return [directive for directive in self.directives if directive.name == name]

    def error(self, text: str) -> CorefileError:
        """An error that names the line on which the block starts."""
        return CorefileError(text, file=self.file, line=self.line)


def once(directives: list[Directive]) -> Directive:
    """The only directive of its name; raises CorefileError where a block has two and they cannot be one."""
    if len(directives) > 1:
        first, second = directives[:2]
        error = second.error(
            f"this plugin can only be used once per Server Block; {first.file}:{first.line} has it already"
        )
        error.files = (first.file, second.file)
        raise error
    return directives[0]


def latest(directives: list[Directive]) -> Directive:
    """The directive in force where the last of its name counts, so that imported lines can change what a block says."""
    return directives[-1]
