"""Strategic merge patch: lists with keys, directives, order; and the laws of merging."""

import copy
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.apiserver.patch.strategic import BadFormat, StrategicError, Unprocessable, strategic_merge
from wherry.apiserver.schema.bundle import kinds, schema_for

from .strategies import objects_of

POD_SPEC = {
    "containers": [
        {
            "name": "a",
            "image": "i:1",
            "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
            "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
            "args": ["one", "two"],
        },
        {"name": "b", "image": "i:2"},
    ],
    "volumes": [{"name": "v", "emptyDir": {}}],
    "imagePullSecrets": [{"name": "p1"}],
    "tolerations": [{"key": "k"}],
}
POD = {
    "metadata": {"labels": {"app": "web", "tier": "front"}, "finalizers": ["example.com/a", "example.com/b"]},
    "spec": POD_SPEC,
}


def merge(patch: dict[str, Any], kind: str = "Pod", original: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = schema_for("", "v1", kind)
    assert schema is not None
    original = POD if original is None else original
    before = copy.deepcopy((original, patch))
    merged = strategic_merge(original, patch, schema)
    assert (original, patch) == before
    return merged


def containers(patch: Any, **directives: Any) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = merge({"spec": {"containers": patch, **directives}})["spec"]["containers"]
    return merged


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def test_an_element_is_merged_by_its_key_and_the_order_stays() -> None:
    merged = containers([{"name": "b", "image": "new"}])
    assert names(merged) == ["a", "b"]
    assert merged[1] == {"name": "b", "image": "new"}
    assert merged[0] == POD_SPEC["containers"][0]


def test_a_new_element_goes_to_the_front() -> None:
    assert names(containers([{"name": "c"}])) == ["c", "a", "b"]


def test_several_new_elements_keep_their_order_around_known_ones() -> None:
    assert names(containers([{"name": "c"}, {"name": "b"}, {"name": "d"}])) == ["c", "a", "b", "d"]


def test_nested_lists_are_merged_too() -> None:
    merged = containers([{"name": "a", "env": [{"name": "X", "value": "9"}, {"name": "Z", "value": "3"}]}])
    assert merged[0]["env"] == [{"name": "X", "value": "9"}, {"name": "Z", "value": "3"}, {"name": "Y", "value": "2"}]


def test_ports_merge_by_their_number() -> None:
    merged = containers([{"name": "a", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]}])
    ports = merged[0]["ports"]
    assert ports == [{"containerPort": 80, "name": "web", "protocol": "TCP"}, {"containerPort": 81}]


def test_lists_without_a_key_are_replaced() -> None:
    assert containers([{"name": "a", "args": ["three"]}])[0]["args"] == ["three"]
    assert merge({"spec": {"tolerations": [{"key": "z"}]}})["spec"]["tolerations"] == [{"key": "z"}]


def test_delete_directive() -> None:
    assert names(containers([{"name": "a", "$patch": "delete"}])) == ["b"]
    assert names(containers([{"name": "zzz", "$patch": "delete"}])) == ["a", "b"]
    assert merge({"metadata": {"labels": {"$patch": "delete"}}})["metadata"]["labels"] == {}


def test_replace_directive() -> None:
    assert containers([{"$patch": "replace"}, {"name": "only"}]) == [{"name": "only"}]
    labels = merge({"metadata": {"labels": {"$patch": "replace", "only": "this"}}})["metadata"]["labels"]
    assert labels == {"only": "this"}
    assert merge({"$patch": "replace", "kind": "Pod"}) == {"kind": "Pod"}


def test_a_delete_directive_for_what_is_not_there_leaves_nothing() -> None:
    assert "annotations" not in merge({"metadata": {"annotations": {"$patch": "delete"}}})["metadata"]


def test_element_order() -> None:
    order = [{"name": "b"}, {"name": "c"}, {"name": "a"}]
    merged = containers([{"name": "c", "image": "c"}], **{"$setElementOrder/containers": order})
    assert names(merged) == ["b", "c", "a"]
    alone = merge({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}})
    assert names(alone["spec"]["containers"]) == ["b", "a"]


def test_element_order_of_what_others_added() -> None:
    order = [{"name": "b"}, {"name": "x"}]
    merged = containers([{"name": "x"}], **{"$setElementOrder/containers": order})
    assert names(merged) == ["a", "b", "x"]


def test_element_order_must_match_the_patch() -> None:
    order = [{"name": "b"}, {"name": "a"}]
    with pytest.raises(StrategicError, match=r"The order in patch list"):
        containers([{"name": "a"}, {"name": "b"}], **{"$setElementOrder/containers": order})


def test_retain_keys() -> None:
    volume = {"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}
    merged = merge({"spec": {"volumes": [volume]}})
    assert merged["spec"]["volumes"] == [{"name": "v", "secret": {"secretName": "s"}}]
    with pytest.raises(BadFormat):
        merge({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "secret": {}}]}})


def test_primitive_lists_with_a_merge_strategy_are_sets() -> None:
    assert merge({"metadata": {"finalizers": ["n", "example.com/a"]}})["metadata"]["finalizers"] == [
        "n",
        "example.com/a",
        "example.com/b",
    ]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a", "zzz"]}}
    assert merge(patch)["metadata"]["finalizers"] == ["example.com/b"]


def test_null_removes() -> None:
    merged = merge({"metadata": {"labels": {"tier": None, "nope": None}}, "spec": {"volumes": None}})
    assert merged["metadata"]["labels"] == {"app": "web"}
    assert "volumes" not in merged["spec"]


def test_keys_that_are_numbers_are_compared_as_such() -> None:
    service = {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}}
    merged = merge({"spec": {"ports": [{"port": 81, "nodePort": 30000}]}}, "Service", service)
    assert merged["spec"]["ports"] == [{"port": 80, "name": "a"}, {"port": 81, "name": "b", "nodePort": 30000}]


@pytest.mark.parametrize(
    ("patch", "error", "message"),
    [
        ([{"image": "x"}], StrategicError, "map: map[image:x] does not contain declared merge key: name"),
        ([{"name": "a", "$patch": "odd"}], StrategicError, "unknown patch type: odd in map"),
        ([{"name": "a"}, "b"], StrategicError, "list element types are not identical"),
        ([["a"]], Unprocessable, "lists of lists are not supported"),
        ([{"$patch": "merge"}], StrategicError, "merging lists cannot yet be specified in the patch"),
    ],
)
def test_what_cannot_be_merged_is_refused(patch: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        containers(patch)
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["$deleteFromPrimitiveList", "$setElementOrder", "$setElementOrderX/containers"])
def test_malformed_directives_are_refused(key: str) -> None:
    with pytest.raises(BadFormat):
        merge({"spec": {key: []}})


def repeats(value: Any) -> bool:
    """Whether a list holds an element twice, or two that may have the same key."""
    if isinstance(value, dict):
        return any(map(repeats, value.values()))
    if not isinstance(value, list):
        return False
    keys = [scalars(one) if isinstance(one, dict) else {repr(one)} for one in value]
    return any(a & b for a, b in combinations(keys, 2)) or any(map(repeats, value))


def scalars(element: dict[str, Any]) -> set[str]:
    return {f"{key}={value!r}" for key, value in element.items() if not isinstance(value, dict | list)}


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_laws_for_objects_of_any_kind(data: st.DataObject) -> None:
    schema = schema_for(*data.draw(st.sampled_from(sorted(kinds()))))
    assert schema is not None
    old, patch = data.draw(objects_of(schema)), data.draw(objects_of(schema))
    before = copy.deepcopy((old, patch))
    assert strategic_merge(old, {}, schema) == old
    try:
        merged = strategic_merge(old, patch, schema)
        again = strategic_merge(merged, patch, schema)
        if repeats(patch):
            # Such a list is taken as it is where there was none, and has each element once from then on.
            merged, again = again, strategic_merge(again, patch, schema)
    except StrategicError:  # an element without its key
        merged = again = {}
    assert again == merged
    assert (old, patch) == before
