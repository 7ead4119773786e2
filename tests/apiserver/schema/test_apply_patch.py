"""PATCH bodies of every media type: the answers to good, refused and hostile ones."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply_patch
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.decode import Validation, decode_value

CONFIG_MAP = schema_for("", "v1", "ConfigMap")
POD = schema_for("", "v1", "Pod")
ORIGINAL = {
    "kind": "ConfigMap",
    "apiVersion": "v1",
    "metadata": {"name": "one", "annotations": {"k": "x"}},
    "data": {"a": "1"},
}
WEB = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "web", "labels": {"app": "web"}, "finalizers": ["e.io/f"]},
    "spec": {
        "containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80}], "args": ["x"]}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    },
}


def refused(media_type: str, body: bytes, validation: Validation = "Warn") -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        apply_patch(media_type, ORIGINAL, body, CONFIG_MAP, validation=validation)
    return caught.value.status["code"], caught.value.status["message"]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON_PATCH, [{"op": "add", "path": "/data/b", "value": "2"}]),
        (MERGE_PATCH, {"data": {"b": "2"}}),
        (STRATEGIC_MERGE_PATCH, {"data": {"b": "2"}}),
        (MERGE_PATCH + "; charset=utf-8", {"data": {"b": "2"}}),
    ],
)
def test_patches(media_type: str, body: Any) -> None:
    before = copy.deepcopy(ORIGINAL)
    patched = apply_patch(media_type, ORIGINAL, json.dumps(body).encode(), CONFIG_MAP)
    assert patched.obj == {**ORIGINAL, "data": {"a": "1", "b": "2"}}
    assert patched.warnings == []
    assert before == ORIGINAL


@pytest.mark.parametrize(
    ("media_type", "body", "answer"),
    [
        (JSON_PATCH, b"[{", (400, "error decoding patch: unexpected end of JSON input")),
        (
            JSON_PATCH,
            b'{"op": "add"}',
            (400, "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        ),
        (
            JSON_PATCH,
            b'[{"op": 1}]',
            (
                400,
                "error decoding patch: json: cannot unmarshal number into Go struct field "
                "jsonPatchOp.op of type string",
            ),
        ),
        (
            JSON_PATCH,
            b'[{"op": "remove", "path": "/data/nope"}]',
            (422, "the server rejected our request due to an error in our request"),
        ),
        (
            JSON_PATCH,
            b'[{"op": "replace", "path": "", "value": []}]',
            (422, "the server rejected our request due to an error in our request"),
        ),
        (STRATEGIC_MERGE_PATCH, b"{", (400, "unexpected end of JSON input")),
        (STRATEGIC_MERGE_PATCH, b'{"$setElementOrder": []}', (400, "invalid patch format of setElementOrder list")),
        (
            MERGE_PATCH,
            b"[]",
            (
                400,
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
        ),
        (
            "application/json",
            b"{}",
            (
                415,
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, "
                "application/apply-patch+yaml",
            ),
        ),
    ],
)
def test_broken_patches(media_type: str, body: bytes, answer: tuple[int, str]) -> None:
    assert refused(media_type, body) == answer


def test_a_result_that_is_no_object_of_the_kind_is_quoted() -> None:
    body = b'[{"op": "add", "path": "/data/n", "value": 5}]'
    quoted = (
        '{"apiVersion":"v1","data":{"a":"1","n":5},"kind":"ConfigMap",'
        '"metadata":{"name":"one","annotations":{"k":"x"}}}'
    )
    cause = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    message = f' "" is invalid: patch: Invalid value: {json.dumps(quoted)}: {cause}'
    assert refused(JSON_PATCH, body) == (422, message)


@pytest.mark.parametrize(
    ("patch", "detail"),
    [
        ({"data": {"n": 5}}, "unrecognized type: string"),
        ({"data": []}, "cannot restore map from slice"),
        ({"metadata": "x"}, "cannot restore struct from: string"),
        ({"metadata": {"finalizers": {"a": "b"}}}, "cannot restore slice from map"),
    ],
)
def test_strategic_results_are_refused_in_other_words(patch: dict[str, Any], detail: str) -> None:
    code, message = refused(STRATEGIC_MERGE_PATCH, json.dumps(patch).encode())
    assert code == 422
    assert message.endswith((f"]: {detail}", f']": {detail}'))


@pytest.mark.parametrize(
    ("media_type", "body", "findings"),
    [
        (
            JSON_PATCH,
            b'[{"op": "add", "path": "/unknown", "value": 1, "extra": 2}]',
            ['json patch unknown field "[0].extra"', 'unknown field "unknown"'],
        ),
        (MERGE_PATCH, b'{"unknown": 1}', ['unknown field "unknown"']),
        (
            STRATEGIC_MERGE_PATCH,
            b'{"unknown": 1, "data": {"a": "1", "a": "2"}}',
            ['duplicate field "data.a"', 'unknown field "unknown"'],
        ),
    ],
)
def test_unknown_fields_follow_the_validation_mode(media_type: str, body: bytes, findings: list[str]) -> None:
    assert apply_patch(media_type, ORIGINAL, body, CONFIG_MAP, validation="Warn").warnings == findings
    assert apply_patch(media_type, ORIGINAL, body, CONFIG_MAP, validation="Ignore").warnings == []
    code, message = refused(media_type, body, "Strict")
    assert code == 422
    assert message.endswith("strict decoding error: " + ", ".join(findings))


def test_custom_kinds_have_no_strategic_merge() -> None:
    with pytest.raises(Refusal) as caught:
        apply_patch(STRATEGIC_MERGE_PATCH, ORIGINAL, b"{}", None)
    assert caught.value.status["code"] == 415
    assert apply_patch(MERGE_PATCH, ORIGINAL, b'{"spec": {"x": [1.5]}}', None).obj["spec"] == {"x": [1.5]}


_NAMES = ["spec", "metadata", "containers", "volumes", "name", "ports", "containerPort", "labels", "finalizers", "args"]
_DIRECTIVES = ["$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers"]
_KEYS = st.sampled_from([*_NAMES, *_DIRECTIVES, "op", "path"])
_LEAVES = (
    st.none() | st.booleans() | st.integers(0, 90) | st.sampled_from(["a", "v", "delete", "replace", "/spec", "e.io/f"])
)
_BODIES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=15,
)


@given(st.sampled_from([JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH]), _BODIES)
@settings(max_examples=200, deadline=None)
def test_any_patch_gives_an_object_of_the_kind_or_is_refused(media_type: str, body: Any) -> None:
    assert POD is not None
    before = copy.deepcopy(WEB)
    try:
        found = apply_patch(media_type, WEB, json.dumps(body).encode(), POD).obj
    except Refusal:
        found = WEB
    assert decode_value(found, POD, "Strict").errors == []
    assert before == WEB
