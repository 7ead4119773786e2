"""What the runtime must still know after a kill -9: one small file per container, in a directory on tmpfs.

A record is replaced by rename, so a reader finds the old or the new one. Beside ``<id>.record`` a program has the
FIFOs ``<id>.stdout``, ``<id>.stderr`` and ``<id>.stdin`` and bwrap's ``<id>.status``.
"""

from __future__ import annotations

import os
import re

import msgspec
from msgspec import Struct

from wherry.pods.model import ContainerSpec, ContainerState
from wherry.pods.runtime.pause import Pause

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_SUFFIXES = (".record", ".stdout", ".stderr", ".stdin", ".status")


class Record(Struct, frozen=True):
    """One container; ``monitor`` is the process id of bwrap's outer process and ``monitor_start`` its start time.

    ``keeper`` is the process that holds the program's input or terminal (see `keeper`); 0: it has neither.
    """

    spec: ContainerSpec
    state: ContainerState
    monitor: int = 0
    monitor_start: int = 0
    keeper: int = 0
    keeper_start: int = 0
    pause: Pause = Pause()
    """What holds the pid namespace that it shares with its pod."""
    kill_at: float = 0.0
    """When a program that was told to end is killed (seconds since the epoch); 0: it was not told."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def valid_id(container_id: str) -> bool:
    """Whether an id can name files."""
    return _ID.fullmatch(container_id) is not None


class Records:
    """The directory of records."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.makedirs(directory, mode=0o700, exist_ok=True)

    def path(self, container_id: str, suffix: str) -> str:
        """Path of one of a container's files."""
        return os.path.join(self._directory, container_id + suffix)

    def save(self, record: Record) -> None:
        """Write or replace a record."""
        path = self.path(record.spec.id, ".record")
        fd = os.open(path + "~", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, _encoder.encode(record))
        finally:
            os.close(fd)
        os.rename(path + "~", path)

    def load(self, container_id: str) -> Record:
        """One record. Raises FileNotFoundError."""
        with open(self.path(container_id, ".record"), "rb") as file:
            return _decoder.decode(file.read())

    def load_all(self) -> tuple[list[Record], list[str]]:
        """All readable records, and the names of files that are not (written by something else)."""
        records: list[Record] = []
        unreadable: list[str] = []
        for name in sorted(os.listdir(self._directory)):
            if not name.endswith(".record"):
                continue
            try:
                records.append(self.load(name.removesuffix(".record")))
            except msgspec.MsgspecError:
                unreadable.append(name)
        return records, unreadable

    def delete(self, container_id: str) -> None:
        """Remove all files of a container."""
        for suffix in _SUFFIXES:
            try:
                os.unlink(self.path(container_id, suffix))
            except FileNotFoundError:
                continue
