"""What a plugin of the chain is: an object that gets a request and the rest of the chain.

Rules of the game:

* ``serve`` returns a reply, or what ``next(request)`` returns, changed or not; None means that the client gets no
  answer at all. It must not change a message that another plugin may hold (a cached one): copy first.
* What cannot be answered is raised as ServeError; the client gets its bare rcode.
* ``start`` returns soon: what runs on belongs to a task that ``stop`` ends. Plugins of a new configuration start
  before those of the old one are stopped.
* ``transparent`` plugins let fronts answer without asking: see Plugin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from wherry.dns.errors import ServeError as ServeError
from wherry.dns.message import MAX_SIZE, Message, Question

Transport = Literal["udp", "tcp", "tls"]


class Step(NamedTuple):
    """What one plugin did with a traced request."""

    zone: bytes
    plugin: str
    verdict: str
    """``answered RCODE``, ``passed on``, ``dropped``, or what went wrong."""
    notes: tuple[str, ...] = ()
    """What the plugin itself has to say, as the object an answer comes from."""


@dataclass(slots=True)
class Request:
    """One query on its way through the chain.

    ``client`` and ``local`` are addresses as text, ``server`` the listener as metrics name it (``dns://:53``),
    ``zone`` and ``view`` the server block's, ``limit`` the largest reply in octets. ``query.question`` is never None
    here.
    """

    query: Message
    client: str
    port: int
    local: str
    transport: Transport
    server: str
    zone: bytes
    view: str = ""
    metadata: dict[str, Callable[[], str]] = field(default_factory=dict)
    limit: int = MAX_SIZE
    local_port: int = 53
    original: Question | None = None
    depth: int = 0
    trace: list[Step] | None = None
    notes: list[str] | None = None

    def __post_init__(self) -> None:
        if self.original is None:
            self.original = self.query.question

    @property
    def question(self) -> Question:
        """What is asked now."""
        question = self.query.question
        assert question is not None
        return question

    @property
    def name(self) -> bytes:
        """The name asked for now, spelled as it came."""
        return self.question.name

    @property
    def folded(self) -> bytes:
        """The name asked for now, in lower case."""
        return self.question.name.lower()

    @property
    def type(self) -> int:
        """The type asked for now."""
        return self.question.type

    @property
    def klass(self) -> int:
        """The class asked for now."""
        return self.question.klass

    @property
    def dnssec_ok(self) -> bool:
        """Whether the client set the DO bit."""
        return self.query.edns is not None and self.query.edns.dnssec_ok

    def note(self, text: str) -> None:
        """Say where an answer comes from, for a person who has this request traced; else it costs nothing."""
        if self.notes is not None:
            self.notes.append(text)

    def asking(self, question: Question) -> Request:
        """Return this request with another question; ``original`` stays the one that came from the client."""
        return replace(self, query=self.query.copy(question=question))


class Keep(NamedTuple):
    """How long a front may give the same reply to the same question.

    ``countdown`` says that TTLs fall meanwhile; ``tag`` names what the reply depends on, so that a change of that
    drops it; ``credit`` is for the plugin that counts such repeated answers.
    """

    seconds: float
    countdown: bool
    tag: bytes = b""
    credit: str = ""


@dataclass(slots=True)
class Reply:
    """An answer, the name of the plugin that gave it, and whether fronts may repeat it.

    ``following`` are the further messages of a zone transfer over TCP (RFC 5936 §2.2), taken one by one as they are
    sent, each small enough.
    """

    message: Message
    plugin: str
    keep: Keep | None = None
    following: Iterable[Message] = ()


Next = Callable[[Request], Awaitable[Reply | None]]


class Plugin(Protocol):
    """One link of the chain.

    ``transparent``: for one question (name, type, class, DO, CD, size) what it does depends neither on the client nor
    on seeing every query; only past such plugins may fronts keep or compute answers.
    """

    name: str
    transparent: bool

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Answer, pass on, or both."""

    async def start(self) -> None:
        """Begin what the plugin does besides answering. Raises DnsError where that is impossible."""

    async def stop(self) -> None:
        """End what start() began."""


class Base:
    """Defaults: a transparent plugin that passes everything on and has nothing to start."""

    name: str
    transparent: bool = True

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass the request on."""
        return await next(request)

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""


@runtime_checkable
class Readiness(Protocol):
    """A plugin that takes part in `ready`."""

    def ready(self) -> bool:
        """Whether it can answer."""


@runtime_checkable
class Exclusion(Protocol):
    """A transparent plugin that answers for some names before those after it."""

    def excluded(self) -> frozenset[bytes]:
        """The folded names that fronts must hand over; asked again after every change of the plugin's data."""


@runtime_checkable
class ZoneExclusion(Protocol):
    """A transparent plugin that answers or changes questions at and below some names."""

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """Folded zones and types (0: any) that fronts must hand over; asked again when the data changes."""


@runtime_checkable
class Credited(Protocol):
    """A plugin whose answers fronts repeat, and who counts that (`cache`)."""

    def credit(self, server: str, kind: str, count: int) -> None:
        """Fronts of a server repeated its answers so many times; ``kind`` is the replies' ``Keep.credit``."""


@runtime_checkable
class MetadataProvider(Protocol):
    """A plugin that describes requests (`metadata`): it adds functions under ``plugin/word`` keys."""

    def describe(self, request: Request) -> None:
        """Add to ``request.metadata``; the functions are called only when somebody reads them."""
