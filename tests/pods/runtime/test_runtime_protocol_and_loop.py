import os
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.pods.model import ContainerSpec, ContainerState, Mount, Port, Security
from wherry.pods.runtime import protocol
from wherry.pods.runtime.loop import READ, Loop

SPEC = ContainerSpec(
    id="c",
    pod_uid="u",
    namespace="n",
    pod="p",
    name="c",
    image="i",
    node="n",
    log_path="/l",
    argv=("a",),
    env={"A": "ä"},
    mounts=(Mount("/a", "/b", sub_path="c"),),
    ports=(Port(53, "UDP", optional=True),),
    security=Security(run_as_user=0, groups=(1,)),
)
STATE = ContainerState(id="c", pod_uid="u", name="c", phase="exited", started_at=1.0, notes=("n",))
REQUESTS = [
    protocol.Start(1, SPEC),
    protocol.Stop(2, "c", 30.0),
    protocol.Remove(3, "c"),
    protocol.List(4),
    protocol.Inspect(5, "c"),
    protocol.Subscribe(6),
]
ANSWERS = [protocol.Reply(1, (STATE,), SPEC), protocol.Event(STATE), protocol.Reply(2, error="unknown", detail="d")]


@given(st.lists(st.integers(1, 50), max_size=30))
def test_messages_survive_any_slicing(sizes):
    for messages, decoder in ((REQUESTS, protocol.request_decoder()), (ANSWERS, protocol.answer_decoder())):
        data = b"".join(protocol.encode(message) for message in messages)
        out = []
        for size in (*sizes, len(data)):
            out += decoder.feed(data[:size])
            data = data[size:]
        assert out == messages


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1", b"\0\0\0\x01\x01"])
def test_nonsense_is_an_error(data):
    with pytest.raises(protocol.ProtocolError):
        protocol.request_decoder().feed(data)


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.close()


def test_descriptors_timers_and_calls_run_in_order(loop):
    read, write = os.pipe()
    order = []
    loop.watch(read, READ, lambda _: order.append(os.read(read, 10)))
    loop.later(0, lambda: order.append("timer"))
    loop.later(0.001, loop.stop)
    loop.soon(lambda: order.append("soon"))
    os.write(write, b"x")
    loop.run()
    assert order[:3] == [b"x", "timer", "soon"]
    loop.forget(read)
    loop.forget(read)
    for fd in (read, write):
        os.close(fd)


def test_a_cancelled_timer_neither_runs_nor_wakes(loop):
    timer = loop.later(0.01, lambda: pytest.fail("cancelled"))
    loop.later(0.02, loop.stop)
    timer.cancel()
    began = time.monotonic()
    loop.run()
    assert time.monotonic() - began >= 0.015


def test_an_interrupt_wakes_a_sleeping_loop(loop):
    loop.interrupt(loop.stop)
    loop.run()
    loop.run_once(0)


def test_a_signal_ends_the_waiting_even_if_the_system_call_is_not_interrupted(loop):
    loop.wake_on_signals()
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.interrupt(loop.stop))
    # Delivered to another thread it does not interrupt ours, as if it had come right before the system call.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    def send():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    missed = loop.later(5, lambda: (loop.stop(), pytest.fail("the loop slept on")))
    loop.soon(sender.start)
    try:
        loop.run()
    finally:
        sender.join()
        missed.cancel()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGUSR1, before)


def test_a_callback_may_close_what_another_was_told_about(loop):
    pairs = [os.pipe() for _ in range(2)]
    seen = []

    def first_come(index):
        seen.append(index)
        loop.forget(pairs[1 - index][0])

    for index, (read, write) in enumerate(pairs):
        loop.watch(read, READ, lambda _, index=index: first_come(index))
        os.write(write, b"x")
    loop.run_once(1)
    assert len(seen) == 1
    for pair in pairs:
        for fd in pair:
            os.close(fd)
