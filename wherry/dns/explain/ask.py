"""Asking a name server one question, as programs do: by UDP, and by TCP where the answer does not fit."""

from __future__ import annotations

import secrets
import socket
import time

from wherry.dns.errors import MessageError
from wherry.dns.message import Edns, Message, Question, decode, encode

PORT = 53
_SIZE = 1232
"""UDP octets that pass every network (DNS flag day 2020)."""


class NoAnswer(Exception):
    """The server could not be asked; the text says what happened."""


def ask(server: str, question: Question, *, timeout: float = 5.0, port: int = PORT) -> tuple[Message, float]:
    """Return the answer and the seconds it took. Raises NoAnswer."""
    query = Message(id=secrets.randbits(16), question=question, recursion_desired=True, edns=Edns(_SIZE))
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    began = time.monotonic()
    try:
        answer = _by_datagram(family, (server, port), query, began + timeout)
        if answer.truncated:
            answer = _by_stream(family, (server, port), query, timeout)
    except (OSError, MessageError) as error:
        words = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise NoAnswer(f"{server}: {words}") from error
    return answer, time.monotonic() - began


def _by_datagram(family: socket.AddressFamily, address: tuple[str, int], query: Message, deadline: float) -> Message:
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect(address)
        asking.send(encode(query))
        while True:
            asking.settimeout(max(0.001, deadline - time.monotonic()))
            answer = decode(asking.recv(65535))
            if answer.response and answer.id == query.id:
                return answer


def _by_stream(family: socket.AddressFamily, address: tuple[str, int], query: Message, timeout: float) -> Message:
    with socket.socket(family) as asking:
        asking.settimeout(timeout)
        asking.connect(address)
        wire = encode(query)
        asking.sendall(len(wire).to_bytes(2, "big") + wire)
        with asking.makefile("rb") as stream:
            length = int.from_bytes(stream.read(2), "big")
            return decode(stream.read(length))
