"""What a stand-in says: who it is and what it was asked (pure)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from msgspec import Struct

from wherry.pods.model import Behaviour
from wherry.pods.runtime.standin.http import Bad, Request

DEFAULT = Behaviour()
MOST_FILLER = 64 * 1024
_FILLER = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n"
_WITHOUT_BODY = (204, 304)


class Identity(Struct, frozen=True):
    """The container a stand-in stands in for."""

    namespace: str
    pod: str
    container: str
    image: str
    node: str


class Answer(Struct, frozen=True):
    """What is said to one request. ``fill`` bytes of `filler` follow ``body``."""

    status: int
    kind: str
    body: bytes
    fill: int = 0

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        return len(self.body) + self.fill


def answer(
    request: Request, identity: Identity, *, server: str, client: str, behaviour: Behaviour = DEFAULT, via: str = ""
) -> Answer:
    """What to say. ``server`` and ``client`` are ``address:port`` as the connection has them, ``via`` says what lies
    between (TLS, a proxy).
    """
    if request.method == "CONNECT":
        return Answer(405, "text/plain", b"a stand-in is no proxy\n")
    if behaviour.body is None and wants_json(request.header("accept")):
        kind, body = "application/json", _as_json(request, identity, server=server, client=client, via=via)
    else:
        kind, body = "text/plain; charset=utf-8", _as_text(request, identity, server=server, client=client, via=via)
    if behaviour.status in _WITHOUT_BODY:
        return Answer(behaviour.status, "", b"")
    if behaviour.body is None:
        return Answer(behaviour.status, kind, body)
    cut = body[: behaviour.body]
    return Answer(behaviour.status, kind, cut, behaviour.body - len(cut))


def filler(count: int) -> bytes:
    """So many bytes of text, at most `MOST_FILLER`."""
    count = min(count, MOST_FILLER)
    return (_FILLER * (count // len(_FILLER) + 1))[:count]


def head(found: Answer, request: Request, identity: Identity) -> bytes:
    """The head of an HTTP/1 response."""
    lines = [f"HTTP/1.1 {found.status} {reason(found.status)}"]
    if found.status not in _WITHOUT_BODY:
        lines += [f"Content-Type: {found.kind}", f"Content-Length: {found.size}"]
    lines += ["Server: wherry", f"X-Wherry-Pod: {identity.namespace}/{identity.pod}"]
    if not request.keep_alive:
        lines.append("Connection: close")
    elif request.version == "HTTP/1.0":
        lines.append("Connection: keep-alive")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reason(status: int) -> str:
    """The phrase that goes with a status (RFC 9110 §15)."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"


def refusal(bad: Bad) -> bytes:
    """The response to a request that cannot be understood; the connection ends behind it."""
    body = f"{bad.status} {bad.reason}\n"
    return (
        f"HTTP/1.1 {bad.status} {bad.reason}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}"
    ).encode("latin-1")


def wants_json(accept: str) -> bool:
    """Whether the Accept header prefers JSON to plain text (RFC 9110 §12.5.1)."""
    return _quality(accept, "application", "json") > _quality(accept, "text", "plain")


def _quality(accept: str, main: str, sub: str) -> float:
    """The weight the header gives a media type; the most specific range counts."""
    best = (-1, 0.0)
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        rank = {f"{main}/{sub}": 2, f"{main}/*": 1, "*/*": 0}.get(media, -1)
        if rank < 0 or rank < best[0]:
            continue
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0  # unreadable: the client cannot have meant "gladly"
        best = (rank, weight)
    return best[1]


def _as_text(request: Request, identity: Identity, *, server: str, client: str, via: str) -> bytes:
    lines = [
        f"pod: {identity.namespace}/{identity.pod}",
        f"container: {identity.container}",
        f"image: {identity.image}",
        f"node: {identity.node}",
        f"server: {server}",
        f"client: {client}",
        *([f"via: {via}"] if via else []),
        f"request: {request.method} {request.target} {request.version}",
        *(f"header: {name}: {value}" for name, value in request.headers),
    ]
    text = "\n".join([*lines, ""]).encode()
    if not request.body_size:
        return text
    end = b"" if request.body.endswith(b"\n") else b"\n"
    return text + f"body: {request.body_size} bytes\n".encode() + request.body + end


def _as_json(request: Request, identity: Identity, *, server: str, client: str, via: str) -> bytes:
    headers: dict[str, str] = {}
    for name, value in request.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    document = {
        "namespace": identity.namespace,
        "pod": identity.pod,
        "container": identity.container,
        "image": identity.image,
        "node": identity.node,
        "server": server,
        "client": client,
        **({"via": via} if via else {}),
        "method": request.method,
        "path": request.target,
        "version": request.version,
        "headers": headers,
        "bodySize": request.body_size,
        "body": request.body.decode("utf-8", "replace"),
    }
    return msgspec.json.encode(document) + b"\n"
