from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import STAMP, meta, of, owner
from wherry.kube import kinds
from wherry.kube.objects import ObjectMeta
from wherry.workloads.garbage.graph import (
    FOREGROUND,
    ORPHAN,
    Ask,
    Delete,
    Graph,
    Item,
    Nothing,
    Release,
    Unblock,
    Unlink,
)


def item(
    name: str, *owners: str | dict[str, Any], finalizers: tuple[str, ...] = (), deleting: bool = False, **more: Any
) -> Item:
    plain = meta(name, more.pop("namespace", "default"), **more)
    plain["ownerReferences"] = [owner(each) if isinstance(each, str) else each for each in owners]
    plain["finalizers"] = list(finalizers)
    if deleting:
        plain["deletionTimestamp"] = STAMP
    return Item(kinds.CONFIG_MAPS, of(ObjectMeta, plain))


def graph(*items: Item, absent: tuple[str, ...] = ()) -> Graph:
    made = Graph()
    for each in items:
        made.put(each)
    for each in absent:
        made.absent(f"uid-{each}")
    return made


def decide(made: Graph, name: str) -> Any:
    return made.decide(f"uid-{name}")


def test_an_object_without_owners_stays() -> None:
    assert decide(graph(item("a")), "a") == Nothing()
    assert decide(graph(), "a") == Nothing()


def test_an_object_with_a_living_owner_stays() -> None:
    assert decide(graph(item("a", "o"), item("o")), "a") == Nothing()


def test_unknown_owners_are_asked_for() -> None:
    made = graph(item("a", "o"))
    answer = decide(made, "a")
    assert isinstance(answer, Ask)
    assert [each.name for each in answer.owners] == ["o"]
    made.present("uid-o")
    assert decide(made, "a") == Nothing()
    made.absent("uid-o")
    assert decide(made, "a") == Delete("Background")


def test_an_object_goes_with_its_last_owner() -> None:
    made = graph(item("a", "o", "p"), item("o"), item("p"))
    assert made.drop("uid-o") == {"uid-a"}
    assert decide(made, "a") == Unlink(frozenset({"uid-o"}))
    assert made.drop("uid-p") == {"uid-a"}
    assert decide(made, "a") == Delete("Background")


@pytest.mark.parametrize(("finalizer", "way"), [(ORPHAN, "Orphan"), (FOREGROUND, "Foreground"), ("x/y", "Background")])
def test_finalizers_choose_how_it_goes(finalizer: str, way: Any) -> None:
    assert decide(graph(item("a", "o", finalizers=(finalizer,)), absent=("o",)), "a") == Delete(way)


def test_an_owner_of_another_namespace_is_none() -> None:
    made = graph(item("a", "o"), item("o", namespace="other"))
    assert decide(made, "a") == Delete("Background")
    made.put(item("o", namespace=""))
    assert decide(made, "a") == Nothing()


def test_an_object_being_deleted_is_left_alone() -> None:
    assert decide(graph(item("a", "o", deleting=True, finalizers=("x/y",)), absent=("o",)), "a") == Nothing()


def test_orphaning() -> None:
    made = graph(item("a", "o"), item("b", "o", "p"), item("o"))
    assert made.put(item("o", finalizers=(ORPHAN,), deleting=True)) == {"uid-o"}
    answer = decide(made, "o")
    assert isinstance(answer, Release)
    assert (answer.finalizer, [each.uid for each in answer.orphans]) == (ORPHAN, ["uid-a", "uid-b"])


def test_foreground_deletion_waits_for_those_that_block() -> None:
    made = graph(item("a", "o"), item("free", owner("o", block=False)), item("o"))
    changed = made.put(item("o", finalizers=(FOREGROUND,), deleting=True))
    assert changed == {"uid-o", "uid-a", "uid-free"}
    assert decide(made, "o") == Nothing()
    assert decide(made, "a") == Delete("Background")
    assert made.drop("uid-a") == {"uid-o"}
    assert decide(made, "o") == Release(FOREGROUND)


def test_foreground_goes_down_the_tree() -> None:
    made = graph(item("leaf", "mid"), item("mid", "top"), item("top", finalizers=(FOREGROUND,), deleting=True))
    assert decide(made, "mid") == Delete("Foreground")
    assert decide(made, "leaf") == Nothing()
    changed = made.put(item("mid", "top", finalizers=(FOREGROUND,), deleting=True))
    assert changed == {"uid-mid", "uid-leaf"}
    assert decide(made, "leaf") == Delete("Background")


def test_an_object_with_another_owner_survives_foreground_deletion() -> None:
    made = graph(item("a", "o", "p"), item("p"), item("o", finalizers=(FOREGROUND,), deleting=True))
    assert decide(made, "a") == Unlink(frozenset({"uid-o"}))
    assert made.put(item("a", "p")) == {"uid-a", "uid-o"}
    assert decide(made, "o") == Release(FOREGROUND)


def test_no_longer_blocking_lets_the_owner_go() -> None:
    made = graph(item("a", "o"), item("o", finalizers=(FOREGROUND,), deleting=True))
    assert "uid-o" in made.put(item("a", owner("o", block=False)))
    assert decide(made, "o") == Release(FOREGROUND)


def test_a_circle_is_broken() -> None:
    made = graph(item("a", "b", finalizers=(FOREGROUND,), deleting=True), item("b", "a"))
    answer = decide(made, "b")
    assert isinstance(answer, Unblock)
    assert [each.uid for each in answer.dependents] == ["uid-a"]


def test_nothing_is_examined_without_a_reason() -> None:
    made = graph(item("o"), item("a", "o"))
    assert made.put(item("a", "o", labels={"x": "y"})) == set()
    assert made.put(item("o", labels={"x": "y"})) == set()
    assert made.put(item("lonely")) == set()
    assert made.drop("uid-lonely") == set()


forests = st.lists(st.sets(st.integers(0, 14), max_size=3), min_size=1, max_size=15)


@given(forests, st.data())
def test_exactly_the_unreachable_go(parents: list[set[int]], data: st.DataObject) -> None:
    """Objects own only later ones, so there are no circles; roots are those without owners."""
    owners = {number: {each for each in wanted if each < number} for number, wanted in enumerate(parents)}
    made = Graph()
    items = [item(f"{number}", *(str(each) for each in owners[number])) for number in owners]
    for each in data.draw(st.permutations(items)):
        made.put(each)
    doomed = data.draw(st.sampled_from(sorted(number for number in owners if not owners[number])))
    alive = set(owners)
    queue = list(made.drop(f"uid-{doomed}"))
    alive.discard(doomed)
    while queue:
        uid = queue.pop()
        match made.decide(uid):
            case Delete():
                alive.discard(int(uid.removeprefix("uid-")))
                queue += made.drop(uid)
            case Unlink(gone):
                kept = owners[int(uid.removeprefix("uid-"))] - {int(each.removeprefix("uid-")) for each in gone}
                owners[int(uid.removeprefix("uid-"))] = kept
                queue += made.put(item(uid.removeprefix("uid-"), *(str(each) for each in kept)))
    expected: set[int] = set()
    for number, wanted in enumerate(parents):
        before = {each for each in wanted if each < number}
        if number != doomed and (not before or before & expected):
            expected.add(number)
    assert alive == expected
    assert all(owners[number] <= alive for number in alive)
