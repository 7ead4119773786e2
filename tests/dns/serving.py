"""A name server as people start it, on loopback, for tests of the whole process group."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dns.ports import bound
from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.message import Message, Question

PATIENCE = 60.0


def free_port() -> int:
    """A port that is free for UDP and TCP."""
    tcp, udp = bound()
    with tcp, udp:
        port: int = tcp.getsockname()[1]
        return port


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    """Return once something holds; fails after a minute."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


class Server:
    """A running `wherry dns serve` and what it printed."""

    def __init__(self, conf: Path | None, *args: str, cwd: Path | None = None) -> None:
        given = [] if conf is None else ["--conf", str(conf)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wherry", "dns", "serve", *given, *args],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        )  # fmt: skip
        self.output: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip())
            self._lines.put(line.rstrip())
        self._lines.put("")

    def wait_for_line(self, pattern: str) -> str:
        """Return the next line that matches."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                raise AssertionError(f"{pattern!r} did not come: {self.output}") from None
            if re.search(pattern, line):
                return line
            assert line or self.process.poll() is None, f"ended without {pattern!r}: {self.output}"

    def children(self) -> dict[bool, list[int]]:
        """Process ids: fronts under True, the back under False."""
        pid = self.process.pid
        found: dict[bool, list[int]] = {True: [], False: []}
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found[Path(f"/proc/{child}/comm").read_text() == "dns-front\n"].append(child)
        return found

    def end(self) -> int:
        """Ask it to end and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def serving(conf: Path | None, *args: str, cwd: Path | None = None) -> Iterator[Server]:
    """A server that serves already; ended at last, with all of its processes."""
    server = Server(conf, *args, cwd=cwd)
    try:
        server.wait_for_line(r"^wherry-")
        everyone = [pid for pids in server.children().values() for pid in pids]
        yield server
    finally:
        code = server.end()
    assert code == 0, server.output
    assert not [pid for pid in everyone if os.path.exists(f"/proc/{pid}")]


def query(name: str, kind: int = records.TXT, number: int = 7) -> bytes:
    """A plain query."""
    return m.encode(Message(id=number, recursion_desired=True, question=Question(names.from_text(name), kind)))


def ask(
    port: int, name: str, kind: int = records.TXT, *, host: str = "127.0.0.1", timeout: float = PATIENCE
) -> Message:
    """Ask over UDP. Raises TimeoutError and ConnectionError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(timeout)
        asking.connect((host, port))
        asking.send(query(name, kind))
        return m.decode(asking.recv(65535))


def ask_tcp(port: int, *asked: str, host: str = "127.0.0.1") -> list[Message]:
    """Ask over one TCP connection, all at once."""
    with socket.create_connection((host, port), PATIENCE) as asking:
        for name in asked:
            wire = query(name)
            asking.sendall(len(wire).to_bytes(2, "big") + wire)
        with asking.makefile("rb") as stream:
            return [m.decode(stream.read(int.from_bytes(stream.read(2), "big"))) for _ in asked]


def text_of(reply: Message) -> str:
    """The strings of a reply's first TXT record."""
    return records.rdata_text(reply.answer[0])
