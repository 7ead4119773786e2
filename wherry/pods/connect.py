"""Connections into a pod, made inside of its network namespace, so that its loopback is reached as well."""

from __future__ import annotations

import asyncio
import os
import socket

from wherry.kernel import netns

_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def connect_inside(namespace: str | None, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port of the loopback of the namespace at that path (None: our own), IPv4 before IPv6.

    Raises OSError, that of IPv4 where both refuse.
    """
    refused: OSError | None = None
    for family, address in _LOOPBACKS:
        if namespace is None:
            handle = socket.socket(family, socket.SOCK_STREAM)
        else:
            handle = await asyncio.to_thread(_socket_in, namespace, family)
        try:
            handle.setblocking(False)
            await asyncio.get_running_loop().sock_connect(handle, (address, port))
        except OSError as error:
            handle.close()
            why = os.strerror(error.errno).lower() if error.errno else str(error)
            refused = refused or OSError(error.errno, f"connect to port {port}: {why}")
        except BaseException:
            handle.close()
            raise
        else:
            return await asyncio.open_connection(sock=handle)
    assert refused is not None  # the loop ran
    raise refused


def _socket_in(namespace: str, family: socket.AddressFamily) -> socket.socket:
    return netns.run_in(namespace, lambda: socket.socket(family, socket.SOCK_STREAM))
