"""Child processes are kept running, restarted with back-off, stopped and reaped.

The supervisor owns its process's signals and children, so each test drives one in a forked child of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.kernel.supervise import Process, SuperviseError, Supervisor


def in_child(test: Callable[[], None]) -> None:
    """Run ``test`` in a forked child and fail with its traceback."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 0
        try:
            test()
        except BaseException:
            code = 1
            os.write(write, traceback.format_exc().encode()[-4000:])
        os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said


def waiting(name: str, log: Path, told: socket.socket) -> Process:
    """A process that reports its pid and then waits to be ended."""

    def main() -> None:
        told.send(str(os.getpid()).encode())
        signal.pause()

    return Process(name, main, log)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(10)
    with ours, theirs:
        yield ours, theirs


def test_killed_process_is_started_again(tmp_path: Path, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    def test() -> None:
        supervisor = Supervisor()
        supervisor.start(waiting("a", tmp_path / "log", theirs))
        pids: list[int] = []

        def told() -> None:
            pids.append(int(ours.recv(100)))
            if len(pids) < 3:
                os.kill(pids[-1], signal.SIGKILL)
            else:
                supervisor.end()

        supervisor.listen(ours.fileno(), told)
        supervisor.run()
        [status] = supervisor.status()
        assert (status.pid, status.restarts, status.last_exit) == (pids[2], 2, "signal SIGKILL")
        assert len(set(pids)) == 3
        supervisor.stop_all(grace=5)
        with pytest.raises(ProcessLookupError):
            os.kill(pids[2], 0)

    in_child(test)


def test_failure_is_logged_and_backs_off(tmp_path: Path, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    def main() -> None:
        theirs.send(b"once")
        raise RuntimeError("no such luck")

    def test() -> None:
        supervisor = Supervisor()
        supervisor.start(Process("b", main, tmp_path / "log"))
        times: list[bytes] = []

        def told() -> None:
            times.append(ours.recv(100))
            if len(times) == 3:
                supervisor.end()

        supervisor.listen(ours.fileno(), told)
        supervisor.run()
        assert supervisor.status()[0].last_exit == "exit code 1"
        supervisor.stop_all(grace=5)

    in_child(test)
    # The third was ended while it failed and may not have come to say so.
    assert (tmp_path / "log").read_text().count("RuntimeError: no such luck") in (2, 3)


def test_names_are_unique_and_killing_forgets(tmp_path: Path, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    def test() -> None:
        supervisor = Supervisor()
        supervisor.start(waiting("a", tmp_path / "log", theirs))
        with pytest.raises(SuperviseError, match="there already"):
            supervisor.start(waiting("a", tmp_path / "log", theirs))
        pid = int(ours.recv(100))
        supervisor.kill("a")
        assert supervisor.status() == []
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(SuperviseError, match="no process"):
            supervisor.kill("a")

    in_child(test)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        theirs.send(str(os.getpid()).encode())
        while True:
            signal.pause()

    def test() -> None:
        supervisor = Supervisor()
        supervisor.start(Process("stubborn", stubborn, tmp_path / "log"))
        pid = int(ours.recv(100))
        supervisor.stop_all(grace=0.05)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    in_child(test)


def test_call_brings_back_the_childs_words(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("bridge is burnt")

    def test() -> None:
        supervisor = Supervisor()
        supervisor.call(lambda: None, lambda: (tmp_path / "made").write_text("yes"))
        assert (tmp_path / "made").read_text() == "yes"
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # the child prints its traceback there
        with pytest.raises(SuperviseError, match="bridge is burnt"):
            supervisor.call(lambda: None, fail)

    in_child(test)


def test_sigterm_ends_the_loop_and_orphans_are_reaped(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair

    def leaves_an_orphan() -> None:
        if os.fork() == 0:
            theirs.send(str(os.getpid()).encode())
            os._exit(0)
        signal.pause()

    def test() -> None:
        supervisor = Supervisor()
        supervisor.start(Process("parent", leaves_an_orphan, tmp_path / "log"))
        orphan = int(ours.recv(100))
        os.kill(supervisor.status()[0].pid, signal.SIGKILL)

        def restarted() -> None:
            ours.recv(100)
            os.kill(os.getpid(), signal.SIGTERM)

        supervisor.listen(ours.fileno(), restarted)
        supervisor.run()
        with pytest.raises(ProcessLookupError):
            os.kill(orphan, 0)
        supervisor.stop_all(grace=0)

    in_child(test)
