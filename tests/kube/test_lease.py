import asyncio
from contextlib import AsyncExitStack

import pytest

from wherry.kube.kinds import LEASES
from wherry.kube.lease import LeaderElector, LeaseTimes, Observed, claim, may_take
from wherry.kube.objects import LeaseSpec
from wherry.kube.testing.tools import running

QUICK = LeaseTimes(lease_duration=1.0, renew_deadline=0.3, retry_period=0.02)


def record(**spec):
    return LeaseSpec(lease_duration_seconds=15, **spec)


@pytest.mark.parametrize(
    ("spec", "now", "free"),
    [
        (record(), 0, True),
        (record(holder_identity=""), 0, True),
        (record(holder_identity="me"), 0, True),
        (record(holder_identity="other"), 14.9, False),
        (record(holder_identity="other"), 15, True),
    ],
)
def test_when_a_lease_may_be_taken(spec, now, free):
    assert may_take(Observed(spec, at=0), "me", now) is free


def test_a_lease_counts_from_when_its_change_was_seen():
    seen = Observed(record(holder_identity="other", renew_time="1"), at=0)
    same = seen.update(record(holder_identity="other", renew_time="1"), now=9)
    renewed = seen.update(record(holder_identity="other", renew_time="2"), now=9)
    assert (same.at, renewed.at) == (0, 9)


def test_claims():
    fresh = claim(LeaseSpec(), "me", LeaseTimes(), 0.0)
    assert fresh == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "renewTime": "1970-01-01T00:00:00.000000Z",
        "acquireTime": "1970-01-01T00:00:00.000000Z",
        "leaseTransitions": 0,
    }
    held = LeaseSpec(holder_identity="other", acquire_time="then", lease_transitions=4)
    assert claim(held, "me", LeaseTimes(), 1.0)["leaseTransitions"] == 5
    renewed = claim(held, "other", LeaseTimes(), 1.0)
    assert (renewed["leaseTransitions"], renewed["acquireTime"]) == (4, "then")


def test_times_must_make_sense():
    with pytest.raises(ValueError, match="lease_duration"):
        LeaseTimes(lease_duration=5, renew_deadline=10)


class Work:
    def __init__(self):
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __call__(self):
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.stopped.set()


async def test_one_leads_and_the_next_takes_over_at_once_when_it_leaves(server, client):
    first, second = Work(), Work()
    one = LeaderElector(client, "l", "one", times=QUICK)
    two = LeaderElector(client, "l", "two", times=QUICK)
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        (task,) = await stack.enter_async_context(running(one.run(first)))
        await first.started.wait()
        await stack.enter_async_context(running(two.run(second)))
        renewed = asyncio.Event()
        server.store.listeners.append(lambda change: renewed.set())
        await renewed.wait()
        assert one.leading
        assert not two.leading
        assert not second.started.is_set()
        task.cancel()
        await second.started.wait()
        assert first.stopped.is_set()
        assert server.get(LEASES, "l", "kube-system")["spec"]["leaseTransitions"] >= 1


async def test_a_leader_that_cannot_renew_stops_before_its_lease_ends(server, client):
    work = Work()
    elector = LeaderElector(client, "l", "one", times=QUICK)
    async with asyncio.timeout(5), running(elector.run(work)) as (task,):
        await work.started.wait()
        server.fail_next(403, times=1000)
        started = asyncio.get_running_loop().time()
        await work.stopped.wait()
        await task
        assert asyncio.get_running_loop().time() - started < QUICK.lease_duration
    assert not elector.leading


async def test_a_leader_whose_lease_was_taken_stops_at_once(server, client):
    work = Work()
    elector = LeaderElector(client, "l", "one", times=QUICK)
    async with asyncio.timeout(5), running(elector.run(work)) as (task,):
        await work.started.wait()
        lease = server.get(LEASES, "l", "kube-system")
        server.put(LEASES.as_dict(), lease | {"spec": lease["spec"] | {"holderIdentity": "thief"}})
        await task
    assert server.get(LEASES, "l", "kube-system")["spec"]["holderIdentity"] == "thief"


async def test_the_end_of_the_work_ends_leadership(server, client):
    async def work():
        pass

    async with asyncio.timeout(5):
        await LeaderElector(client, "l", "one", times=QUICK).run(work)
    assert server.get(LEASES, "l", "kube-system")["spec"]["holderIdentity"] == ""


async def test_an_error_in_the_work_is_raised(client):
    async def work():
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as caught:
        await LeaderElector(client, "l", "one", times=QUICK).run(work)
    assert isinstance(caught.value.exceptions[0], ValueError)
