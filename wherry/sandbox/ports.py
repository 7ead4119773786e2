"""Listening sockets in the host's network, opened before the sandbox is entered and handed to its processes."""

from __future__ import annotations

import os
import socket


def listen_local(preferred: int) -> list[socket.socket]:
    """Listen on 127.0.0.1 and, where the host has it, ::1: on ``preferred``, or any free port where that is 0.

    Raises OSError where the port is in use.
    """
    first = _listen(socket.AF_INET, "127.0.0.1", preferred)
    port = first.getsockname()[1]
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        return [first]
    try:
        return [first, _listen(socket.AF_INET6, "::1", port)]
    except OSError:
        # The other family is a convenience: 127.0.0.1 is what the kubeconfig names.
        return [first]


def _listen(family: int, address: str, port: int) -> socket.socket:
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(1024)
    except OSError:
        server.close()
        raise
    return server
