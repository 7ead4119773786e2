"""What is kept: bounded, dropped by tag, counted, falling."""

from __future__ import annotations

from math import inf

from wherry.dns.front.counters import Counters
from wherry.dns.front.memo import DENIALS, Entry, FallingEntry, Label, Memo
from wherry.dns.front.protocol import SIZES

LABEL = Label(0, ".", "", "udp", 1, 1, False, 0, "kubernetes")


def memo(room: int = 1 << 20) -> tuple[Memo, Counters]:
    counters = Counters()
    made = Memo(counters.settle, room)
    made.widen(2)
    return made, counters


def entry(*tags: bytes, reply: bytes = b"reply", until: float = inf) -> Entry:
    return Entry((reply,), LABEL, tags, until)


def test_an_answer_is_found_in_its_slot_only() -> None:
    kept, _ = memo()
    kept.keep(0, b"q", entry())
    assert kept.current(0, b"q", 0) is not None
    assert kept.current(1, b"q", 0) is None


def test_tags_drop_answers_in_both_generations_and_no_others() -> None:
    kept, _ = memo(room=1600)
    kept.keep(0, b"first", entry(b"a"))
    for number in range(4):  # until the first is old
        kept.keep(0, b"%d" % number, entry(b"b", b"c"))
    assert b"first" not in kept.young[0]
    kept.keep(1, b"second", entry(b"a"))
    kept.drop([b"a", b"never seen"])
    assert kept.current(0, b"first", 0) is None
    assert kept.current(1, b"second", 0) is None
    assert kept.current(0, b"3", 0) is not None
    kept.drop([b"c"])
    assert kept.current(0, b"3", 0) is None


def test_an_answer_in_use_outlasts_any_number_of_others_and_its_tag_still_drops_it() -> None:
    kept, _ = memo(room=4000)
    kept.keep(0, b"used", entry(b"a"))
    for number in range(1000):
        kept.keep(0, b"%d" % number, entry())
        assert kept.current(0, b"used", 0) is not None
    assert sum(map(len, kept.young)) < 12
    kept.drop([b"a"])
    assert kept.current(0, b"used", 0) is None


def test_denials_are_bounded_and_go_with_the_first_change() -> None:
    kept, _ = memo()
    kept.keep(0, b"positive", entry())
    for number in range(DENIALS + 10):
        kept.deny(0, b"%d" % number, entry())
    assert len(kept.denials[0]) == 10
    assert kept.current(0, b"positive", 0) is not None
    kept.forget_denials()
    assert kept.current(0, b"%d" % DENIALS, 0) is None


def test_every_use_is_counted_once_however_an_answer_leaves() -> None:
    kept, counters = memo(room=3000)
    for number in range(50):
        each = entry(b"even" if number % 2 else b"odd", until=10 if number == 49 else inf)
        each.hits = 2
        (kept.deny if number % 5 == 0 else kept.keep)(0, b"query %d" % number, each)
    kept.drop([b"odd"])
    kept.current(0, b"query 49", 11)
    kept.visit()
    kept.visit()
    kept.clear()
    (row,) = counters.take()
    assert row.queries == 100
    assert row.request_bytes == sum(2 * len(b"xxquery %d" % number) for number in range(50))
    assert row.response_sizes == (0, 100) + (0,) * (len(SIZES) - 1)
    assert counters.take() == []


def test_durations_are_shared_out() -> None:
    _, counters = memo()
    counters.add(LABEL, 40, 60, 3)
    counters.add(LABEL._replace(rcode=3), 40, 600)
    counters.busy = 0.008
    rows = counters.take()
    assert [(row.queries, row.seconds) for row in rows] == [(3, 0.006), (1, 0.002)]


def test_ttls_fall_by_the_second_until_the_answer_expires() -> None:
    wire = b"head" + (30).to_bytes(4, "big") + b"tail"
    kept, _ = memo()
    kept.keep(0, b"q", FallingEntry((wire,), LABEL, (), made=100.5, expires=103.0, places=((4,),)))
    seen = []
    for now in (100.5, 101.4, 101.5, 102.9):
        found = kept.current(0, b"q", now)
        assert found is not None
        assert found.until > now
        seen.append(int.from_bytes(found.replies[0][4:8], "big"))
    assert seen == [30, 30, 29, 28]
    assert kept.current(0, b"q", 103.0) is None
    assert kept.current(0, b"q", 100.0) is None  # it is gone, not only late
