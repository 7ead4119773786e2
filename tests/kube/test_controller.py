import asyncio

import pytest

from wherry.kube import kinds
from wherry.kube.controller import Controller, Result, RetryAfter, Terminal
from wherry.kube.errors import Conflict, Forbidden
from wherry.kube.keys import Key
from wherry.kube.objects import ObjectMeta, OwnerReference, Pod, ReplicaSet
from wherry.kube.testing.tools import running
from wherry.kube.workqueue import Backoff

A = Key("n", "a")


class Scripted(Controller):
    """Does what the script says at each reconcile: raise, or return."""

    name = "scripted"

    def __init__(self, *script, workers=1):
        super().__init__(backoff=Backoff(first=0.001, longest=0.001))
        self.workers = workers
        self.script = [*script]
        self.keys = []
        self.finished = asyncio.Event()
        self.prepared = False

    async def prepare(self):
        self.prepared = True

    async def reconcile(self, key):
        assert self.prepared
        self.keys.append(key)
        step = self.script.pop(0)
        if not self.script:
            self.finished.set()
        if isinstance(step, BaseException):
            raise step
        return step


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (RetryAfter(0.001), "retry_after"),
        (Conflict({"code": 409}), "retry"),
        (ValueError("broken"), "error"),
        (Result(requeue_after=0.001), "ok"),
    ],
)
async def test_steps_that_come_again(step, outcome):
    controller = Scripted(step, None)
    controller.queue.add(A)
    async with asyncio.timeout(5), running(controller.run()):
        await controller.finished.wait()
    assert controller.keys == [A, A]
    assert controller.outcomes[outcome] >= 1
    assert controller.queue.failures(A) == 0


async def test_a_terminal_error_is_dropped_and_logged(caplog):
    controller = Scripted(Terminal("bad range"), None)
    controller.queue.add(A)
    controller.queue.add(Key("n", "b"))
    async with asyncio.timeout(5), running(controller.run()):
        await controller.finished.wait()
    assert controller.keys == [A, Key("n", "b")]
    assert "n/a: bad range" in caplog.text


async def test_unexpected_errors_are_logged_with_key_and_traceback(caplog):
    controller = Scripted(ValueError("broken"), None)
    controller.queue.add(A)
    async with asyncio.timeout(5), running(controller.run()):
        await controller.finished.wait()
    assert "n/a: reconcile failed (attempt 1)" in caplog.text
    assert "ValueError: broken" in caplog.text


async def test_refusals_of_the_server_are_told_in_one_line(caplog):
    controller = Scripted(Forbidden({"code": 403, "message": "exceeded quota"}), None)
    controller.queue.add(A)
    async with asyncio.timeout(5), running(controller.run()):
        await controller.finished.wait()
    assert controller.keys == [A, A]
    assert [record.getMessage() for record in caplog.records] == ["n/a: refused (attempt 1): exceeded quota"]
    assert "Traceback" not in caplog.text


async def test_workers_work_side_by_side():
    meeting = asyncio.Barrier(2)

    class Meets(Scripted):
        async def reconcile(self, key):
            await meeting.wait()
            return await super().reconcile(key)

    controller = Meets(None, None, workers=2)
    controller.queue.add(A)
    controller.queue.add(Key("n", "b"))
    async with asyncio.timeout(5), running(controller.run()):
        await controller.finished.wait()


async def test_handlers_queue_own_and_owner_keys():
    controller = Scripted(None)
    owner = kinds.controller_reference(ReplicaSet(metadata=ObjectMeta(name="rs", namespace="n")))
    other = OwnerReference(kind="DaemonSet", name="ds", controller=True)
    pod = Pod(metadata=ObjectMeta(name="p", namespace="n", owner_references=(owner,)))
    controller.enqueue(None, pod)
    controller.enqueue(pod, None)
    handler = controller.enqueue_owner("ReplicaSet")
    handler(pod, Pod(metadata=ObjectMeta(name="p", namespace="n", owner_references=(other,))))
    assert [await controller.queue.get() for _ in range(len(controller.queue))] == [Key("n", "p"), Key("n", "rs")]
