"""Messages between agent and runtime: MessagePack behind a four-byte big-endian length, over a unix stream socket.

The client numbers its requests; every request gets exactly one `Reply` with that number. After `Subscribe` the
runtime also sends an `Event` for each container whose state changes. Sans-IO: `encode` makes frames, `Decoder`
takes bytes in any slicing and gives messages back.
"""

from __future__ import annotations

import struct
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from wherry.pods.model import Behaviour, ContainerSpec, ContainerState

MAX_FRAME = 16 * 1024 * 1024
"""Longest frame; a ContainerSpec with a full environment stays far below, a stray client does not get memory."""

_LENGTH = struct.Struct("!I")


class ProtocolError(Exception):
    """The peer sent something that is not a message of this protocol."""


class Start(Struct, frozen=True, tag="start"):
    """Start a container; starting an id that is known already answers its state and changes nothing."""

    seq: int
    spec: ContainerSpec


class Stop(Struct, frozen=True, tag="stop"):
    """SIGTERM now, SIGKILL after ``grace`` seconds; the answer does not wait for the exit."""

    seq: int
    id: str
    grace: float


class Remove(Struct, frozen=True, tag="remove"):
    """Forget an exited container (its log stays); an unknown id is no error, a running one is."""

    seq: int
    id: str


class List(Struct, frozen=True, tag="list"):
    """The states of all containers."""

    seq: int


class Inspect(Struct, frozen=True, tag="inspect"):
    """State and spec of one container."""

    seq: int
    id: str


class Behave(Struct, frozen=True, tag="behave"):
    """Let a stand-in answer otherwise from now on; a program does not mind."""

    seq: int
    id: str
    behaviour: Behaviour


class Subscribe(Struct, frozen=True, tag="subscribe"):
    """As `List`, and from now on an `Event` for every change."""

    seq: int


class Reply(Struct, frozen=True, tag="reply", omit_defaults=True):
    """The answer to request ``seq``; ``error`` names an error kind (`UNKNOWN`, `REFUSED`) and ``detail`` explains.

    ``keeper`` is the process that holds the inspected container's input or terminal, 0 where there is none.
    """

    seq: int
    states: tuple[ContainerState, ...] = ()
    spec: ContainerSpec | None = None
    keeper: int = 0
    error: str = ""
    detail: str = ""


class Event(Struct, frozen=True, tag="event"):
    """A container changed."""

    state: ContainerState


UNKNOWN = "unknown"
"""Error kind: there is no container of that id."""
REFUSED = "refused"
"""Error kind: the request makes no sense in the container's state."""

Request = Start | Stop | Remove | List | Inspect | Behave | Subscribe
Answer = Reply | Event
M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()


def encode(message: Request | Answer) -> bytes:
    """The frame of one message."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Decoder(Generic[M]):
    """Cuts a byte stream into messages of one direction."""

    def __init__(self, kind: msgspec.msgpack.Decoder[M]) -> None:
        self._kind = kind
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """The messages that ``data`` completes. Raises `ProtocolError` on an oversized or undecodable frame."""
        self._buffer += data
        messages: list[M] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if length > MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes is longer than the {MAX_FRAME} allowed")
            end = at + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            try:
                messages.append(self._kind.decode(bytes(self._buffer[at + _LENGTH.size : end])))
            except msgspec.MsgspecError as error:
                raise ProtocolError(f"undecodable message: {error}") from error
            at = end
        del self._buffer[:at]
        return messages


def request_decoder() -> Decoder[Request]:
    """A decoder for what the runtime receives."""
    return Decoder(msgspec.msgpack.Decoder(Request))


def answer_decoder() -> Decoder[Answer]:
    """A decoder for what the agent receives."""
    return Decoder(msgspec.msgpack.Decoder(Answer))
