"""What a resolver tries, and how answers and steps are told."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from threading import Thread

import pytest

from wherry.dns import names, records
from wherry.dns.explain.ask import NoAnswer, ask
from wherry.dns.explain.report import queried, questions
from wherry.dns.explain.search import Resolver, read, tried
from wherry.dns.explain.text import lines, outcome, trace
from wherry.dns.message import NXDOMAIN, Message, Question, decode, encode
from wherry.dns.plugin import Step

POD = (
    "search shop.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.43.0.10\noptions ndots:5 edns0\n"
)


def test_reading() -> None:
    assert read(POD) == Resolver(
        ("10.43.0.10",), ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"), 5
    )
    assert read("domain a.example\nsearch b.example\noptions ndots:99 timeout:1\noptions ndots:x\n") == Resolver(
        (), ("b.example",), 15
    )
    assert read("") == Resolver((), (), 1)


@pytest.mark.parametrize(
    ("name", "resolver", "expected"),
    [
        (
            "web",
            read(POD),
            ["web.shop.svc.cluster.local.", "web.svc.cluster.local.", "web.cluster.local.", "web.lan.", "web."],
        ),
        ("web.", read(POD), ["web."]),
        ("a.b.c.d.e.f", Resolver((), ("x",), 5), ["a.b.c.d.e.f.", "a.b.c.d.e.f.x."]),
        ("example.com", Resolver((), ("x", "."), 1), ["example.com.", "example.com.x.", "example.com."]),
        ("web", Resolver((), (), 1), ["web."]),
    ],
)
def test_names_that_are_tried(name: str, resolver: Resolver, expected: list[str]) -> None:
    assert tried(name, resolver) == expected


def record(name: str, address: str) -> records.Record:
    return records.from_text(f"{name} 5 IN A {address}")


def test_answers_are_aligned() -> None:
    message = Message(
        id=1, response=True, answer=[record("a.example.", "10.0.0.1"), record("longer.example.", "10.0.0.2")]
    )
    assert lines(message) == ["a.example.       5  A  10.0.0.1", "longer.example.  5  A  10.0.0.2"]
    assert outcome(message) == "NOERROR"
    assert outcome(Message(id=1, rcode=NXDOMAIN)) == "NXDOMAIN"
    assert outcome(Message(id=1)).startswith("NODATA")


def test_steps_show_their_notes() -> None:
    steps = [Step(b"\0", "cache", "passed on"), Step(b"\0", "kubernetes", "answered NOERROR", ("Service shop/web",))]
    assert trace(steps) == [
        "block .  cache: passed on",
        "block .  kubernetes: answered NOERROR",
        "    Service shop/web",
    ]


def served(server: socket.socket, *codes: int) -> Thread:
    """Answer queries, by these rcodes and with an address where it is 0."""

    def run() -> None:
        for code in codes:
            wire, client = server.recvfrom(512)
            query = decode(wire)
            assert query.question is not None
            reply = query.reply(code)
            reply.answer = [records.a(query.question.name, 5, IPv4Address("10.0.0.1"))] if not code else []
            server.sendto(encode(reply), client)

    thread = Thread(target=run)
    thread.start()
    return thread


def test_asking_ends_with_the_first_name_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        monkeypatch.setattr("wherry.dns.explain.report.ask", lambda where, question: ask(where, question, port=port))
        said: list[str] = []
        thread = served(server, NXDOMAIN, 0)
        assert queried("127.0.0.1", questions("web", "a", Resolver((), ("x", "y", "z"), 2)), said.append)
        thread.join()
        assert [line.split()[:2] for line in said] == [["web.x.", "NXDOMAIN"], ["web.y.", "NOERROR"], ["web.y.", "5"]]
        thread = served(server, 2)
        assert not queried("127.0.0.1", questions("web", "aaaa", Resolver((), ("x", "y"), 2)), said.append)
        thread.join()
        assert said[-1].startswith("web.x.  SERVFAIL")


def test_silence_is_an_error() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        question = Question(names.from_text("web."), records.A)
        with pytest.raises(NoAnswer, match="no answer in time"):
            ask("127.0.0.1", question, port=server.getsockname()[1], timeout=0.05)
    with pytest.raises(NoAnswer, match="refused"):
        ask("127.0.0.1", question, port=server_port_unused(), timeout=5)


def server_port_unused() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
