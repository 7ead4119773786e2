"""The supervisor's socket: long paths, silence, refusals."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Thread

import pytest

from wherry.sandbox import control
from wherry.sandbox.control import ControlError, Reply, Request, Unreachable


def answer(server: socket.socket, line: bytes) -> Thread:
    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            control.read_line(connection)
            connection.sendall(line)

    thread = Thread(target=serve)
    thread.start()
    return thread


@pytest.fixture
def path(tmp_path: Path) -> Path:
    # Longer than the 107 bytes that a socket's address holds.
    folder = tmp_path / ("d" * 200)
    folder.mkdir()
    return folder / "control.sock"


def test_request_and_reply(path: Path) -> None:
    with control.listen(path) as server:
        thread = answer(server, b'{"pid":7,"node":"n"}\n')
        assert control.ask(path, Request("status")) == Reply(pid=7, node="n")
        thread.join()
    assert path.stat().st_mode & 0o777 == 0o600


def test_refusal_carries_the_words(path: Path) -> None:
    with control.listen(path) as server:
        thread = answer(server, b'{"error":"there is no node"}\n')
        with pytest.raises(ControlError, match="there is no node"):
            control.ask(path, Request("node-stop", "x"))
        thread.join()


def test_answer_of_another_version(path: Path) -> None:
    with control.listen(path) as server:
        thread = answer(server, b'{"processes":[{"name":"x"}]}\n')
        with pytest.raises(ControlError, match=r"makes no sense .*another version"):
            control.ask(path, Request("status"))
        thread.join()


def test_nobody_listens(path: Path) -> None:
    with pytest.raises(Unreachable):
        control.ask(path, Request("status"))
    control.listen(path).close()
    with pytest.raises(Unreachable):
        control.ask(path, Request("status"))


def test_silence_and_a_sudden_end(path: Path) -> None:
    with control.listen(path) as server:
        with pytest.raises(ControlError, match="did not answer"):
            control.ask(path, Request("status"), timeout=0.05)
        server.accept()[0].close()
        thread = answer(server, b"")
        with pytest.raises(ControlError, match="went away"):
            control.ask(path, Request("status"))
        thread.join()
