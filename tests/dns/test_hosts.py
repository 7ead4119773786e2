"""The plugin `hosts`: files, lines of the Corefile, and how they merge."""

import asyncio
import os

import pytest

from tests.dns.chains import Answers, lines, read, serving, zone
from wherry.dns import names
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.message import NOERROR, SERVFAIL
from wherry.dns.plugins.hosts import parse

FILE = """
192.168.1.5 node-1   # the first
192.168.1.6 node-2 node-2.lan
fd00:1::6%eth0 Node-2
::ffff:192.168.1.7 mapped
not-an-address x
192.168.1.8
192.0.2.9 *.wild.lan wild.lan
192.0.2.10 a.wild.lan
10.0.0.256 y
"""
ROOT = (names.ROOT,)
END = Answers(zone("elsewhere. 30 A 192.0.2.99"))


def test_parsing_keeps_what_is_one_and_leaves_out_the_rest() -> None:
    table = parse(FILE.splitlines(), ROOT, reverse=True)
    known = {names.to_text(name): len(found) for name, found in (table.names4 | table.names6).items()}
    assert known == {"node-1.": 1, "node-2.": 1, "node-2.lan.": 1, "mapped.": 1, "wild.lan.": 1, "a.wild.lan.": 1}
    assert len(table) == 15, "7 names, 1 wildcard and 7 pointers"
    assert not parse(FILE.splitlines(), ROOT, reverse=False).pointers
    assert list(parse(FILE.splitlines(), (names.from_text("lan"),), reverse=True).names4) == [
        names.from_text(text) for text in ("node-2.lan", "wild.lan", "a.wild.lan")
    ]


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "answer"),
    [
        ("node-1", "A", NOERROR, ["node-1. 60 A 192.168.1.5"]),
        ("NODE-1", "A", NOERROR, ["node-1. 60 A 192.168.1.5"]),
        ("node-2", "AAAA", NOERROR, ["node-2. 60 AAAA fd00:1::6"]),
        ("node-1", "AAAA", NOERROR, []),
        ("node-1", "TXT", NOERROR, []),
        ("mapped", "A", NOERROR, ["mapped. 60 A 192.168.1.7"]),
        ("foo.wild.lan", "A", NOERROR, ["foo.wild.lan. 60 A 192.0.2.9"]),
        ("a.wild.lan", "A", NOERROR, ["a.wild.lan. 60 A 192.0.2.10"]),
        ("a.b.wild.lan", "A", SERVFAIL, []),
        ("6.1.168.192.in-addr.arpa", "PTR", NOERROR, ["6.1.168.192.in-addr.arpa. 60 PTR node-2.",
                                                      "6.1.168.192.in-addr.arpa. 60 PTR node-2.lan."]),
        ("9.2.0.192.in-addr.arpa", "PTR", NOERROR, ["9.2.0.192.in-addr.arpa. 60 PTR wild.lan."]),
        ("unknown", "A", SERVFAIL, []),
    ],
)  # fmt: skip
async def test_answers_of_a_file_without_fallthrough(tmp_path, name, kind, rcode, answer) -> None:
    (tmp_path / "hosts").write_text(FILE)
    async with serving(""". {\n hosts {dir}/hosts {\n ttl 60\n }\n}""", tmp_path) as world:
        reply = await world.ask(name, kind)
        assert (reply.rcode, lines(reply.answer), reply.authority) == (rcode, answer, [])
        assert reply.authoritative == (rcode == NOERROR)


async def test_what_passes_on(tmp_path) -> None:
    (tmp_path / "hosts").write_text(FILE)
    corefile = """lan elsewhere {
        hosts {dir}/hosts lan elsewhere {
            fallthrough elsewhere
            fallthrough_unsupported
        }
    }"""
    async with serving(corefile, tmp_path, end=END) as world:
        assert lines((await world.ask("elsewhere")).answer) == ["elsewhere. 30 A 192.0.2.99"]
        assert (await world.ask("unknown.lan")).rcode == SERVFAIL
        assert (await world.ask("wild.lan", "TXT")).rcode == NOERROR
        END.asked.clear()
        await world.ask("elsewhere", "TXT")
        assert len(END.asked) == 1, "another type passes where its name may"
        await world.ask("1.2.0.192.in-addr.arpa.lan", "PTR")
        assert len(END.asked) == 2, "PTR without an answer always passes"


async def test_directives_of_one_block_merge(tmp_path) -> None:
    (tmp_path / "NodeHosts").write_text("192.168.1.5 node-1\n")
    (tmp_path / "none").write_text("")
    corefile = """. {
        hosts {dir}/NodeHosts {
            ttl 60
            fallthrough
        }
        hosts {dir}/none {
            10.0.0.1 printer.lan node-1
            ttl 30
        }
    }"""
    async with serving(corefile, tmp_path, end=END) as world:
        assert lines((await world.ask("printer.lan")).answer) == ["printer.lan. 30 A 10.0.0.1"]
        reply = await world.ask("node-1")
        assert lines(reply.answer) == ["node-1. 30 A 192.168.1.5", "node-1. 30 A 10.0.0.1"]
        assert lines((await world.ask("elsewhere")).answer) == ["elsewhere. 30 A 192.0.2.99"]
        assert world.value("coredns_hosts_entries", hostsfile=f"{tmp_path}/none") == 4


async def test_a_changed_file_is_read_again_and_a_missing_one_kept(tmp_path) -> None:
    first, second = tmp_path / "..1", tmp_path / "..2"
    for number, directory in enumerate((first, second), 1):
        directory.mkdir()
        (directory / "hosts").write_text(f"10.0.0.{number} a\n")
        os.utime(directory / "hosts", (1000, 1000 + number))
    (tmp_path / "..data").symlink_to(first)
    (tmp_path / "hosts").symlink_to("..data/hosts")
    async with serving(". {\n hosts {dir}/hosts {\n reload 0s\n }\n}", tmp_path) as world:
        source = world.plugin("hosts").sources[0]
        assert world.value("coredns_hosts_reload_timestamp_seconds") == 1001
        assert await source.refresh() is None
        (tmp_path / "..new").symlink_to(second)
        os.replace(tmp_path / "..new", tmp_path / "..data")
        assert await source.refresh() == 1002
        assert lines((await world.ask("a")).answer) == ["a. 3600 A 10.0.0.2"]
        (second / "hosts").unlink()
        assert await source.refresh() is None
        assert lines((await world.ask("a")).answer) == ["a. 3600 A 10.0.0.2"]
        (second / "hosts").write_text("10.0.0.3 a\n" + "10.0.0.4 b\n" * 6000)
        assert await source.refresh() is not None
        assert lines((await world.ask("a")).answer) == ["a. 3600 A 10.0.0.3"]


async def test_fronts_hear_of_names_that_are_not_theirs(tmp_path) -> None:
    (tmp_path / "hosts").write_text("10.0.0.1 a.cluster.local *.b\n")
    async with serving(". {\n hosts {dir}/hosts {\n reload 10ms\n fallthrough\n }\n}", tmp_path) as world:
        hosts = world.plugin("hosts")
        changed = asyncio.Event()
        world.config.changed = changed.set
        assert hosts.excluded() == {names.from_text("a.cluster.local"), names.from_text("1.0.0.10.in-addr.arpa")}
        assert hosts.excluded_zones() == {(names.from_text("b"), 0)}
        (tmp_path / "hosts").write_text("10.0.0.1 c.cluster.local\n")
        await changed.wait()
        assert names.from_text("c.cluster.local") in hosts.excluded()
    async with serving("a b {\n hosts {dir}/hosts {\n fallthrough a\n }\n}", tmp_path) as world:
        assert world.plugin("hosts").excluded_zones() == {(names.from_text("b"), 0)}


@pytest.mark.parametrize(
    ("body", "words", "line"),
    [
        ("ttl 0", "'0' is not a whole number from 1 to 65535", 3),
        ("reload soon", "invalid duration", 3),
        ("reload -1s", "negative", 3),
        ("fallthrough\n 10.0.0.1 late", "unknown property '10.0.0.1'", 4),
        ("fallthrough_unsupported", "requires fallthrough", 2),
    ],
)
def test_errors_name_the_line(tmp_path, body, words, line) -> None:
    with pytest.raises(CorefileError, match=words) as caught:
        read(f". {{\n hosts {{\n {body}\n }}\n}}", tmp_path)
    assert caught.value.line == line


def test_a_line_that_is_neither_option_nor_host_is_reported(tmp_path) -> None:
    _, problems = read(". {\n hosts {\n falthrough\n 10.0.0.1 a\n }\n}", tmp_path)
    assert [(problem.reason, ":3: 'falthrough'" in problem.text) for problem in problems] == [("BadHostsLine", True)]
