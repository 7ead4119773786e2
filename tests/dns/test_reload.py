"""Hearing of changed Corefiles, however they change, and what happens then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dns.chains import World, serving
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.corefile.load import look
from wherry.dns.filewatch import FileWatch

# Long enough that nothing but the file system's word brings a change about.
MAIN = ". {\n reload 1h 0s\n whoami\n import custom/*.override\n}\nimport custom/*.server\n"
PATIENCE = 30.0


def swap(directory: Path, name: str, files: dict[str, str]) -> None:
    """Put files in force as kubelet does: a directory aside, and a link that is renamed over."""
    (directory / name).mkdir()
    for file, text in files.items():
        (directory / name / file).write_text(text)
        if not (directory / file).is_symlink():
            (directory / file).symlink_to(f"..data/{file}")
    (directory / "..data_tmp").symlink_to(name)
    (directory / "..data_tmp").rename(directory / "..data")


def rename_over(directory: Path) -> None:
    (directory / "new").write_text("log\n")
    (directory / "new").rename(directory / "custom" / "a.override")


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda d: (d / "Corefile").write_text(MAIN + "a {\n}\n"),
    "custom file written": lambda d: (d / "custom" / "a.override").write_text("log\n"),
    "custom file renamed over": rename_over,
    "custom file removed": lambda d: (d / "custom" / "a.override").unlink(),
    "custom file new": lambda d: (d / "custom" / "b.server").write_text("b {\n}\n"),
    "volume swapped": lambda d: swap(d / "custom", "..2", {"v.override": "log\n"}),
}


class Reloads:
    """Stands for the server: counts what it is told, and fails if told to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told = asyncio.Queue[str]()
        self.failure: Exception | None = None
        world.config.reload = self.reload

    async def reload(self) -> None:
        self.told.put_nowait(look(self.world.config.source, self.world.config.process).digest)
        if self.failure is not None:
            raise self.failure


def prepare(directory: Path) -> None:
    (directory / "custom").mkdir()
    (directory / "custom" / "a.override").write_text("errors\n")
    swap(directory / "custom", "..1", {"v.override": "bufsize\n"})


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_put_in_force_at_once(tmp_path: Path, change: str) -> None:
    prepare(tmp_path)
    async with serving(MAIN, tmp_path) as world:
        reloads = Reloads(world)
        await asyncio.sleep(0)  # the task begins to watch
        CHANGES[change](tmp_path)
        async with asyncio.timeout(PATIENCE):
            digest = await reloads.told.get()
    assert digest != world.config.digest
    assert world.value("coredns_reload_version_info", hash="sha512", value=world.config.digest) == 1


async def test_a_custom_directory_may_come_later(tmp_path: Path) -> None:
    async with serving(MAIN, tmp_path) as world:
        reloads = Reloads(world)
        await asyncio.sleep(0)
        (tmp_path / "custom").mkdir()
        (tmp_path / "custom" / "a.override").write_text("errors\n")
        async with asyncio.timeout(PATIENCE):
            await reloads.told.get()


async def test_comments_and_other_files_change_nothing(tmp_path: Path) -> None:
    prepare(tmp_path)
    async with serving(MAIN, tmp_path) as world:
        reloads = Reloads(world)
        await asyncio.sleep(0)
        (tmp_path / "custom" / "notes.txt").write_text("x")
        (tmp_path / "custom" / "a.override").write_text("# why\nerrors\n")
        (tmp_path / "Corefile").write_text(MAIN + "b {\n}\n")
        async with asyncio.timeout(PATIENCE):
            await reloads.told.get()
        assert reloads.told.empty()


async def test_a_bad_change_is_reported_once_and_the_next_is_tried(tmp_path: Path) -> None:
    prepare(tmp_path)
    async with serving(MAIN, tmp_path) as world:
        reloads = Reloads(world)
        await asyncio.sleep(0)
        reloads.failure = CorefileError("no good", file="x", line=1)
        (tmp_path / "Corefile").write_text(". {\n frobnicate\n}")
        async with asyncio.timeout(PATIENCE):
            bad = await reloads.told.get()
        # The same words again are not tried again; other words are.
        (tmp_path / "Corefile").write_text(". {\n frobnicate\n}")
        (tmp_path / "custom" / "a.override").write_text("log\n")
        reloads.failure = None
        (tmp_path / "Corefile").write_text(MAIN + "b {\n}\n")
        async with asyncio.timeout(PATIENCE):
            assert await reloads.told.get() != bad
        assert world.value("coredns_reload_failed_total") == 1
        assert [problem.reason for problem in world.problems] == ["ReloadFailed"]
        assert "what was in force stays: x:1 - Error during parsing: no good" in world.problems[0].text


async def test_the_first_block_looks_for_all(tmp_path: Path) -> None:
    async with serving("a {\n reload 1h\n}\nb {\n reload 1h\n}\n", tmp_path) as world:
        reloads = Reloads(world)
        await asyncio.sleep(0)
        (tmp_path / "Corefile").write_text("a {\n reload 1h\n}\n")
        async with asyncio.timeout(PATIENCE):
            await reloads.told.get()
        assert reloads.told.empty()


async def test_the_interval_serves_where_nothing_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileWatch) -> None:
        raise OSError(24, "too many")

    monkeypatch.setattr(FileWatch, "__init__", refuse)
    async with serving(MAIN.replace("1h", "2s"), tmp_path) as world:
        world.plugin("reload").interval = 0.01
        reloads = Reloads(world)
        (tmp_path / "Corefile").write_text(MAIN + "b {\n}\n")
        async with asyncio.timeout(PATIENCE):
            await reloads.told.get()


async def test_watching_files_that_are_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    watch = FileWatch()
    try:
        for change in (
            lambda: (tmp_path / "a").mkdir(),
            lambda: path.parent.mkdir(),
            lambda: path.write_text("x"),
            lambda: os.replace(path, path.with_name("other")),
        ):
            watch.watch([str(path)])
            change()
            async with asyncio.timeout(PATIENCE):
                await watch.wait()
    finally:
        watch.close()


async def test_watching_a_file_that_is_written_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").write_text("x")
    os.link(tmp_path / "there", tmp_path / "here" / "file")
    watch = FileWatch()
    try:
        watch.watch([str(tmp_path / "here" / "file")])
        (tmp_path / "there").write_text("y")
        async with asyncio.timeout(PATIENCE):
            await watch.wait()
    finally:
        watch.close()
