"""Asking the node's own server whether it answers."""

from __future__ import annotations

import asyncio
import secrets
import socket

from wherry.dns import names, records
from wherry.dns.message import SERVFAIL, Message, Question, encode
from wherry.dns.nodelocal.rules import PORT, PROBE_MARK
from wherry.net.types import IPAddress

TRIES = 3
PATIENCE = 1.0
"""Seconds for each try."""


async def answers(address: IPAddress, domain: str) -> bool:
    """Whether an address gives any answer but a failure for a name that every cluster has.

    A server that does not know its cluster yet fails (SERVFAIL); one with a Corefile of another kind still answers.
    """
    loop = asyncio.get_running_loop()
    name = names.from_text(f"kubernetes.default.svc.{domain}.")
    question = Question(name, records.A if address.version == 4 else records.AAAA, 1)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, PROBE_MARK)
        try:
            asking.connect((str(address), PORT))
            for _ in range(TRIES):
                query = encode(Message(id=secrets.randbits(16), question=question, recursion_desired=True))
                asking.send(query)
                try:
                    async with asyncio.timeout(PATIENCE):
                        while True:
                            reply = await loop.sock_recv(asking, 4096)
                            if len(reply) >= 12 and reply[:2] == query[:2] and reply[2] & 0x80:
                                return reply[3] & 0x0F != SERVFAIL
                except TimeoutError:
                    continue
        except OSError:
            # Nobody listens, or there is no way: both mean no.
            return False
    return False
