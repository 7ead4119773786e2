"""nft: statements as text, the conversation without pipes, and the real thing with its failures."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kernel.model import Chain, Element, Hook, Map, Rule, Set
from wherry.kernel.nft import Dialogue, Nft, NftError, NftErrorKind, parse_error
from wherry.kernel.transaction import Transaction

CHAIN = Chain("c")
PORTS = Set(name="ports", type="inet_service", comment="ports")
SERVICES = Map(name="services", type="ipv4_addr . inet_proto . inet_service", value="verdict")


def test_transactions_are_nft_text() -> None:
    change = (
        Transaction("inet", "t")
        .recreate_table()
        .add(Chain("base", Hook("nat", "prerouting", "dstnat"), 'say "ü"'), CHAIN, PORTS, SERVICES)
        .add(Set(name="s", type="ipv4_addr", flags=("interval", "timeout"), timeout=5, size=9, auto_merge=True))
        .rules(Rule("c", "tcp dport 80 accept", "web; and more"))
        .change_elements(SERVICES, delete=[Element(("10.0.0.1", "tcp", "80"))], add=[
            Element(("10.0.0.1", "tcp", "80"), "goto c", "x"),
        ])
        .add_elements(PORTS, [])
        .replace_rules(CHAIN, ["drop"])
        .delete(CHAIN, PORTS)
        .remove(PORTS)
    )  # fmt: skip
    assert str(change).splitlines() == [
        "add table inet t",
        "delete table inet t",
        "add table inet t",
        'add chain inet t base { type nat hook prerouting priority dstnat; policy accept; comment "say ???"; }',
        "add chain inet t c",
        'add set inet t ports { type inet_service; comment "ports"; }',
        "add map inet t services { type ipv4_addr . inet_proto . inet_service : verdict; }",
        "add set inet t s { type ipv4_addr; flags interval,timeout; timeout 5s; size 9; auto-merge; }",
        'add rule inet t c tcp dport 80 accept comment "web; and more"',
        "delete element inet t services { 10.0.0.1 . tcp . 80 }",
        'add element inet t services { 10.0.0.1 . tcp . 80 comment "x" : goto c }',
        "add chain inet t c",
        "flush chain inet t c",
        "add rule inet t c drop",
        "flush chain inet t c",
        "delete chain inet t c",
        "delete set inet t ports",
        'add set inet t ports { type inet_service; comment "ports"; }',
        "delete set inet t ports",
    ]


@pytest.mark.parametrize("bad", ["", "a b", "1a", "a;b", "x" * 256, "a{", "ä"])
def test_names_that_nft_would_not_take_are_refused(bad: str) -> None:
    with pytest.raises(ValueError):
        Transaction("inet", bad)
    with pytest.raises(ValueError):
        Transaction("inet", "t").add(Chain(bad))


def test_errors_name_the_statement() -> None:
    text = (
        "Error: Could not process rule: No such file or directory\n"
        'add chain inet t c; add rule inet t no comment "a;b"; add table inet x\n'
        "                                    ^^\n"
    )
    error = parse_error(text)
    assert error is not None
    assert (error.kind, error.statement) == (NftErrorKind.NOT_FOUND, 'add rule inet t no comment "a;b"')
    assert parse_error("table inet t\n") is None


@given(st.lists(st.sampled_from(["", "Error: File exists\nadd x\n^^^\n", "table inet x\n"]), max_size=6), st.data())
def test_answers_are_told_apart_however_they_arrive(texts: list[str], data: st.DataObject) -> None:
    dialogue = Dialogue()
    stream = b""
    for text in texts:
        number, asked = dialogue.ask("add x")
        assert asked.endswith(f"\n@wherry-{number}\n".encode())
        stream += f"{text}Error: syntax error, unexpected @\n@wherry-{number}\n^\n".encode()
    answers: list[tuple[int, str]] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        answers += dialogue.feed(stream[:size])
        stream = stream[size:]
    assert answers == [(number + 1, text) for number, text in enumerate(texts)]


@pytest.fixture
async def nft() -> AsyncIterator[Nft]:
    nft = Nft()
    await nft.start()
    yield nft
    await nft.close()


async def names(nft: Nft, what: str = "chain") -> set[str]:
    return {one[what]["name"] for one in await nft.list_table("inet", "t") if what in one}


def base() -> Transaction:
    return Transaction("inet", "t").recreate_table().add(CHAIN, SERVICES)


@pytest.mark.netns
async def test_a_batch_is_all_or_nothing(nft: Nft) -> None:
    await nft.commit(base())
    for bad, kind, statement in (
        ("add chain inet t d; add rule inet t none accept; add chain inet t e", NftErrorKind.NOT_FOUND,
         "add rule inet t none accept"),
        ("add chain inet t d\nadd rule inet t none accept", NftErrorKind.NOT_FOUND, "add rule inet t none accept"),
        ("create chain inet t c", NftErrorKind.EXISTS, "create chain inet t c"),
        ("add chain inet t d; nonsense", NftErrorKind.INVALID, None),
    ):  # fmt: skip
        with pytest.raises(NftError) as caught:
            await nft.commit(bad)
        assert caught.value.kind == kind
        assert statement is None or caught.value.statement == statement
        assert await names(nft) == {"c"}
    await nft.commit(Transaction("inet", "t").add_elements(SERVICES, [Element(("10.0.0.1", "tcp", "80"), "goto c")]))
    with pytest.raises(NftError) as caught:
        await nft.commit(Transaction("inet", "t").delete(CHAIN))
    assert caught.value.kind == NftErrorKind.BUSY
    with pytest.raises(NftError) as caught:
        await nft.list_table("inet", "none")
    assert caught.value.kind == NftErrorKind.NOT_FOUND


@pytest.mark.netns
async def test_large_loads_and_small_changes_keep_their_order(nft: Nft) -> None:
    await nft.commit(base())
    many = [Element((f"10.1.{n >> 8}.{n & 255}", "tcp", "80"), "goto c") for n in range(3000)]
    async with asyncio.TaskGroup() as group:
        for change in (
            Transaction("inet", "t").add(Chain("before")),
            Transaction("inet", "t").rules(Rule("before", "drop")).add_elements(SERVICES, many),
            Transaction("inet", "t").delete_elements(SERVICES, many[:1]).delete(Chain("before")),
        ):
            group.create_task(nft.commit(change))
    (services,) = [one["map"] for one in await nft.list_table("inet", "t") if "map" in one]
    assert len(services["elem"]) == 2999
    assert await names(nft) == {"c"}


@pytest.mark.netns
async def test_cancelled_callers_do_not_disturb_others(nft: Nft) -> None:
    await nft.commit(base())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(nft.commit(f"add chain inet t k{n}")) for n in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
    with pytest.raises(NftError, match="none"):
        await nft.commit("add rule inet t none accept")
    await nft.commit("add chain inet t last")
    present = await names(nft)
    assert {"last", *(f"k{n}" for n in range(1, 10, 2))} <= present
    load = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        many = [Element((f"10.1.{n >> 8}.{n & 255}", "tcp", "80"), "drop") for n in range(5000)]
        big = base().add_elements(SERVICES, many)

        async def cancelled_load() -> None:
            load.set()
            await nft.commit(big)

        task = group.create_task(cancelled_load())
        await load.wait()
        task.cancel()
    await nft.commit("add chain inet t after")
    assert "after" in await names(nft)


@pytest.mark.netns
async def test_a_dead_child_is_noticed_and_replaced(nft: Nft) -> None:
    await nft.commit(base())
    assert nft._child is not None
    first = nft._child.pid
    os.kill(first, signal.SIGSTOP)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_error_of(nft, "add chain inet t lost"))
        await asyncio.sleep(0)
        assert nft._waiting
        os.kill(first, signal.SIGKILL)
    assert waiting.result() == NftErrorKind.LOST
    await nft.commit("add chain inet t found")
    assert nft._child.pid != first
    assert "found" in await names(nft)


async def _error_of(nft: Nft, batch: str) -> NftErrorKind | None:
    try:
        await nft.commit(batch)
    except NftError as error:
        return error.kind
    return None


@pytest.mark.netns
async def test_odd_text_in_comments_is_harmless(nft: Nft) -> None:
    odd = "a\"b\\c;d{e}f\tg\nh'i # j ü 😀 " + "x" * 300
    await nft.commit(base())
    await nft.commit(Transaction("inet", "t").rules(Rule("c", "accept", odd)).add(Chain("d", comment=odd)).add_elements(
        SERVICES, [Element(("10.0.0.1", "tcp", "80"), "drop", odd)]))  # fmt: skip
    (rule,) = [one["rule"] for one in await nft.list_table("inet", "t") if "rule" in one]
    assert rule["comment"].startswith("a?b?c;d{e}f?g?h'i # j")


async def test_a_missing_program_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("wherry.kernel.nft._SEARCH_PATH", "/nonexistent")
    with pytest.raises(NftError, match="install the package nftables") as caught:
        await Nft().commit("add table inet t")
    assert caught.value.kind == NftErrorKind.MISSING
