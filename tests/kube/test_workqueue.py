"""The guarantees in the text of wherry.kube.workqueue."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kube.workqueue import Backoff, QueueClosed, WorkQueue


async def test_fair_and_coalescing():
    queue = WorkQueue()
    for key in "abcabc":
        queue.add(key)
    assert len(queue) == 3
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


async def test_a_key_is_worked_on_by_one_worker_and_comes_again_when_added_meanwhile():
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "b"
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    queue.done("b")
    assert len(queue) == 0


async def test_many_producers_and_consumers():
    queue = WorkQueue()
    working, worked, seen = set(), [], dict.fromkeys(range(20), 0)

    async def produce(start):
        for number in range(100):
            key = (start + number) % 20
            seen[key] += 1
            queue.add(key)
            if number % 7 == 0:
                await asyncio.sleep(0)

    async def consume():
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            assert key not in working
            working.add(key)
            version = seen[key]
            await asyncio.sleep(0)
            worked.append((key, version))
            working.remove(key)
            queue.done(key)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(consume())
        async with asyncio.TaskGroup() as producers:
            for number in range(50):
                producers.create_task(produce(number))
        queue.shut_down()
    assert dict(worked) == seen
    assert len(worked) < 5000


async def test_shutdown_hands_out_the_rest_then_ends():
    queue = WorkQueue()
    queue.add("a")
    queue.add_after("later", 0.01)
    queue.shut_down()
    queue.add("b")
    queue.add_after("c", 0.01)
    assert await queue.get() == "a"
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_shutdown_wakes_those_who_wait():
    queue = WorkQueue()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(_closed(queue)) for _ in range(3)]
        await asyncio.sleep(0)
        queue.shut_down()
    assert all(task.result() for task in waiting)


async def _closed(queue):
    with pytest.raises(QueueClosed):
        await queue.get()
    return True


async def test_a_cancelled_getter_loses_nothing():
    queue = WorkQueue()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first, second = group.create_task(queue.get()), group.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
    assert second.result() == "a"


class Timers:
    """Stands for the loop's timers: runs them in order of time, without waiting."""

    def __init__(self, monkeypatch):
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.planned = []
        monkeypatch.setattr(self.loop, "time", lambda: self.now)
        monkeypatch.setattr(self.loop, "call_later", self.call_later)

    def call_later(self, delay, function, *args):
        timer = asyncio.TimerHandle(self.now + delay, function, args, self.loop)
        self.planned.append(timer)
        return timer

    def advance(self, seconds):
        self.now += seconds
        for timer in sorted(self.planned, key=lambda timer: timer.when()):
            if timer.when() <= self.now + 1e-9:
                self.planned.remove(timer)
                if not timer.cancelled():
                    timer._run()


async def test_delayed_adds_keep_the_soonest(monkeypatch):
    queue = WorkQueue()
    timers = Timers(monkeypatch)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    timers.advance(9)
    assert len(queue) == 0
    queue.add_after("b", 10)
    queue.add_after("b", 2)
    timers.advance(1)
    assert await queue.get() == "a"
    timers.advance(1)
    assert await queue.get() == "b"
    queue.done("b")
    timers.advance(100)
    assert len(queue) == 0
    queue.add_after("c", 0)
    assert await queue.get() == "c"


async def test_backoff_grows_per_key_until_forgotten(monkeypatch):
    queue = WorkQueue(backoff=Backoff(first=1, longest=5))
    timers = Timers(monkeypatch)
    for pause in (1, 2, 4, 5, 5):
        queue.add_rate_limited("a")
        timers.advance(pause - 0.5)
        assert len(queue) == 0
        timers.advance(0.5)
        assert await queue.get() == "a"
        queue.done("a")
    assert (queue.failures("a"), queue.failures("b"), queue.metrics.retries) == (5, 0, 5)
    queue.forget("a")
    queue.add_rate_limited("a")
    timers.advance(1)
    assert await queue.get() == "a"


async def test_metrics(monkeypatch):
    queue = WorkQueue()
    timers = Timers(monkeypatch)
    queue.add("a")
    timers.advance(3)
    await queue.get()
    timers.advance(2)
    queue.done("a")
    metrics = queue.metrics
    assert (metrics.adds, metrics.gets, metrics.done) == (1, 1, 1)
    assert (metrics.waited_seconds, metrics.longest_wait, metrics.worked_seconds) == (3, 3, 2)


@given(st.integers(1, 10_000))
def test_backoff_never_exceeds_its_limit(failures):
    assert 0.005 <= Backoff().after(failures) <= 60
