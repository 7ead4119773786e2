"""A synchronous netlink socket, and the errors that everything on netlink raises.

The kernel works a request off inside sendmsg() and has queued the answer when that returns, so a request never
waits for anything but the kernel's own work (well under a millisecond): it may be made on an event loop's thread.

    NetlinkError
    ├── NotFound      the object, device or address is not there
    ├── Exists        it is there already
    ├── InUse         it is there and in use, as a device name or a VXLAN id
    └── Denied        the right is missing (CAP_NET_ADMIN in the namespace's user namespace)
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from wherry.kernel import netns
from wherry.kernel import nlwire as wire

_SOL_NETLINK: Final = 270
_NETLINK_EXT_ACK: Final = 11
_NETLINK_CAP_ACK: Final = 10
_NETLINK_GET_STRICT_CHK: Final = 12
_NLMSGERR_ATTR_MSG: Final = 1

_RECEIVE_BYTES: Final = 1 << 17
_DUMP_TRIES: Final = 10


class NetlinkError(Exception):
    """The kernel refused a request; `code` is the errno, `operation` says what was asked."""

    def __init__(self, code: int, operation: str, detail: str = "") -> None:
        self.code = code
        self.operation = operation
        reason = os.strerror(code) + (f" ({detail})" if detail else "")
        super().__init__(f"{operation}: {reason}")


class NotFound(NetlinkError):
    """What was to be read, changed or removed is not there."""


class Exists(NetlinkError):
    """What was to be made is there already."""


class InUse(NetlinkError):
    """What was asked for is taken by something else."""


class Denied(NetlinkError):
    """This process lacks the right."""


_KINDS: Final[dict[int, type[NetlinkError]]] = {
    errno.ENOENT: NotFound,
    errno.ENODEV: NotFound,
    errno.ESRCH: NotFound,
    errno.EADDRNOTAVAIL: NotFound,
    errno.EEXIST: Exists,
    errno.EBUSY: InUse,
    errno.EADDRINUSE: InUse,
    errno.EPERM: Denied,
    errno.EACCES: Denied,
}


def error(code: int, operation: str, detail: str = "") -> NetlinkError:
    """Return the error of the right kind for an errno."""
    return _KINDS.get(code, NetlinkError)(code, operation, detail)


class NetlinkSocket:
    """One request at a time on a socket that lives in one network namespace. Not thread-safe."""

    def __init__(self, protocol: int, netns_path: str | os.PathLike[str] | None = None) -> None:
        with netns.entered(netns_path):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        # Lets a dump be narrowed by the kernel: to one device, one table.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket; closing twice does no harm."""
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes, *, operation: str) -> list[wire.Message]:
        """Send one request and return what came before its acknowledgement. Raises NetlinkError."""
        sequence = self._send(kind, flags | wire.NLM_F_REQUEST | wire.NLM_F_ACK, body)
        answers: list[wire.Message] = []
        while True:
            for answer in wire.messages(self._socket.recv(_RECEIVE_BYTES)):
                if answer.sequence != sequence:
                    continue
                if answer.kind == wire.NLMSG_ERROR:
                    _raise_for(answer, operation)
                    return answers
                answers.append(answer)

    def dump(self, kind: int, body: bytes, *, operation: str) -> list[wire.Message]:
        """Send one dump request and return all entries, repeated until the kernel gave a consistent view."""
        for _ in range(_DUMP_TRIES):
            answers: list[wire.Message] = []
            if self._dump_once(kind, body, operation, answers.append):
                return answers
        raise error(errno.EINTR, operation, "the table kept changing")

    def _dump_once(self, kind: int, body: bytes, operation: str, take: Callable[[wire.Message], None]) -> bool:
        sequence = self._send(kind, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, body)
        consistent = True
        while True:
            for answer in wire.messages(self._socket.recv(_RECEIVE_BYTES)):
                if answer.sequence != sequence:
                    continue
                if answer.flags & wire.NLM_F_DUMP_INTR:
                    consistent = False
                if answer.kind == wire.NLMSG_DONE:
                    if len(answer.body) >= 4 and (code := wire.i32(answer.body[:4])):
                        raise error(-code, operation)
                    return consistent
                if answer.kind == wire.NLMSG_ERROR:
                    _raise_for(answer, operation)
                    return consistent
                take(answer)

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._socket.send(wire.message(kind, flags, self._sequence, body))
        return self._sequence


def _raise_for(answer: wire.Message, operation: str) -> None:
    """Raise unless an NLMSG_ERROR message is an acknowledgement."""
    code = -wire.i32(answer.body[:4])
    if code == 0:
        return
    detail = ""
    if answer.flags & wire.NLM_F_ACK_TLVS:
        # The failed request's header comes first, its body only where the kernel did not cap it.
        length = wire.HEADER.size
        if not answer.flags & wire.NLM_F_CAPPED:
            length = (wire.u32(answer.body[4:8]) + 3) & ~3
        detail = wire.text(wire.attributes(answer.body, 4 + length).get(_NLMSGERR_ATTR_MSG, b""))
    raise error(code, operation, detail)
