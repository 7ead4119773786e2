"""What is logged: queries by `log`, failures by `errors`, and no more than so many lines."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from tests.dns.chains import Answers, Clock, serving, zone
from wherry.dns import message as m
from wherry.dns.logbound import LogBound
from wherry.dns.message import Edns, Message
from wherry.dns.plugin import Request, ServeError

ANSWER = zone("www.example. 60 IN A 10.0.0.1", "example. 60 IN SOA ns. host. 1 2 3 4 5", rcode=m.NXDOMAIN)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "wherry.dns.plugins")
    return caplog


async def test_log_in_coredns_format(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    async with serving(". {\nlog\n}", tmp_path, end=Answers(ANSWER)) as world:
        await world.ask("WWW.example.", edns=Edns(1232, dnssec_ok=True))
        await world.ask("gone.example.", "MX", client="2001:db8::1", transport="tcp")
    first, second = logged.messages
    assert re.fullmatch(
        r'192\.0\.2\.7:40000 - 4711 "A IN www\.example\. udp 40 true 1232" NOERROR qr,aa,rd \d+ 0\.\d+s', first
    )
    assert re.fullmatch(
        r'\[2001:db8::1\]:40000 - 4711 "MX IN gone\.example\. tcp 30 false 65535" NXDOMAIN qr,aa,rd \d+ 0\.\d+s', second
    )
    assert {record.levelname for record in logged.records} == {"INFO"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name} {type}", "www.example. A"),
        ("{ {name} } {x} } {", "{ www.example. } {x} } {"),
        ("{local} {>opcode} {rcode}", "192.0.2.53 0 NOERROR"),
        ("{/log/class} {/log/type} {/no/such}", "success NOERROR -"),
        ("{combined}", None),
    ],
)
async def test_log_format(tmp_path: Path, logged: pytest.LogCaptureFixture, text: str, expected: str | None) -> None:
    async with serving(f'. {{\nlog . "{text}"\n}}', tmp_path, end=Answers(ANSWER)) as world:
        await world.ask("www.example.")
    (line,) = logged.messages
    if expected is None:
        assert re.fullmatch(r'192.*s "0"', line)
    else:
        assert line == expected


@pytest.mark.parametrize(
    ("classes", "logged_names"),
    [
        ("all", "www.example. gone.example. broken.example."),
        ("success", "www.example."),
        ("denial", "gone.example."),
        ("error", "broken.example."),
        ("denial error", "gone.example. broken.example."),
    ],
)
async def test_log_classes(tmp_path: Path, logged: pytest.LogCaptureFixture, classes: str, logged_names: str) -> None:
    def answer(request: Request) -> Message:
        if request.folded.startswith(b"\x06broken"):
            raise ServeError(m.SERVFAIL, "broken")
        return ANSWER(request)

    text = f". {{\nlog . {{name}} {{\nclass {classes}\n}}\n}}"
    async with serving(text, tmp_path, end=Answers(answer)) as world:
        for name in ("www.example.", "gone.example.", "broken.example."):
            await world.ask(name)
    assert " ".join(logged.messages) == logged_names


async def test_log_takes_the_first_rule_for_a_name(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    text = '. {\nlog example other "one {name}"\nlog example "two {name}"\nlog a.third "three {name}"\n}'
    async with serving(text, tmp_path, end=Answers(ANSWER)) as world:
        for name in ("www.example.", "other.", "a.third.", "third."):
            await world.ask(name)
    assert logged.messages == ["one www.example.", "one other.", "three a.third."]


async def test_log_of_silence(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    text = '. {\nlog . "{rcode} {rsize} {>rflags} {/log/class}"\n}'
    async with serving(text, tmp_path, end=Answers(lambda request: None)) as world:
        assert await world.reply(world.query("www.example.")) is None
    assert logged.messages == ["- 0 - error"]


def failing(text: str, rcode: int = m.SERVFAIL):
    async def answer(request: Request) -> Message:
        await asyncio.sleep(0)
        raise ServeError(rcode, text)

    return Answers(answer)


async def test_errors(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    async with serving(". {\nerrors\n}", tmp_path, end=failing("read udp: timeout")) as world:
        await world.ask("WWW.example.", "AAAA")
    assert logged.record_tuples == [
        ("wherry.dns.plugins.errors", logging.ERROR, "plugin/errors: 2 www.example. AAAA: read udp: timeout")
    ]


async def test_errors_without_a_text_are_answers(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    async with serving(". {\nerrors\n}", tmp_path, end=failing("")) as world:
        assert (await world.ask("www.example.")).rcode == m.SERVFAIL
    assert logged.messages == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ["plugin/errors: 3 errors like '^read .*timeout$' occurred in last 1h0m0s"]),
        ("info", ["plugin/errors: 3 errors like '^read .*timeout$' occurred in last 1h0m0s"]),
        ("warning show_first", [
            "plugin/errors: 2 a. A: read udp: timeout",
            "plugin/errors: 3 errors like '^read .*timeout$' occurred in last 1h0m0s",
        ]),
    ],
)  # fmt: skip
async def test_errors_consolidated(
    tmp_path: Path, logged: pytest.LogCaptureFixture, options: str, expected: list[str]
) -> None:
    text = f'. {{\nerrors {{\nconsolidate 1h "^read .*timeout$" {options}\nconsolidate 1h read\n}}\n}}'
    async with serving(text, tmp_path, end=failing("read udp: timeout")) as world:
        for _ in range(3):
            await world.ask("a.")
    assert logged.messages == expected
    level = {"": logging.ERROR, "info": logging.INFO}.get(options, logging.WARNING)
    assert {record.levelno for record in logged.records} == {level}


async def test_errors_are_summed_up_in_time(tmp_path: Path) -> None:
    summed = asyncio.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            summed.set()

    lines: list[str] = []
    handler = Handler()
    logger = logging.getLogger("wherry.dns.plugins.errors")
    logger.addHandler(handler)
    try:
        text = ". {\nerrors {\nconsolidate 1ms read\n}\n}"
        async with serving(text, tmp_path, end=failing("read")) as world:
            await world.ask("a.")
            async with asyncio.timeout(30):
                await summed.wait()
    finally:
        logger.removeHandler(handler)
    assert lines == ["plugin/errors: 1 errors like 'read' occurred in last 1ms"]


def test_a_flood_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    bound = LogBound(logging.getLogger("flood"), 3, clock)
    caplog.set_level(logging.INFO, "flood")
    for number in range(10):
        bound.log(logging.INFO, f"line {number}")
    clock.now += 1
    bound.log(logging.INFO, "later")
    assert caplog.messages == ["line 0", "line 1", "line 2", "7 lines left out: more than 3 in a second", "later"]
