"""Health-check node ports: load balancers ask each node whether it has endpoints of a service.

For services with ``externalTrafficPolicy: Local``; the answer is that of kube-proxy: 200 where the node has ready
endpoints and its rules are in place, 503 where not, the number of endpoints in the body and in the header
``X-Load-Balancing-Endpoint-Weight``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from wherry.kube.keys import Key
from wherry.services.model import ServiceState

_log = logging.getLogger(__name__)

_SECONDS: Final = 5.0
"""How long a client may take to ask."""


class _Check(msgspec.Struct):
    key: Key
    port: int
    count: int
    server: asyncio.Server | None = None


class HealthChecks:
    """One small HTTP server for each service with such a port. ``failed`` is told of ports that cannot be opened."""

    def __init__(self, failed: Callable[[Key, int, OSError], None]) -> None:
        self._failed = failed
        self._checks: dict[Key, _Check] = {}
        self.healthy = True
        """Whether the rules in the kernel are known to be right."""

    async def update(self, states: Mapping[Key, ServiceState]) -> None:
        """Answer for these services as they are now, and try again to open what could not be opened.

        Ports that are not needed any more are closed first.
        """
        for key, state in states.items():
            check = self._checks.get(key)
            if check is not None and check.port != state.health_port:
                del self._checks[key]
                _close(check)
        for key, state in states.items():
            if not state.health_port:
                continue
            check = self._checks.setdefault(key, _Check(key, state.health_port, 0))
            check.count = state.health_count
        for check in [*self._checks.values()]:
            if check.server is None:
                await self._open(check)

    def keys(self) -> list[Key]:
        """The services that are answered for."""
        return [*self._checks]

    def close(self) -> None:
        """Close all ports."""
        for check in self._checks.values():
            _close(check)
        self._checks.clear()

    async def _open(self, check: _Check) -> None:
        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                async with asyncio.timeout(_SECONDS):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(_answer(check.key, check.count, healthy=self.healthy))
                    await writer.drain()
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                _log.debug("services: health check of %s: %s", check.key, error)
            finally:
                writer.close()

        try:
            check.server = await asyncio.start_server(serve, None, check.port, limit=1 << 14)
        except OSError as error:
            self._failed(check.key, check.port, error)


def _close(check: _Check) -> None:
    if check.server is not None:
        check.server.close()


def _answer(key: Key, count: int, *, healthy: bool) -> bytes:
    status = HTTPStatus.OK if healthy and count else HTTPStatus.SERVICE_UNAVAILABLE
    service = {"namespace": key.namespace, "name": key.name}
    body = json.dumps({"service": service, "localEndpoints": count, "serviceProxyHealthy": healthy}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"X-Content-Type-Options: nosniff\r\nX-Load-Balancing-Endpoint-Weight: {count}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
