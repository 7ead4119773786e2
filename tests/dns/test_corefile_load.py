"""From Corefiles to blocks: keys, what clashes, and bad custom files at the start and at a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.dns import names
from wherry.dns.corefile import registry
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.corefile.load import load, load_without_custom, look
from wherry.dns.corefile.model import Problem, Process, ServerConfig
from wherry.dns.http import HttpHub
from wherry.dns.metrics import Metrics

MAIN = """.:53 {
    errors
    whoami
    import custom/*.override
}
import custom/*.server
"""


class World:
    """A directory with a Corefile and custom files, and the process that loads it."""

    def __init__(self, directory: Path) -> None:
        self.problems: list[Problem] = []
        self.process = Process(Metrics(), HttpHub(), self.problems.append)
        self.path = directory / "Corefile"
        self.custom = directory / "custom"
        self.custom.mkdir()
        self.path.write_text(MAIN)

    def load(self, *, strict: bool = False) -> ServerConfig:
        return load(str(self.path), self.process, strict=strict)

    def digest(self) -> str:
        return look(str(self.path), self.process).digest

    def left_out(self) -> float | None:
        return self.process.metrics.registry.get_sample_value("wherry_dns_custom_files_left_out")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def keys(config: ServerConfig) -> list[list[str]]:
    return [[key.text for key in block.keys] for block in config.blocks]


def test_plugins_run_in_their_own_order(world: World) -> None:
    world.path.write_text(". {\n whoami\n log\n loadbalance\n metadata\n errors\n debug\n}")
    (block,) = world.load().blocks
    assert list(block.plugins) == ["metadata", "errors", "log", "loadbalance", "whoami"]
    assert block.debug


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("example.org", ["dns://example.org.:53"]),
        ("EXAMPLE.org.:5353", ["dns://example.org.:5353"]),
        (".", ["dns://.:53"]),
        ("dns://a", ["dns://a.:53"]),
        ("10.0.0.0/24", ["dns://0.0.10.in-addr.arpa.:53"]),
        ("10.0.0.0/23:54", ["dns://0.0.10.in-addr.arpa.:54", "dns://1.0.10.in-addr.arpa.:54"]),
        ("10.0.0.1", ["dns://10.0.0.1.:53"]),
        ("fd00::/14", [f"dns://{digit}.0.d.f.ip6.arpa.:53" for digit in "0123"]),
        ("0.0.0.0/0", ["dns://in-addr.arpa.:53"]),
    ],
)
def test_keys(world: World, key: str, expected: list[str]) -> None:
    world.path.write_text(f"{key} {{\n whoami\n}}")
    assert keys(world.load()) == [expected]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("https://a", "https:// of CoreDNS is not part of wherry"),
        ("ftp://a", "unknown scheme ftp://"),
        ("tls://a", "needs the plugin tls"),
        ("a..b", "zone is not a valid domain name: a..b"),
        ("a:", "expecting data after last colon"),
        ("a:70000", "port 70000"),
        ("x" * 64, "zone is not a valid domain name"),
    ],
)
def test_bad_keys(world: World, key: str, words: str) -> None:
    world.path.write_text(f"ok {{\n}}\n{key} {{\n whoami\n}}")
    with pytest.raises(CorefileError, match=words) as caught:
        world.load()
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (". {\n}\n.:53 {\n}", "cannot serve dns://.:53 - it is already defined"),
        ("a a {\n}", "cannot serve dns://a.:53 - it is already defined"),
        (". {\n bind 127.0.0.1\n}\n. {\n bind 127.0.0.1 127.0.0.2\n}", "on 127.0.0.1 - it is already defined"),
        (". {\n}\n. {\n bind 127.0.0.1\n}", "zone overlap listener capacity"),
        (". {\n bind 127.0.0.1\n}\n. {\n}", "zone overlap listener capacity"),
    ],
)
def test_one_zone_at_one_address_twice(world: World, text: str, words: str) -> None:
    world.path.write_text(text)
    with pytest.raises(CorefileError, match=words):
        world.load()


@pytest.mark.parametrize(
    "text",
    [
        ". {\n}\n.:54 {\n}",
        ". {\n bind 127.0.0.1\n}\n. {\n bind 127.0.0.2\n}",
        ". {\n view a {\n expr true\n }\n}\n. {\n view b {\n expr true\n }\n}\n. {\n}",
    ],
)
def test_what_may_share_a_zone(world: World, text: str) -> None:
    world.path.write_text(text)
    assert len(world.load().blocks) == text.count(". {") + text.count(".:54")


def test_without_a_corefile_whoami_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = Process(Metrics(), HttpHub(), lambda problem: None, default_port=5300)
    config = load(None, process, strict=False)
    assert keys(config) == [["dns://.:5300"]]
    assert list(config.blocks[0].plugins) == ["log", "whoami"]
    with pytest.raises(FileNotFoundError):
        load(str(tmp_path / "Corefile"), process, strict=False)


BAD = {
    "unknown directive": ("bad.override", "frobnicate", "Unknown directive"),
    "bad argument": ("bad.override", "multisocket much", "'much' is not a whole number"),
    "twice and cannot merge": ("bad.override", "errors", "this plugin can only be used once per Server Block"),
    "missing import": ("bad.override", "import gone", "File to import not found"),
    "same zone": ("bad.server", ".:53 {\n whoami\n}", "cannot serve dns://.:53 - it is already defined"),
    "brace too many": ("bad.server", "a {\n}\n}", "Unexpected '}'"),
    "tls without keys": ("bad.server", "tls://a {\n whoami\n}", "needs the plugin tls"),
    "missing file of a plugin": ("bad.server", "tls://a {\n tls gone gone\n}", "could not load"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_start_leaves_a_bad_custom_file_out(world: World, case: str) -> None:
    name, text, words = BAD[case]
    (world.custom / name).write_text(text)
    (world.custom / "good.override").write_text("bufsize 1400")
    (world.custom / "good.server").write_text("good {\n whoami\n}")
    config = world.load()
    assert keys(config) == [["dns://.:53"], ["dns://good.:53"]]
    assert list(config.blocks[0].plugins) == ["bufsize", "errors", "whoami"]
    (problem,) = world.problems
    assert problem.reason == "BadCustomFile"
    assert problem.text.startswith(f"{world.custom / name} is left out until it changes: ")
    assert words in problem.text
    assert world.left_out() == 1


@pytest.mark.parametrize("case", BAD)
def test_a_reload_refuses_a_bad_custom_file(world: World, case: str) -> None:
    name, text, words = BAD[case]
    before = world.load().digest
    (world.custom / name).write_text(text)
    assert world.digest() != before
    with pytest.raises(CorefileError, match=words.replace("(", ".")):
        world.load(strict=True)
    assert world.problems == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda world: world.path.write_text(". {\n frobnicate\n}"),
        lambda world: world.path.write_text(". {\n import gone.conf\n}"),
        lambda world: world.path.write_text(MAIN + MAIN),
        lambda world: world.path.write_text("# nothing\n"),
    ],
)
def test_the_main_file_must_be_good(world: World, spoil: Callable[[World], object]) -> None:
    (world.custom / "bad.override").write_text("frobnicate")
    spoil(world)
    with pytest.raises(CorefileError):
        world.load()


def test_the_main_file_wins_where_a_custom_block_comes_first(world: World) -> None:
    world.path.write_text("import custom/*.server\n.:53 {\n errors\n}")
    (world.custom / "bad.server").write_text(".:53 {\n whoami\n}")
    (block,) = world.load().blocks
    assert list(block.plugins) == ["errors"]
    assert world.left_out() == 1


def test_what_was_left_out_stays_out_until_it_changes(world: World) -> None:
    bad = world.custom / "bad.override"
    bad.write_text("frobnicate")
    config = world.load()
    assert world.digest() == config.digest

    world.path.write_text(MAIN + "other {\n whoami\n}\n")
    assert len(world.load(strict=True).blocks) == 2
    assert len(world.problems) == 1

    bad.write_text("frobnicate again")
    with pytest.raises(CorefileError):
        world.load(strict=True)
    bad.write_text("bufsize")
    config = world.load(strict=True)
    assert "bufsize" in config.blocks[0].plugins
    assert world.left_out() == 0
    assert world.digest() == config.digest


def test_a_start_that_fails_is_tried_without_custom_files(world: World) -> None:
    config = world.load()
    assert load_without_custom(config, OSError("taken")) is None
    (world.custom / "a.override").write_text("bufsize")
    (world.custom / "b.server").write_text("b {\n bind 192.0.2.1\n whoami\n}")
    config = world.load()
    again = load_without_custom(config, OSError("cannot serve udp on 192.0.2.1:53"))
    assert again is not None
    assert keys(again) == [["dns://.:53"]]
    assert list(again.blocks[0].plugins) == ["errors", "whoami"]
    assert [problem.reason for problem in world.problems] == ["BadCustomFile"]
    assert "a.override" in world.problems[0].text
    assert "b.server: left out until they change: cannot serve udp on 192.0.2.1:53" in world.problems[0].text
    assert world.left_out() == 2
    assert world.digest() == again.digest
    assert load_without_custom(again, OSError("taken")) is None


def test_the_digest_is_of_what_is_said(world: World) -> None:
    (world.custom / "a.override").write_text("bufsize 1400")
    first = world.load().digest
    (world.custom / "a.override").write_text("# a comment\nbufsize    1400\n")
    assert world.digest() == first
    (world.custom / "a.override").write_text("bufsize 1401")
    second = world.digest()
    assert second != first
    (world.custom / "a.override").unlink()
    assert world.digest() not in (first, second)
    assert str(world.custom / "*.override") in look(str(world.path), world.process).files


def test_a_broken_corefile_has_a_digest_of_its_own(world: World) -> None:
    digests = set()
    for text in (MAIN, ". {", ". {\n", "(", '"', MAIN + "}"):
        world.path.write_text(text)
        digests.add(world.digest())
    world.path.unlink()
    digests.add(world.digest())
    assert len(digests) == 7


def test_every_plugin_of_the_order_is_there() -> None:
    assert all(callable(registry.setup_of(name)) for name in registry.ORDER)
    assert not registry.ELSEWHERE & set(registry.ORDER)


def test_zones_of_a_block(world: World) -> None:
    world.path.write_text("a b:54 a:55 {\n whoami\n}")
    assert world.load().blocks[0].zones == [names.from_text("a."), names.from_text("b.")]
