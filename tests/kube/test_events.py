import asyncio

import pytest

from wherry.kube.events import BURST, REFILL_SECONDS, SIMILAR_SECONDS, EventRecorder
from wherry.kube.kinds import EVENTS
from wherry.kube.objects import Node, ObjectMeta, Pod
from wherry.kube.testing.tools import running

POD = Pod(metadata=ObjectMeta(name="p", namespace="n", uid="u"))


@pytest.fixture
def clock():
    return [1_000_000.0]


@pytest.fixture
def recorder(client, clock):
    return EventRecorder(client, "kubelet", "node-1", clock=lambda: clock[0])


async def flush(recorder):
    async with asyncio.timeout(5), running(recorder.run()):
        await recorder.flush()


async def test_an_event_says_who_what_and_when(recorder, client):
    recorder.event(POD, "Normal", "Started", "Started container web")
    await flush(recorder)
    (event,) = (await client.list(EVENTS, namespace="n")).items
    assert (event.type, event.reason, event.message, event.count) == ("Normal", "Started", "Started container web", 1)
    assert (event.involved_object.kind, event.involved_object.name, event.involved_object.uid) == ("Pod", "p", "u")
    assert (event.source.component, event.source.host, event.reporting_component) == ("kubelet", "node-1", "kubelet")
    assert event.first_timestamp == event.last_timestamp == "1970-01-12T13:46:40Z"
    assert event.name.startswith("p.")


async def test_events_of_cluster_objects_go_to_default(recorder, client):
    recorder.event(Node(metadata=ObjectMeta(name="node-1")), "Normal", "Starting", "")
    await flush(recorder)
    assert [event.namespace for event in (await client.list(EVENTS)).items] == ["default"]


async def test_the_same_event_again_raises_the_count(recorder, client, clock):
    recorder.event(POD, "Warning", "BackOff", "again")
    recorder.event(POD, "Warning", "BackOff", "again")
    await flush(recorder)
    clock[0] += 60
    recorder.event(POD, "Warning", "BackOff", "again")
    await flush(recorder)
    (event,) = (await client.list(EVENTS)).items
    assert event.count == 3
    assert event.last_timestamp == "1970-01-12T13:47:40Z"
    clock[0] += SIMILAR_SECONDS + 1
    recorder.event(POD, "Warning", "BackOff", "again")
    await flush(recorder)
    assert sorted(event.count for event in (await client.list(EVENTS)).items) == [1, 3]


async def test_an_event_that_expired_on_the_server_is_made_anew(recorder, client, server):
    recorder.event(POD, "Warning", "BackOff", "again")
    await flush(recorder)
    (event,) = (await client.list(EVENTS)).items
    server.remove(EVENTS, event.name, "n")
    recorder.event(POD, "Warning", "BackOff", "again")
    await flush(recorder)
    assert len((await client.list(EVENTS)).items) == 1


async def test_a_noisy_object_is_limited(recorder, client, clock):
    for number in range(BURST * 2):
        recorder.event(POD, "Normal", "Noise", str(number))
    recorder.event(Pod(metadata=ObjectMeta(name="q", namespace="n")), "Normal", "Noise", "quiet one")
    await flush(recorder)
    assert len((await client.list(EVENTS)).items) == BURST + 1
    clock[0] += REFILL_SECONDS
    for number in range(2):
        recorder.event(POD, "Normal", "Noise", f"later {number}")
    await flush(recorder)
    assert len((await client.list(EVENTS)).items) == BURST + 2


async def test_refused_events_are_dropped(recorder, server, client):
    server.fail_next(403)
    recorder.event(POD, "Normal", "Lost", "")
    recorder.event(POD, "Normal", "Kept", "")
    await flush(recorder)
    assert [event.reason for event in (await client.list(EVENTS)).items] == ["Kept"]
