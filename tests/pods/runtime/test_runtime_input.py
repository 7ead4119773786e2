"""Input and terminals of program containers, with the real runtime process."""

import signal
from pathlib import Path

import pytest

from tests.pods.runtime.test_runtime_process import running
from wherry.pods.runtime.client import UnknownContainer
from wherry.pods.runtime.input import ProgramInput

pytestmark = pytest.mark.netns

SHOUT = ("sh", "-c", 'echo up; while read line; do echo "got $line"; done; echo over')


async def started(node, name="p", **changes):
    """Start a program and wait for its first words; its input."""
    await node.client.start(node.spec(name, **changes))
    await node.until(name, lambda state: state.pid)
    await node.logged(name, "up")
    source = await node.client.open_input(name)
    assert isinstance(source, ProgramInput)
    return source


async def test_input_goes_to_the_program_until_it_is_ended(tmp_path):
    async with running(tmp_path) as node:
        first = await started(node, argv=SHOUT, stdin=True)
        await first.write(b"one\n")
        first.close()
        second = await node.client.open_input("p")
        await second.write(b"two\n")
        await node.logged("p", "got two")
        second.end()
        assert (await node.exited("p")).exit_code == 0
        assert node.log("p") == ["up", "got one", "got two", "over"]
        assert await node.client.open_input("p") is None
        assert Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text() == ""


async def test_more_input_than_a_pipe_holds(tmp_path):
    async with running(tmp_path) as node:
        source = await started(node, argv=("sh", "-c", "echo up; wc -c"), stdin=True)
        await source.write(b"x" * 1_000_000)
        source.end()
        await node.exited("p")
        assert node.log("p") == ["up", "1000000"]


async def test_without_input_there_is_none(tmp_path):
    async with running(tmp_path) as node:
        state, lines = await node.run("p", *SHOUT)
        assert (state.exit_code, lines) == (0, ["up", "over"])
        await node.client.start(node.spec("s", stdin=True))
        assert await node.client.open_input("s") is None
        with pytest.raises(UnknownContainer):
            await node.client.open_input("none")


async def test_input_survives_kill_9_of_the_runtime(tmp_path):
    async with running(tmp_path) as node:
        source = await started(node, argv=SHOUT, stdin=True)
        node.end_process(signal.SIGKILL)
        await source.write(b"alone\n")
        source.close()
        node.start_process()
        await node.logged("p", "got alone")
        again = await node.client.open_input("p")
        await again.write(b"adopted\n")
        await node.logged("p", "got adopted")
        again.end()
        assert (await node.exited("p")).exit_code == 0


SHELL = """
    trap 'echo interrupted' INT
    test -t 0 && test -t 1 && test -t 2 && echo $TERM && stty size && echo up
    while read line; do eval "$line"; done; exit 0
"""


async def test_a_terminal(tmp_path):
    async with running(tmp_path) as node:
        source = await started(node, argv=("sh", "-c", SHELL), tty=True, stdin=True)
        assert node.log("p")[:3] == ["xterm", "24 80", "up"]
        source.resize(40, 120)
        await source.write(b"stty size; sh -c 'echo sleeping; exec sleep 600'\n")
        await node.logged("p", "sleeping")
        assert "40 120" in node.log("p")
        await source.write(b"\x03")
        await node.logged("p", "^Cinterrupted")
        source.end()
        source.close()
        assert (await node.exited("p")).exit_code == 0


async def test_a_terminal_survives_kill_9_of_the_runtime(tmp_path):
    async with running(tmp_path) as node:
        source = await started(node, argv=("sh", "-c", SHELL), tty=True, stdin=True)
        source.close()
        node.end_process(signal.SIGKILL)
        node.start_process()
        again = await node.client.open_input("p")
        await again.write(b"echo ad''opted; exit 4\n")
        assert (await node.exited("p")).exit_code == 4
        assert "adopted" in node.log("p")
        again.close()


async def test_a_program_of_a_terminal_that_is_not_there(tmp_path):
    async with running(tmp_path) as node:
        state, _ = await node.run("p", "no-such-program", tty=True, stdin=True)
        assert (state.exit_code, state.reason) == (128, "StartError")
        assert state.message == 'exec: "no-such-program": executable file not found in $PATH'


async def test_the_end_of_a_container_ends_its_keeper(tmp_path):
    async with running(tmp_path) as node:
        before = children(node)
        for name, tty in (("p", False), ("t", True)):
            source = await started(node, name, argv=SHOUT, stdin=True, tty=tty)
            source.close()
        assert len(children(node)) == len(before) + 4  # bwrap and the keeper of each
        for name in ("p", "t"):
            await node.client.stop(name, grace=0)
            assert (await node.exited(name)).exit_code == 137
        assert children(node) == before


def children(node):
    return Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
