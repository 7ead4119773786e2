"""The processes of a name server: start and end, reload without a lost query, and what survives whose death."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.dns.serving import PATIENCE, Server, ask, ask_tcp, free_port, query, serving, text_of, wait_for
from wherry.dns import message as m
from wherry.dns import records


def block(port: int, text: str, *more: str) -> str:
    lines = "\n".join(f"  {line}" for line in more)
    answer = f'template IN TXT . {{\n    answer "{{{{ .Name }}}} 60 IN TXT {text}"\n  }}'
    return f".:{port} {{\n  bind 127.0.0.1\n  {answer}\n{lines}\n}}\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "Corefile"


def test_it_answers_over_udp_and_tcp_and_counts(conf: Path) -> None:
    port, metrics = free_port(), free_port()
    conf.write_text(block(port, "one", f"prometheus 127.0.0.1:{metrics}", "cache 30"))
    with serving(conf, "--fronts", "2") as server:
        assert f".:{port} on 127.0.0.1" in server.output
        assert len(server.children()[True]) == 2
        for _ in range(20):
            assert text_of(ask(port, "a.example")) == '"one"'
        assert [text_of(reply) for reply in ask_tcp(port, "a.example", "b.example", "c.example")] == ['"one"'] * 3
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=PATIENCE) as response:
            exposed = response.read().decode()
    served = f'server="dns://127.0.0.1:{port}",type="other",view="",zone="."'
    udp = f'coredns_dns_requests_total{{family="1",proto="udp",{served}}} 20.0'
    tcp = f'coredns_dns_requests_total{{family="1",proto="tcp",{served}}} 3.0'
    assert udp.replace('"other"', '"TXT"') in exposed
    assert tcp.replace('"other"', '"TXT"') in exposed
    assert "coredns_panics_total 0.0" in exposed


def test_options_are_spelled_as_coredns_does(conf: Path) -> None:
    port = free_port()
    conf.write_text(". {\n  bind 127.0.0.1\n  whoami\n}\n")
    with serving(None, "-conf", str(conf), f"-dns.port={port}", "--fronts", "1"):
        assert ask(port, "example.org", records.A).additional[0].rdata == bytes([127, 0, 0, 1])


def test_without_a_corefile_it_says_who_asks_on_every_address(tmp_path: Path) -> None:
    port = free_port()
    with serving(None, "--dns.port", str(port), "--fronts", "1", cwd=tmp_path) as server:
        assert ask(port, "example.org", records.A).additional[0].rdata == bytes([127, 0, 0, 1])
        # Whoever asks another address gets the answer from there: the socket is connected and would not take it else.
        assert ask(port, "example.org", records.A, host="127.0.0.2").rcode == m.NOERROR
        if os.path.exists("/proc/net/if_inet6"):
            assert ask(port, "example.org", records.A, host="::1").additional[0].type == records.AAAA
        server.wait_for_line(r"^\[INFO\] 127.0.0.1:\d+ - 7 \"A IN example.org. udp")


def test_a_bad_corefile_is_one_line_and_exit_code_1(conf: Path) -> None:
    conf.write_text(".:1053 {\n  errors\n  unheard\n}\n")
    server = Server(conf, "--fronts", "1")
    assert server.process.wait(PATIENCE) == 1
    server.end()
    assert len(server.output) == 1
    assert server.output[0].startswith(f"{conf}:3 - Error during parsing: Unknown directive 'unheard'")


def test_a_port_that_is_taken_is_one_line_and_exit_code_1(conf: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        conf.write_text(block(port, "one"))
        server = Server(conf, "--fronts", "1")
        assert server.process.wait(PATIENCE) == 1
        server.end()
    assert server.output == [f"cannot serve udp on 127.0.0.1:{port}: Address already in use"]


def test_a_custom_address_that_is_taken_does_not_stop_the_rest(conf: Path) -> None:
    port = free_port()
    custom = conf.with_name("bad.server")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        custom.write_text(block(taken.getsockname()[1], "custom"))
        conf.write_text(block(port, "one") + f"import {conf.parent}/*.server\n")
        with serving(conf, "--fronts", "1") as server:
            assert text_of(ask(port, "example")) == '"one"'
        assert any("bad.server" in line and "left out" in line for line in server.output)


class Asking(threading.Thread):
    """Asks one question after the other until its block ends; keeps the answers and how many got none."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.answers: list[str] = []
        self.lost = 0
        self.stopped = threading.Event()

    def __enter__(self) -> Asking:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopped.set()
        self.join(PATIENCE)

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(20.0)
            asking.connect(("127.0.0.1", self.port))
            number = 0
            while not self.stopped.is_set():
                number += 1
                asking.send(query(f"n{number}.example", number=number & 0xFFFF))
                try:
                    self.answers.append(text_of(m.decode(asking.recv(65535))))
                except (TimeoutError, ConnectionError):
                    self.lost += 1


def test_reloads_lose_no_query_and_open_and_close_addresses(conf: Path) -> None:
    port, other = free_port(), free_port()
    conf.write_text(block(port, "0"))
    with serving(conf, "--fronts", "2") as server, Asking(port) as one, Asking(port) as two:
        for turn in range(1, 7):
            both = block(port, str(turn)) + (block(other, f"other{turn}") if turn % 2 else "")
            conf.write_text(both)
            server.process.send_signal(signal.SIGUSR1)
            server.wait_for_line("Reloading complete")
            if turn % 2:
                assert text_of(ask(other, "example")) == f'"other{turn}"'
            else:
                with pytest.raises((ConnectionError, TimeoutError)):
                    ask(other, "example", timeout=0.3)
            assert text_of(ask(port, "example")) == f'"{turn}"'
            wait_for("new answers", lambda now=f'"{turn}"': one.answers[-1:] == two.answers[-1:] == [now])
    for client in (one, two):
        assert client.lost == 0
        # Old and new never mix again once the new one has answered.
        assert client.answers == sorted(client.answers)


def test_a_bad_reload_leaves_everything_as_it_is(conf: Path) -> None:
    port = free_port()
    conf.write_text(block(port, "good"))
    with serving(conf, "--fronts", "1") as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        for bad, reason in (
            ("}", "reload failed"),
            (block(port, "new") + block(taken.getsockname()[1], "taken"), "Address already in use"),
        ):
            conf.write_text(bad)
            server.process.send_signal(signal.SIGUSR1)
            assert "what was in force stays" in server.wait_for_line(reason)
            assert text_of(ask(port, "example")) == '"good"'
        conf.write_text(block(port, "new"))
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for_line("Reloading complete")
        assert text_of(ask(port, "example")) == '"new"'


def test_a_changed_corefile_is_noticed(conf: Path) -> None:
    port = free_port()
    conf.write_text(block(port, "old", "reload 30s"))
    with serving(conf, "--fronts", "1") as server:
        conf.write_text(block(port, "new", "reload 30s"))
        server.wait_for_line("Reloading complete")
        assert text_of(ask(port, "example")) == '"new"'


def test_fronts_answer_what_they_know_while_the_back_is_away_and_all_come_back(conf: Path) -> None:
    port = free_port()
    conf.write_text(block(port, "one", "cache 3600"))
    with serving(conf, "--fronts", "1") as server:
        (back,), (front,) = server.children()[False], server.children()[True]
        for _ in range(2):
            ask(port, "kept.example")
        os.kill(back, signal.SIGSTOP)
        assert text_of(ask(port, "kept.example")) == '"one"'
        os.kill(back, signal.SIGKILL)
        server.wait_for_line("ended .-9. and is started again")
        assert text_of(ask(port, "kept.example")) == '"one"'
        server.wait_for_line(r"^wherry-")
        assert text_of(ask(port, "new.example")) == '"one"'
        os.kill(front, signal.SIGKILL)
        wait_for("another front", lambda: server.children()[True] not in ([], [front]))
        # Nobody but the front had its sockets, as the back came later than they did.
        wait_for("its answers", lambda: _answers(port, "newer.example"))


def _answers(port: int, name: str) -> bool:
    try:
        return text_of(ask(port, name)) == '"one"'
    except ConnectionError:
        return False


def test_everything_ends_with_the_parent(conf: Path) -> None:
    conf.write_text(block(free_port(), "one"))
    server = Server(conf, "--fronts", "2")
    server.wait_for_line(r"^wherry-")
    everyone = [pid for pids in server.children().values() for pid in pids]
    server.process.kill()
    wait_for("the end of its children", lambda: not any(_runs(pid) for pid in everyone))
    assert server.end() == -signal.SIGKILL


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_corefile_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    server = Server(tmp_path / "none", "--fronts", "1")
    assert server.process.wait(PATIENCE) == 1
    server.end()
    assert server.output == [f"{tmp_path}/none: No such file or directory"]


def test_it_lingers_as_health_says_before_it_ends(conf: Path) -> None:
    port, health, ready = free_port(), free_port(), free_port()
    conf.write_text(block(port, "one", f"health 127.0.0.1:{health} {{\n lameduck 1s\n }}", f"ready 127.0.0.1:{ready}"))
    with serving(conf, "--fronts", "1") as server:
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()

        def shutting_down() -> bool:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{ready}/ready", timeout=PATIENCE).close()
            except urllib.error.HTTPError as error:
                return error.code == 503
            return False

        wait_for("the end to be told", shutting_down)
        assert text_of(ask(port, "example")) == '"one"'
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - began >= 1
