"""One HTTP exchange as the handlers see it, free of any server library: `Request` in, `Answer` out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
TEXT = "text/plain; charset=utf-8"

Subject = tuple[tuple[tuple[str, str], ...], ...]
"""The subject of a verified client certificate, as `ssl.SSLSocket.getpeercert` gives it."""


class Query:
    """The decoded query string; a parameter may be given more than once."""

    __slots__ = ("_pairs",)

    def __init__(self, text: str) -> None:
        self._pairs = parse_qsl(text, keep_blank_values=True) if text else ()

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self._pairs)

    def get(self, name: str, default: str = "") -> str:
        """The first value of `name`."""
        for key, value in self._pairs:
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Every value of `name`, in order."""
        return [value for key, value in self._pairs if key == name]

    def flag(self, name: str) -> bool:
        """A boolean as Kubernetes reads it: present and neither `false` nor `0`."""
        return name in self and self.get(name) not in ("false", "0")


class Route(NamedTuple):
    """What a path asks for; `verb` is the one that is authorized. Not a resource: `resource` is empty."""

    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    malformed: bool = False


class Upgrade(Protocol):
    """The raw connection below a request whose handshake was not answered yet."""

    @property
    def head(self) -> bytes:
        """The request's start line and headers for another server, without the credentials."""

    async def splice(self, host: str, port: int, *, path: str, tls: object) -> None:
        """Connect to another server, pass the handshake on and copy bytes both ways until either side ends."""


@dataclass(slots=True)
class Request:
    """One request. `path` is decoded, `target` is as sent; header names are looked up in lower case."""

    method: str
    target: str
    path: str
    query: Query
    headers: Mapping[str, str]
    read_body: Callable[[], Awaitable[bytes]]
    """Reads the whole body; raises `TooLarge` over the limit."""
    all_headers: Callable[[str], list[str]]
    """Every value of a header that may occur more than once."""
    header_names: Callable[[], list[str]]
    certificate: Subject | None = None
    splice: Callable[[str, int, str, object], Awaitable[Answer]] | None = None
    """Hand the connection over to another server: host, port, target there, TLS context."""
    warnings: list[str] = field(default_factory=list)
    """Texts that go to the client as Warning headers (RFC 7234, code 299)."""


class TooLarge(Exception):
    """The request's body exceeds the limit."""


@dataclass(slots=True)
class Response:
    """A complete answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Sink(Protocol):
    """The sending side of a streamed answer. Writes may be made from any callback in the event loop."""

    def write(self, data: bytes) -> None:
        """Queue `data` as one chunk."""

    def backlog(self) -> int:
        """Bytes queued and not yet taken by the kernel."""

    async def drain(self) -> None:
        """Wait until the client has caught up far enough."""


@dataclass(slots=True)
class Stream:
    """An answer of unknown length: `run` writes it and ends it by returning; it is cancelled when the client goes."""

    run: Callable[[Sink], Awaitable[None]]
    content_type: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Handled(NamedTuple):
    """The connection was taken over and is finished; nothing is left to answer."""


Answer = Response | Stream | Handled

_VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def split_target(target: str) -> tuple[str, str]:
    """A request target's decoded path and its raw query string."""
    path, _, query = target.partition("?")
    return (unquote(path) if "%" in path else path), query


def parse_route(method: str, path: str, query: Query) -> Route:
    """What `path` names, after the rules of Kubernetes' request info (k8s.io/apiserver/pkg/endpoints/request)."""
    parts = path.split("/")
    root = parts[1] if len(parts) > 1 else ""
    if parts[-1] == "" and len(parts) > 2:
        parts.pop()
    if root == "api" and len(parts) > 3:
        group, version, rest = "", parts[2], parts[3:]
    elif root == "apis" and len(parts) > 4:
        group, version, rest = parts[2], parts[3], parts[4:]
    else:
        return Route(method.lower())
    verb = _VERBS.get(method, "")
    watching = False
    if rest[0] == "watch" and len(rest) > 1:
        watching, rest = True, rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    malformed = "" in rest
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    further = "/".join(rest[3:])
    if watching:
        verb = "watch"
    elif not name and verb == "get":
        verb = "watch" if query.flag("watch") else "list"
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Route(verb, group, version, namespace, resource, name, subresource, further, malformed)
