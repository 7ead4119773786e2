from __future__ import annotations

import asyncio

from tests.workloads.make import pod
from wherry.workloads.scheduler.filters import Filter
from wherry.workloads.scheduler.model import PodInfo, pod_info
from wherry.workloads.scheduler.queue import SchedulingQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def info(name: str, priority: int = 0) -> PodInfo:
    return pod_info(pod(name, priority=priority))


def names(queue: SchedulingQueue) -> list[str]:
    popped = []
    while (found := queue.pop()) is not None:
        popped.append(found.key.name)
    return popped


def test_priority_then_age() -> None:
    queue = SchedulingQueue(Clock())
    for each in (info("first"), info("urgent", 100), info("second"), info("low", -5)):
        queue.add(each)
    assert names(queue) == ["urgent", "first", "second", "low"]


def test_a_refused_pod_comes_back_only_for_its_filter() -> None:
    queue = SchedulingQueue(Clock())
    queue.add(info("p"))
    assert names(queue) == ["p"]
    queue.park("uid-p", frozenset({Filter.FIT}))
    queue.retry(frozenset({Filter.TAINTS}))
    assert names(queue) == []
    queue.retry(frozenset({Filter.FIT}), lambda pod: False)
    assert names(queue) == []
    queue.retry(frozenset({Filter.FIT, Filter.PORTS}))
    assert names(queue) == ["p"]


def test_a_changed_pod_is_tried_again_and_a_removed_one_is_not() -> None:
    queue = SchedulingQueue(Clock())
    queue.add(info("p"))
    assert names(queue) == ["p"]
    queue.park("uid-p", frozenset({Filter.FIT}))
    queue.add(info("p"))
    queue.remove("uid-p")
    assert names(queue) == []
    assert "uid-p" not in queue


def test_failed_bindings_wait_longer_each_time() -> None:
    clock = Clock()
    queue = SchedulingQueue(clock)
    queue.add(info("p"))
    for delay in (1, 2, 4, 8, 10, 10):
        assert names(queue) == ["p"]
        queue.back_off("uid-p")
        clock.now += delay - 0.01
        assert names(queue) == []
        clock.now += 0.02


async def test_wait_ends_when_something_comes() -> None:
    queue = SchedulingQueue(Clock())
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(queue.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.add(info("p"))


def test_a_pod_that_was_just_refused_stands_back_behind_the_others() -> None:
    clock = Clock()
    queue = SchedulingQueue(clock)
    queue.add(info("refused", 100))
    assert names(queue) == ["refused"]
    queue.park("uid-refused", frozenset({Filter.FIT}))
    queue.retry(frozenset({Filter.FIT}))
    queue.add(info("fresh"))
    # It is more important, but its turn comes after the active ones; alone it need not wait.
    assert names(queue) == ["fresh", "refused"]
    queue.park("uid-refused", frozenset({Filter.FIT}))
    queue.retry(frozenset({Filter.FIT}))
    queue.add(info("next"))
    clock.now += 2.1
    assert names(queue) == ["refused", "next"]


def test_a_pod_that_stands_back_is_forgotten_when_it_goes_and_not_tried_twice() -> None:
    queue = SchedulingQueue(Clock())
    for name in ("gone", "changed"):
        queue.add(info(name))
        assert names(queue) == [name]
        queue.park(f"uid-{name}", frozenset({Filter.FIT}))
    queue.retry(frozenset({Filter.FIT}))
    queue.remove("uid-gone")
    queue.add(info("changed"))
    assert names(queue) == ["changed"]
