"""Feed what comes from outside to its readers, led by the coverage it reaches, until the time is up.

``tools/fuzz.py TARGET [SECONDS]`` needs atheris (`make fuzz` installs it) and ends with a trace at the first input that
is answered with anything but a reply within bounds or the error made for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wherry.dns"]):
    from wherry.dns import acceptance, message, names, records
    from wherry.dns.corefile.parser import Parser
    from wherry.dns.errors import DnsError

MOST_ADDED = 11 + 20
"""Octets by which a reply without records may exceed the query: an OPT record and what padding it repeats."""


def query(data: bytes) -> None:
    """A datagram as a front gets it: silence, a refusal that is hardly larger, or a query that reads back the same."""
    accepted = acceptance.accept(data, other_classes=True)
    if isinstance(accepted, bytes):
        assert len(accepted) <= max(len(data), 12) + MOST_ADDED, "a refusal that floods"
        return
    limit = acceptance.limit_of(accepted, "udp")
    reply = accepted.reply(message.NOERROR)
    assert accepted.question is not None
    name = accepted.question.name
    reply.answer = [records.a(name, 5, IPv4Address(n)) for n in range(300)]
    wire = message.encode(acceptance.finish(reply, accepted), limit)
    assert len(wire) <= limit, "a reply larger than allowed"
    again = message.decode(wire)
    assert again.question == accepted.question
    assert again.truncated == (len(again.answer) < 300)
    message.decode(message.encode(acceptance.finish(accepted.reply(message.NXDOMAIN), accepted), limit))


def reply(data: bytes) -> None:
    """A message of an upstream: unreadable, or one that is the same after it was written and read again."""
    try:
        read = message.decode(data)
    except DnsError:
        return
    again = message.decode(message.encode(read))
    if not again.truncated or read.truncated:
        assert (again.question, again.answer, again.rcode) == (read.question, read.answer, read.rcode)


def name(data: bytes) -> None:
    """A name as text: refused, or the same after a round trip."""
    try:
        wire = names.from_text(data.decode("utf-8", "replace"))
    except DnsError:
        return
    assert len(wire) <= 255
    assert names.from_text(names.to_text(wire)) == wire


def corefile(data: bytes) -> None:
    """A Corefile: read, or an error that names file and line."""
    try:
        Parser().parse_text(data, str(FOLDER / "Corefile"))
    except DnsError:
        return


TARGETS: dict[str, Callable[[bytes], None]] = {each.__name__: each for each in (query, reply, name, corefile)}
SEEDS = {
    "query": [
        message.encode(message.Message(id=7, question=message.Question(names.from_text(text), kind, 1), edns=edns))
        for text, kind in (("web.default.svc.cluster.local.", 1), ("_http._tcp.web.default.svc.cluster.local.", 33))
        for edns in (None, message.Edns(1232, True, options=((10, b"12345678"),)))
    ],
    "corefile": [
        b"(s) {\n  errors\n}\n.:53, tls://x.org:853 {\n  import s\n  forward . 1.1.1.1 {\n    max_fails 2\n  }\n}\n",
        b'. {\n hosts {\n 1.2.3.4 a # b\n fallthrough\n }\n template IN A {\n answer "{{ .Name }} 60 IN A {$X}"\n}}\n',
    ],
}  # fmt: skip
SEEDS["reply"] = SEEDS["query"]
FOLDER = Path(__file__).resolve().parents[1] / "build" / "fuzz"
"""Where inputs that reached something new are kept from run to run, and the one that broke something."""


def main() -> None:
    """Run one target for a while."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: tools/fuzz.py {'|'.join(TARGETS)} [SECONDS]")
    target, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 600
    folder = FOLDER / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS.get(target, [])):
        (folder / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", f"-artifact_prefix={FOLDER}/"]
    atheris.Setup([sys.argv[0], str(folder), *options], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
