"""Ports of loopback that are free for UDP and TCP."""

from __future__ import annotations

import socket


def bound() -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket, bound to one port of 127.0.0.1."""
    while True:
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(tcp.getsockname())
        except OSError:  # Somebody has that one for UDP.
            tcp.close()
            udp.close()
        else:
            return tcp, udp
