"""DNS over HTTPS to an upstream (RFC 8484), by aiohttp, which is imported only where a Corefile asks for it."""

from __future__ import annotations

import base64
import ssl

import aiohttp

from wherry.dns.message import MAX_SIZE
from wherry.dns.plugins.forward.options import Options
from wherry.dns.plugins.forward.targets import Target

_TYPE = "application/dns-message"
_TIMEOUT = 2.0
"""Seconds for a whole exchange, as with CoreDNS."""


class Https:
    """One upstream at `/dns-query`."""

    def __init__(self, target: Target, context: ssl.SSLContext, options: Options) -> None:
        """Open no connection yet; ``context`` says whom to trust."""
        self._url = f"https://{target.address}/dns-query"
        self._name = target.server_name or None
        self._method = options.doh_method
        source = (options.source_address, 0) if options.source_address else None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=context, limit=options.max_idle, keepalive_timeout=options.expire, local_addr=source
            ),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
            headers={"Accept": _TYPE},
            auto_decompress=False,
        )

    async def ask(self, wire: bytes) -> bytes:
        """Send a query, whose id is 0 for the sake of caches, and return the reply; raises OSError."""
        try:
            if self._method == "GET":
                query = base64.urlsafe_b64encode(wire).rstrip(b"=").decode()
                call = self._session.get(self._url, params={"dns": query}, server_hostname=self._name)
            else:
                call = self._session.post(
                    self._url, data=wire, headers={"Content-Type": _TYPE}, server_hostname=self._name
                )
            async with call as response:
                if response.status != 200 or response.content_type != _TYPE:
                    raise OSError(f"{self._url} answered {response.status} {response.content_type}")
                reply = await response.content.read(MAX_SIZE + 1)
                while not response.content.at_eof() and len(reply) <= MAX_SIZE:
                    reply += await response.content.read(MAX_SIZE + 1 - len(reply))
        except aiohttp.ClientError as error:
            raise OSError(f"{self._url}: {error}") from error
        if len(reply) > MAX_SIZE:
            raise OSError(f"{self._url} answered with more than {MAX_SIZE} octets")
        return reply

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
