"""Word from the kernel that somebody changed an nftables table.

The kernel tells a multicast group of each object that a transaction made or removed, then of the transaction itself
and the program that asked for it (include/uapi/linux/netfilter/nf_tables.h). What the owner of the table does himself
is sorted out in the kernel, by a filter on the socket that knows the netlink port of his nft programs, which is their
process id; so a watch costs nothing while nobody else changes nftables. Changes of other tables by other programs cost
one look for the table's name in what they sent.

What packets do to sets (dynamic elements, their expiry) is not told, and so never taken for a change.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Final

from wherry.kernel import netns
from wherry.kernel import nlwire as wire

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_GROUP_NFTABLES: Final = 7
_SUBSYSTEM: Final = 10
_NEW_ELEMENT, _DELETE_ELEMENT, _NEW_GENERATION = 12, 14, 15
_TABLE_NAME: Final = 1
_PROGRAM_NAME: Final = 3
_HEADER_BYTES: Final = 4
_FAMILIES: Final = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}

_ATTACH_FILTER: Final = 26
_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_PORT_AT: Final = 12
_EVERYTHING: Final = 0xFFFFFFFF
_MOST_OWNERS: Final = 200
_RECEIVE_BYTES: Final = 1 << 15
"""More than the kernel puts into one message: NLMSG_GOODSIZE, a page or 8 KiB."""


class Change:
    """What others did to the table since the last one was taken."""

    def __init__(self) -> None:
        self.programs: set[str] = set()
        """The names of the programs that did it, as far as they are known."""
        self.elements_only = True
        """No table, chain, rule or set is known to be touched, only elements of sets and maps."""


class TableWatch:
    """Calls ``changed`` when a program that is not the owner's touched a table; on the running event loop.

    The namespace is the one at ``netns_path`` (None: the calling thread's). Where the kernel had more to tell than
    the socket could hold, that counts as a change of which nothing is known. Raises OSError where the right is missing.
    """

    def __init__(
        self,
        family: str,
        table: str,
        changed: Callable[[], None],
        netns_path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._family = _FAMILIES[family]
        self._name = table.encode() + b"\0"
        self._changed = changed
        self._found: Change | None = None
        self._touched = False
        self._buffer = bytearray(_RECEIVE_BYTES)
        with netns.entered(netns_path):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def owners(self, processes: Iterable[int]) -> None:
        """Take the changes that these processes make from now on as the owner's."""
        ports = [*processes][:_MOST_OWNERS]
        drop = len(ports) + 1
        program = [_INSTRUCTION.pack(_LOAD_WORD, 0, 0, _PORT_AT)]
        for at, port in enumerate(ports, 1):
            # the filter reads in network order what the header holds in the machine's
            value = int.from_bytes(port.to_bytes(4, sys.byteorder), "big")
            program.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, drop - at, 0, value))
        program += [_INSTRUCTION.pack(_RETURN, 0, 0, _EVERYTHING), _INSTRUCTION.pack(_RETURN, 0, 0, 0)]
        code = ctypes.create_string_buffer(b"".join(program))
        description = struct.pack("@HP", len(program), ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, description)

    def take(self) -> Change | None:
        """What others did since the last call; None when nothing."""
        found, self._found = self._found, None
        return found

    def _read(self) -> None:
        before = self._found
        while True:
            try:
                length = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._note()
                continue
            self._take(length)
        if self._found is not None and before is None:
            self._changed()

    def _take(self, length: int) -> None:
        if not self._touched and self._buffer.find(self._name, 0, length) < 0:
            return
        for message in wire.messages(bytes(self._buffer[:length])):
            what = message.kind & 0xFF
            if message.kind >> 8 != _SUBSYSTEM:
                continue
            attributes = wire.attributes(message.body, _HEADER_BYTES)
            if what == _NEW_GENERATION:
                if self._touched:
                    self._note().programs.add(wire.text(attributes.get(_PROGRAM_NAME, b"")))
                self._touched = False
            elif message.body[0] == self._family and attributes.get(_TABLE_NAME) == self._name:
                self._touched = True
                self._note().elements_only &= what in (_NEW_ELEMENT, _DELETE_ELEMENT)

    def _note(self) -> Change:
        if self._found is None:
            self._found = Change()
        return self._found
