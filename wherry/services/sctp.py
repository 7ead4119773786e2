"""Whether programs of this machine can speak SCTP, which many kernels leave out (CONFIG_IP_SCTP)."""

from __future__ import annotations

import errno
import socket
from typing import Final

_PROTOCOL: Final = 132


def sctp_trouble() -> str:
    """Why not, in words; empty where they can. Opening a socket loads the kernel's module where there is one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family, socket.SOCK_STREAM, _PROTOCOL).close()
        except OSError as error:
            if error.errno not in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT):
                return f"the kernel opens no SCTP socket: {error.strerror}"
        else:
            return ""
    return "the kernel has no SCTP (module sctp)"
