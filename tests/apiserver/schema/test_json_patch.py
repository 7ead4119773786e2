"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386)."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.apiserver.patch.json_patch import PatchFailed, json_patch, same_json
from wherry.kube.patches import merge_patch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab~/", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text("ab~/", max_size=2), VALUES, max_size=4)


def op(name: str, path: str, **rest: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **({"from": rest.pop("source")} if "source" in rest else {}), **rest}


@pytest.mark.parametrize(
    ("document", "operation", "result"),
    [
        pytest.param({"foo": "bar"}, op("add", "/baz", value="qux"), {"foo": "bar", "baz": "qux"}, id="A.1"),
        pytest.param({"foo": ["a", "c"]}, op("add", "/foo/1", value="b"), {"foo": ["a", "b", "c"]}, id="A.2"),
        pytest.param({"a": 1, "b": 2}, op("remove", "/a"), {"b": 2}, id="A.3"),
        pytest.param({"foo": ["a", "b"]}, op("remove", "/foo/1"), {"foo": ["a"]}, id="A.4"),
        pytest.param({"a": 1}, op("replace", "/a", value=2), {"a": 2}, id="A.5"),
        pytest.param({"a": {"x": 1}, "b": {}}, op("move", "/b/y", source="/a/x"), {"a": {}, "b": {"y": 1}}, id="A.6"),
        pytest.param({"f": [1, 2, 3]}, op("move", "/f/2", source="/f/0"), {"f": [2, 3, 1]}, id="A.7"),
        pytest.param({"a": 1}, op("test", "/a", value=1), {"a": 1}, id="A.8"),
        pytest.param({"foo": ["bar"]}, op("add", "/foo/-", value=["x"]), {"foo": ["bar", ["x"]]}, id="A.16"),
        pytest.param({"/": 9, "~1": 10}, op("test", "/~01", value=10), {"/": 9, "~1": 10}, id="A.14"),
        pytest.param({"a": 1}, op("copy", "/b", source="/a"), {"a": 1, "b": 1}, id="copy"),
        pytest.param({"a": 1}, op("replace", "/new", value=2), {"a": 1, "new": 2}, id="replace adds"),
        pytest.param({"a": [1, 2]}, op("remove", "/a/-1"), {"a": [1]}, id="negative index"),
        pytest.param({"a": 1}, op("test", "/b", value=None), {"a": 1}, id="missing is null"),
        pytest.param({"a": 1}, op("add", "", value={"b": 2}), {"b": 2}, id="the whole document"),
        pytest.param({"": 1}, op("remove", "/"), {}, id="empty key"),
    ],
)
def test_operations(document: Any, operation: dict[str, Any], result: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patch(document, [operation]) == result
    assert document == before


@pytest.mark.parametrize(
    "operation",
    [
        op("test", "/a", value="1"),
        op("test", "/a", value=True),
        op("remove", "/absent"),
        op("add", "/absent/deep", value=1),
        op("add", "/l/4", value=1),
        op("add", "/l/01", value=1),
        op("replace", "/l/2", value=1),
        op("add", "/a/b", value=1),
        op("add", "/x"),
        op("odd", "/a"),
        op("remove", ""),
        op("move", "/l/0", source="/l"),
        op("copy", "/b", source="/absent"),
        {"op": "remove"},
        {"path": "/a"},
        op("remove", "a"),
        {},
    ],
)
def test_what_cannot_be_done_fails(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchFailed):
        json_patch({"a": 1, "l": [1, 2]}, [operation])


def test_a_failing_patch_changes_nothing() -> None:
    document = {"a": {"b": [1]}}
    with pytest.raises(PatchFailed):
        json_patch(document, [op("add", "/a/b/0", value=2), op("remove", "/nope")])
    assert document == {"a": {"b": [1]}}


@given(OBJECTS, st.text("ab~/", max_size=2), VALUES)
def test_add_then_remove_gives_the_document_back(document: dict[str, Any], key: str, value: Any) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    before = copy.deepcopy(document)
    added = json_patch(document, [op("add", path, value=value), op("test", path, value=value)])
    assert added == {**document, key: value}
    assert json_patch(added, [op("remove", path)]) == {k: v for k, v in before.items() if k != key}
    assert document == before


@given(
    OBJECTS,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
                "path": st.text("/ab01-", max_size=4),
                "from": st.text("/ab01-", max_size=4),
                "value": VALUES,
            }
        ),
        max_size=4,
    ),
)
def test_any_patch_is_carried_out_or_fails(document: dict[str, Any], operations: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(document)
    try:
        json_patch(document, operations)
    except PatchFailed:
        assert operations
    assert document == before


def test_copies_cannot_grow_without_bound() -> None:
    document = {"a": ["x" * 1000]}
    with pytest.raises(PatchFailed, match="too large"):
        json_patch(document, [op("copy", "/a/-", source="/a")] * 100)
    assert document == {"a": ["x" * 1000]}


def test_json_equality() -> None:
    assert same_json({"a": [1, None]}, {"a": [1.0, None]})
    assert not same_json([1], [True])
    assert not same_json([0], [False])


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_merge_patch_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once(target: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy(target)
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert merge_patch(target, {}) == before == target
