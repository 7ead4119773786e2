"""The stores of `cache`, and what it reads from the Corefile."""

import pytest

from tests.dns.chains import read
from wherry.dns import names, records
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.message import Message, Question
from wherry.dns.plugins.cache.store import Item, Store


def reply(text: str) -> Message:
    message = Message(id=1, question=Question(names.from_text("a.example"), records.A)).reply()
    message.answer = [records.from_text(text)]
    return message


def test_a_store_is_bounded_by_number_and_by_size() -> None:
    store = Store(0)
    assert store.capacity == 1024
    small = reply("a.example. 30 A 192.0.2.1")
    evicted = sum(
        store.add((b"%d" % number, 1, 1, False, False), Item(small, "success", 5, number)) for number in range(3000)
    )
    assert (len(store), evicted) == (1024, 3000 - 1024)
    assert store.get((b"2999", 1, 1, False, False)) is not None
    large = reply("a.example. 30 TXT " + " ".join(['"' + "x" * 250 + '"'] * 200))
    for number in range(60):
        store.add((b"large%d" % number, 1, 1, False, False), Item(large, "success", 5, 5000 + number))
    assert len(store) <= 1024 * 1664 // 50_000 + 1
    store.add((b"same", 1, 1, False, False), Item(small, "success", 5, 0))
    before = len(store)
    store.add((b"same", 1, 1, False, False), Item(small, "success", 5, 0))
    assert len(store) == before


def test_options(tmp_path) -> None:
    config, _ = read(
        ". {\n cache 60 a b {\n success 5000 100 2\n denial 2560\n prefetch 3\n servfail 1m\n disable success\n }\n}",
        tmp_path,
    )
    cache = config.blocks[0].plugins["cache"]
    assert (cache.clamp.success, cache.clamp.denial, len(cache.clamp.zones)) == ((2, 100), (5, 60), 2)
    assert {name: store.capacity for name, store in cache._stores.items()} == {"success": 4864, "denial": 2560}
    assert (cache.options.prefetch, cache.options.prefetch_gap, cache.options.failure_ttl) == (3, 60.0, 60)
    assert cache.options.no_success == (b"\0",)


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("cache 0", "cache TTL can not be zero or negative: 0", 2),
        ("cache {\n success\n }", "Wrong argument count", 3),
        ("cache {\n success 10 0\n }", "zero or negative", 3),
        ("cache {\n denial 10 5 -1\n }", "whole number", 3),
        ("cache {\n prefetch 3 1m 10\n }", "last character of percentage", 3),
        ("cache {\n prefetch 3 1m 95%\n }", r"\[10, 90\]: 95", 3),
        ("cache {\n servfail 6m\n }", "over 5 minutes", 3),
        ("cache {\n serve_stale 1h later\n }", "refresh mode: later", 3),
        ("cache {\n serve_stale 1h immediate 1s 1s 1s\n }", "Wrong argument count", 3),
        ("cache {\n serve_stale 1h verify 1s 1500ms\n }", "whole number of seconds", 3),
        ("cache {\n serve_stale 1h verify 1s 1s 6m\n }", "cannot exceed 5 minutes", 3),
        ("cache {\n serve_stale_policy prefer_positive\n }", "requires serve_stale", 3),
        ("cache {\n disable all\n }", "must be", 3),
        ("cache {\n surprise\n }", "unknown property 'surprise'", 3),
        ("cache\n cache", "only be used once", 3),
    ],
)
def test_errors_name_the_line(tmp_path, text, words, line) -> None:
    with pytest.raises(CorefileError, match=words) as caught:
        read(f". {{\n {text}\n}}", tmp_path)
    assert caught.value.line == line
