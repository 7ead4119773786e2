"""Asking once: an HTTP GET, a TCP connection or a command. Messages are the kubelet's, users search for them.

HTTP is spoken directly over a stream: a probe is one request on a connection of its own, of which only the status line
and a `Location` matter, and there may be hundreds a second.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin, urlsplit

from wherry.kube.objects import Container, HttpGetAction, TcpSocketAction
from wherry.kube.objects.base import IntOrString
from wherry.kube.version import MAJOR, MINOR
from wherry.pods.backoff import go_duration
from wherry.pods.probes.tracker import Outcome

_LONGEST_HEAD = 64 * 1024
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_PLAIN_ANSWER = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
"""What OpenSSL calls an answer that is no TLS."""
LONGEST_MESSAGE = 10 * 1024
USER_AGENT = f"kube-probe/{MAJOR}.{MINOR}"
HOOK_AGENT = f"kube-lifecycle/{MAJOR}.{MINOR}"

RunCommand = Callable[[tuple[str, ...], float], Awaitable[tuple[int, bytes]]]
"""Runs a command in a container within so many seconds: exit code and output. Raises TimeoutError and `Unanswered`."""


class Unanswered(Exception):
    """The question could not be put at all, which says nothing about the container."""


class PortError(Unanswered, ValueError):
    """A probe or hook names a port that its container does not have, so that nothing can be asked."""


def port_number(port: IntOrString, container: Container) -> int:
    """Return the number of a port given by number or by name. Raises `PortError`."""
    if isinstance(port, str) and port.isdigit():
        port = int(port)
    if isinstance(port, int):
        if 0 < port < 65536:
            return port
        raise PortError(f"invalid port number: {port}")
    for declared in container.ports:
        if declared.name == port:
            return declared.container_port
    # The kubelet's words: having found no port of that name it tries to read a number.
    raise PortError(f'strconv.Atoi: parsing "{port}": invalid syntax')


async def tcp(action: TcpSocketAction, *, container: Container, address: str, timeout: float) -> Outcome:
    """Open a connection and close it again. Raises `PortError`."""
    port = port_number(action.port, container)
    return await tcp_port(action.host or address, port, timeout=timeout)


async def tcp_port(host: str, port: int, *, timeout: float) -> Outcome:
    """Open a connection to a host and port and close it again."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"dial tcp {join(host, port)}: i/o timeout")
    except OSError as error:
        return Outcome(False, _dial_error(host, port, error))
    writer.close()
    return Outcome(True)


async def http(
    action: HttpGetAction, *, container: Container, address: str, timeout: float, agent: str = USER_AGENT
) -> Outcome:
    """GET the URL; 200 to 399 is a success. Redirects are followed on the same host only, as the kubelet does.

    Raises `PortError`.
    """
    port = port_number(action.port, container)
    host = action.host or address
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    url = f"{action.scheme.lower() or 'http'}://{join(host, port)}{path}"
    headers = [(header.name, header.value) for header in action.http_headers]
    first = url
    try:
        async with asyncio.timeout(timeout):
            for _ in range(_MOST_REDIRECTS):
                status, location = await _get(url, headers, agent)
                following = urljoin(url, location)
                if status not in _REDIRECTS or not location or urlsplit(following).hostname != urlsplit(url).hostname:
                    break
                url = following
            else:
                return Outcome(False, f'Get "{first}": stopped after {_MOST_REDIRECTS} redirects')
    except TimeoutError:
        reason = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(False, f'Get "{url}": {reason}')
    except ssl.SSLError as error:
        plain = error.reason in _PLAIN_ANSWER
        why = "http: server gave HTTP response to HTTPS client" if plain else f"remote error: tls: {error.reason}"
        return Outcome(False, f'Get "{url}": {why}')
    except (ValueError, EOFError) as error:
        return Outcome(False, f'Get "{url}": {error}')
    except OSError as error:
        at = urlsplit(url)
        return Outcome(False, f'Get "{url}": {_dial_error(at.hostname or host, at.port or port, error)}')
    if 300 <= status < 400:
        return Outcome(True, "Probe terminated redirects, Response body: ", answered=True, warning=True)
    if 200 <= status < 300:
        return Outcome(True, answered=True)
    return Outcome(False, f"HTTP probe failed with statuscode: {status}", answered=True)


async def command(argv: tuple[str, ...], *, run: RunCommand, timeout: float) -> Outcome:
    """Run a command; exit code 0 is a success."""
    try:
        code, output = await run(argv, timeout)
    except TimeoutError:
        return Outcome(False, f'command timed out: "{" ".join(argv)}" timed out after {go_duration(timeout)}')
    if code == 0:
        return Outcome(True)
    return Outcome(False, output[:LONGEST_MESSAGE].decode(errors="replace"))


async def _get(url: str, headers: list[tuple[str, str]], agent: str) -> tuple[int, str]:
    """Send one request; the status code and the Location. Raises OSError, ValueError and EOFError."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    context = _unverified() if secure else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=_LONGEST_HEAD)
    try:
        writer.write(_request(parts.path or "/", parts.query, parts.netloc, headers, agent))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise EOFError("EOF") from error
            raise ValueError("malformed HTTP response") from error
        except asyncio.LimitOverrunError as error:
            raise ValueError("HTTP response headers are too long") from error
    finally:
        # Aborted, not closed: the body is not wanted and nobody waits for the peer's farewell.
        writer.transport.abort()
    return _read_head(head)


def _request(path: str, query: str, host: str, headers: list[tuple[str, str]], agent: str) -> bytes:
    given = {name.lower() for name, _ in headers}
    own = [("Host", host), ("User-Agent", agent), ("Accept", "*/*")]
    # A header given in the probe takes the place of ours, whatever its case; an empty one drops it.
    fields = [field for field in own if field[0].lower() not in given]
    fields += [(name, value) for name, value in headers if value or name.lower() not in ("user-agent", "accept")]
    target = f"{path}?{query}" if query else path
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "Connection: close", "", ""]
    return "\r\n".join(lines).encode("utf-8")


def _read_head(head: bytes) -> tuple[int, str]:
    first, *fields = head.split(b"\r\n")
    words = first.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError(f'malformed HTTP response "{first[:100].decode(errors="replace")}"')
    location = ""
    for field in fields:
        name, _, value = field.partition(b":")
        if name.lower() == b"location":
            location = value.strip().decode(errors="replace")
    return int(words[1]), location


_context: ssl.SSLContext | None = None


def _unverified() -> ssl.SSLContext:
    """Return a TLS context that trusts anyone: an HTTPS probe asks whether the container answers, not who it is."""
    global _context
    if _context is None:
        _context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _context.check_hostname = False
        _context.verify_mode = ssl.CERT_NONE
    return _context


def join(host: str, port: int) -> str:
    """Write a host and a port as one address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_WORDS = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ENETUNREACH: "connect: network is unreachable",
    errno.ETIMEDOUT: "connect: connection timed out",
    errno.ECONNRESET: "read: connection reset by peer",
}


def _dial_error(host: str, port: int, error: OSError) -> str:
    words = _WORDS.get(error.errno or 0) or (error.strerror or str(error)).lower()
    return f"dial tcp {join(host, port)}: {words}"
