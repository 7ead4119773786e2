"""Pods whose containers see one another's processes (shareProcessNamespace)."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.pods.runtime.test_runtime_process import read_all, running
from wherry.kernel.testing import wait_for

pytestmark = pytest.mark.netns


def processes_of(netns):
    inode = os.stat(netns).st_ino
    return [entry for entry in Path("/proc").glob("[0-9]*/ns/net") if _inode(entry) == inode]


def _inode(path):
    try:
        return path.stat().st_ino
    except OSError:
        return 0


async def test_containers_share_a_namespace_whose_first_process_is_nobodys(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("a", argv=("sh", "-c", "sleep 4321 & echo up; read y"), stdin=True))
        await node.client.start(node.spec("one", argv=("sleep", "1234"), share_pids=True))
        read = ("sh", "-c", 'read y; (setsid sleep 77 &) ; echo up; cat /proc/1/comm; read y; kill "$y"; exit 3')
        await node.client.start(node.spec("two", argv=read, share_pids=True, stdin=True))
        one = await node.until("one", lambda state: state.pid)
        keys = await node.client.open_input("two")
        await keys.write(b"go\n")
        await node.logged("two", "sleep")
        session = await node.client.exec("two", ("pgrep", "-fx", "sleep (1234|4321)"))
        seen = (await read_all(session))[0].split()
        await session.close()
        assert len(seen) == 1  # its neighbour's; not that of a container outside
        await keys.write(seen[0] + b"\n")
        keys.close()
        assert (await node.exited("one")).exit_code == 143
        assert (await node.exited("two")).exit_code == 3
        assert not Path(f"/proc/{one.pid}").exists()
        await node.client.stop("a", grace=0)
        await node.exited("a")
        # The orphan that left its session has ended with the namespace, and so has what held it.
        await asyncio.to_thread(wait_for, lambda: processes_of(node.pod) == [], within=5)


async def test_a_shared_namespace_outlives_the_runtime(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("one", argv=("sleep", "1234"), share_pids=True))
        before = os.readlink(f"/proc/{(await node.until('one', lambda state: state.pid)).pid}/ns/pid")
        node.end_process(signal.SIGKILL)
        node.start_process()
        await node.client.start(node.spec("two", argv=("sleep", "1235"), share_pids=True))
        assert os.readlink(f"/proc/{(await node.until('two', lambda state: state.pid)).pid}/ns/pid") == before
        for name in ("one", "two"):
            await node.client.stop(name, grace=0)
            assert (await node.exited(name)).exit_code == 137
        await asyncio.to_thread(wait_for, lambda: processes_of(node.pod) == [], within=5)
