"""Programs whose runtime process is killed at the worst moments keep their exit codes."""

import asyncio
import os
import random
import signal
import time

import msgspec
import pytest

from tests.pods.runtime.test_runtime_process import running
from wherry.pods.model import ContainerState
from wherry.pods.runtime.records import Record, Records

pytestmark = pytest.mark.netns


def kill_and_restart(node):
    node.end_process(signal.SIGKILL)
    node.start_process()


async def test_a_start_that_the_end_of_the_runtime_cuts_short_is_done_again_or_goes_on(tmp_path):
    random.seed(7)
    async with running(tmp_path) as node:
        for round_ in range(6):
            name = f"p{round_}"
            spec = node.spec(name, argv=("sh", "-c", "echo up; exit 7"))
            async with asyncio.TaskGroup() as group:
                start = group.create_task(node.client.start(spec))
                # Between the request and the program's first words there are a few milliseconds.
                await asyncio.sleep(random.uniform(0, 0.012))
                kill_and_restart(node)
            state = start.result()
            if state.phase != "exited":
                state = await node.exited(name)
            assert (state.exit_code, state.reason) == (7, "Error"), name


async def test_a_program_that_nobody_started_is_forgotten(tmp_path):
    async with running(tmp_path) as node:
        node.end_process(signal.SIGKILL)
        spec = node.spec("p", argv=("true",))
        state = ContainerState(id="p", pod_uid="u1", name="p", phase="running", started_at=1.0)
        records = Records(node.settings.state_dir)
        records.save(Record(spec, state))
        os.mkfifo(records.path("p", ".stdout"))
        node.start_process()
        assert await node.client.list() == []
        assert os.listdir(node.settings.state_dir) == ["lock"]
        assert (await node.client.start(spec)).phase == "running"
        assert (await node.exited("p")).exit_code == 0


async def test_a_program_whose_set_up_outlives_the_runtime_is_found_by_its_status_file(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("p", argv=("sh", "-c", "echo up; read y; exit 5"), stdin=True))
        await node.logged("p", "up")
        node.end_process(signal.SIGKILL)
        records = Records(node.settings.state_dir)
        record = records.load("p")
        lost = msgspec.structs.replace(record.state, pid=0)
        records.save(msgspec.structs.replace(record, monitor=0, monitor_start=0, state=lost))
        node.start_process()
        state = await node.until("p", lambda state: state.pid)
        assert (state.phase, state.pid) == ("running", record.state.pid)
        keys = await node.client.open_input("p")
        await keys.write(b"\n")
        assert (await node.exited("p")).exit_code == 5
        keys.close()


async def test_the_grace_period_runs_on_while_the_runtime_is_away(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("p", argv=("sh", "-c", "trap '' TERM; echo up; read y"), stdin=True))
        await node.logged("p", "up")
        began = time.monotonic()
        await node.client.stop("p", grace=0.5)
        kill_and_restart(node)
        assert (await node.exited("p")).exit_code == 137
        assert time.monotonic() - began >= 0.4
