"""Managed fields and server-side apply: who owns what, what conflicts, what goes away."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.patch.fieldset import FieldSet
from wherry.apiserver.patch.managed import KUBECTL, LAST_APPLIED, Operation, apply, track_scale, track_update
from wherry.apiserver.patch.managers import with_managed_fields
from wherry.apiserver.patch.structured import Place, field_set, merge
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.custom import CustomSchema
from wherry.apiserver.schema.decode import DecodeError, decode_value

NOW = "2026-11-22T11:37:31Z"
Object = dict[str, Any]


def operation(manager: str, kind: str = "ConfigMap", group: str = "", subresource: str = "") -> Operation:
    schema = schema_for(group, "v1", kind)
    assert schema is not None
    api_version = f"{group}/v1" if group else "v1"
    return Operation(
        schema=schema, api_version=api_version, kind=kind, manager=manager, now=NOW, subresource=subresource
    )


def config_map(**data: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data}


def deployment(spec: Object) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def pod_template(*containers: Object) -> Object:
    labels = {"app": "web"}
    return {"template": {"metadata": {"labels": labels}, "spec": {"containers": list(containers)}}}


def applied(live: Object | None, config: Object, op: Operation, *, force: bool = False) -> Object:
    before = copy.deepcopy((live, config))
    found = decode_value(apply(live, config, op, force=force), op.schema).obj
    assert (live, config) == before
    return found


def owners(obj: Object) -> dict[tuple[str, str, str], Any]:
    entries = obj["metadata"].get("managedFields", [])
    return {(e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"] for e in entries}


def conflict(live: Object, config: Object, op: Operation) -> Object:
    with pytest.raises(Refusal) as caught:
        apply(live, config, op)
    status: Object = caught.value.status
    assert status["code"] == 409
    return status


def updated(live: Object | None, new: Object, op: Operation) -> Object:
    return with_managed_fields(new, track_update(live, new, op))


def test_apply_owns_what_it_says_and_removes_what_it_no_longer_says() -> None:
    first = applied(None, config_map(a="1", b="2"), operation("alpha"))
    assert first["data"] == {"a": "1", "b": "2"}
    assert owners(first) == {("alpha", "Apply", ""): {"f:data": {"f:a": {}, "f:b": {}}}}
    second = applied(first, config_map(a="1"), operation("alpha"))
    assert second["data"] == {"a": "1"}
    assert owners(second) == {("alpha", "Apply", ""): {"f:data": {"f:a": {}}}}


def test_applying_the_same_again_changes_nothing() -> None:
    first = applied(None, config_map(a="1"), operation("alpha"))
    assert applied(first, config_map(a="1"), operation("alpha")) == first


def test_managers_may_share_a_value_but_not_disagree() -> None:
    live = applied(None, config_map(a="1"), operation("alpha"))
    live = applied(live, config_map(a="1", c="3"), operation("beta"))
    assert set(owners(live)) == {("alpha", "Apply", ""), ("beta", "Apply", "")}
    status = conflict(live, config_map(a="2", c="3"), operation("beta"))
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "alpha": .data.a'
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "alpha"', "field": ".data.a"}
    assert status["details"]["causes"] == [cause]


def test_force_takes_a_field_over() -> None:
    live = applied(None, config_map(a="1", b="2"), operation("alpha"))
    live = applied(live, config_map(a="9"), operation("beta"), force=True)
    assert live["data"] == {"a": "9", "b": "2"}
    assert owners(live) == {
        ("alpha", "Apply", ""): {"f:data": {"f:b": {}}},
        ("beta", "Apply", ""): {"f:data": {"f:a": {}}},
    }


def test_several_conflicts_are_listed() -> None:
    live = applied(None, config_map(a="1", b="2"), operation("alpha"))
    status = conflict(live, config_map(a="8", b="9"), operation("beta"))
    assert status["message"] == 'Apply failed with 2 conflicts: conflicts with "alpha":\n- .data.a\n- .data.b'
    assert len(status["details"]["causes"]) == 2


def test_conflicts_with_several_managers_are_listed_by_manager() -> None:
    live = applied(None, config_map(b="2"), operation("beta"))
    live = applied(live, config_map(a="1"), operation("alpha"))
    status = conflict(live, config_map(a="8", b="9"), operation("gamma"))
    listed = 'conflicts with "alpha":\n- .data.a\nconflicts with "beta":\n- .data.b'
    assert status["message"] == f"Apply failed with 2 conflicts: {listed}"


def test_an_update_takes_what_it_changes() -> None:
    live = applied(None, config_map(a="1", b="2"), operation("alpha"))
    new = copy.deepcopy(live)
    new["data"] = {"a": "9", "b": "2", "c": "3"}
    live = updated(live, new, operation("hand"))
    assert owners(live) == {
        ("alpha", "Apply", ""): {"f:data": {"f:b": {}}},
        ("hand", "Update", ""): {"f:data": {"f:a": {}, "f:c": {}}},
    }
    status = conflict(live, config_map(a="1", b="2"), operation("alpha"))
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "hand" using v1: .data.a'


def test_a_removed_field_leaves_its_owner() -> None:
    live = updated(None, config_map(a="1", b="2"), operation("one"))
    assert owners(live) == {("one", "Update", ""): {"f:data": {".": {}, "f:a": {}, "f:b": {}}}}
    new = copy.deepcopy(live)
    del new["data"]["a"]
    assert owners(updated(live, new, operation("two"))) == {("one", "Update", ""): {"f:data": {".": {}, "f:b": {}}}}


def test_an_empty_entry_clears_the_managed_fields() -> None:
    live = updated(None, config_map(a="1"), operation("one"))
    new = copy.deepcopy(live)
    new["metadata"]["managedFields"] = [{}]
    cleared = updated(live, new, operation("two"))
    assert owners(cleared) == {}
    again = applied(cleared, config_map(q="1"), operation("alpha"))
    assert owners(again) == {
        ("alpha", "Apply", ""): {"f:data": {"f:q": {}}},
        ("before-first-apply", "Update", ""): {"f:data": {".": {}, "f:a": {}}},
    }


def test_broken_entries_are_ignored() -> None:
    live = updated(None, config_map(a="1"), operation("one"))
    new = copy.deepcopy(live)
    new["metadata"]["managedFields"] = [{"manager": "x", "operation": "Odd", "fieldsV1": {}}]
    assert owners(updated(live, new, operation("two"))) == owners(live)


def test_keyed_lists_are_merged_by_key_with_defaults() -> None:
    ports = [{"port": 53, "protocol": "UDP", "name": "u"}, {"port": 53, "name": "t"}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}
    live = applied(None, service, operation("alpha", "Service"))
    fields = owners(live)["alpha", "Apply", ""]["f:spec"]["f:ports"]
    assert set(fields) == {'k:{"port":53,"protocol":"TCP"}', 'k:{"port":53,"protocol":"UDP"}'}
    service["spec"] = {"ports": ports[:1]}
    assert applied(live, service, operation("alpha", "Service"))["spec"] == {"ports": ports[:1]}


def test_two_managers_share_a_list() -> None:
    alpha = deployment(pod_template({"name": "a", "image": "i:1", "env": [{"name": "X", "value": "1"}]}))
    beta = deployment(pod_template({"name": "b", "image": "side"}))
    live = applied(None, alpha, operation("alpha", "Deployment", "apps"))
    live = applied(live, beta, operation("beta", "Deployment", "apps"))
    containers = live["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["a", "b"]
    wrong = deployment(pod_template({"name": "a", "image": "i:2"}))
    status = conflict(live, wrong, operation("beta", "Deployment", "apps"))
    assert status["details"]["causes"][0]["field"] == '.spec.template.spec.containers[name="a"].image'
    live = applied(live, deployment({}), operation("beta", "Deployment", "apps"))
    assert [c["name"] for c in live["spec"]["template"]["spec"]["containers"]] == ["a"]


def test_status_has_entries_of_its_own() -> None:
    live = applied(None, deployment({"replicas": 1}), operation("alpha", "Deployment", "apps"))
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 7}}
    status["status"] = {"conditions": [{"type": "Custom", "status": "True"}]}
    live = applied(live, status, operation("ctl", "Deployment", "apps", "status"))
    fields = {'k:{"type":"Custom"}': {".": {}, "f:status": {}, "f:type": {}}}
    assert owners(live)["ctl", "Apply", "status"] == {"f:status": {"f:conditions": fields}}


def test_scaling_is_tracked_where_somebody_manages_the_replicas() -> None:
    live = applied(None, deployment({"replicas": 2}), operation("alpha", "Deployment", "apps"))
    entries = track_scale(live["metadata"]["managedFields"], manager="hpa", api_version="apps/v1")
    assert [(e["manager"], e.get("subresource")) for e in entries] == [("hpa", "scale")]
    live = with_managed_fields({**live, "spec": {"replicas": 6}}, entries)
    status = conflict(live, deployment({"replicas": 2}), operation("alpha", "Deployment", "apps"))
    assert '"hpa" with subresource "scale" using apps/v1: .spec.replicas' in status["message"]
    assert track_scale([], manager="hpa", api_version="apps/v1") == []


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        (
            config_map(a=5),
            500,
            "failed to create typed patch object (/one; /v1, Kind=ConfigMap): "
            ".data.a: expected string, got &value.valueUnstructured{Value:5}",
        ),
        (
            {**config_map(a="1"), "unknown": 1},
            500,
            "failed to create typed patch object (/one; /v1, Kind=ConfigMap): .unknown: field not declared in schema",
        ),
        ({**config_map(), "kind": "Secret"}, 400, "invalid object type: /v1, Kind=Secret"),
        ({"kind": "ConfigMap"}, 400, "invalid object type: /, Kind=ConfigMap"),
        ({**config_map(), "metadata": {"managedFields": [{}]}}, 400, "metadata.managedFields must be nil"),
    ],
)
def test_what_cannot_be_applied_is_refused(config: Object, code: int, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        apply(None, config, operation("alpha"))
    assert (caught.value.status["code"], caught.value.status["message"]) == (code, message)


def test_doubled_list_keys_are_refused() -> None:
    config = deployment(pod_template({"name": "a"}, {"name": "a"}))
    with pytest.raises(Refusal) as caught:
        apply(None, config, operation("alpha", "Deployment", "apps"))
    assert caught.value.status["message"].endswith('containers: duplicate entries for key [name="a"]')


def test_kubectl_moves_from_client_side_apply() -> None:
    client = config_map(a="1")
    text = json.dumps(client)
    client["metadata"]["annotations"] = {LAST_APPLIED: text}
    live = updated(None, client, operation("kubectl-apply"))
    with pytest.raises(Refusal):
        apply(live, config_map(a="2"), operation("other"))
    moved = applied(live, config_map(a="2"), operation(KUBECTL))
    assert moved["data"] == {"a": "2"}
    assert json.loads(moved["metadata"]["annotations"][LAST_APPLIED])["data"] == {"a": "2"}


def test_custom_kinds_follow_their_own_schema() -> None:
    properties = {
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    spec = {"type": "object", "properties": properties}
    schema = CustomSchema({"type": "object", "properties": {"spec": spec}})

    def op(manager: str) -> Operation:
        return Operation(
            schema=schema.typed, api_version="e.io/v1", kind="Odd", manager=manager, now=NOW, built_in=False
        )

    def odd(**spec: Any) -> Object:
        return {"apiVersion": "e.io/v1", "kind": "Odd", "metadata": {"name": "o"}, "spec": spec}

    live = apply(None, odd(tags=["a", "b"], free={"x": {"y": [1]}}), op("one"))
    assert owners(live)["one", "Apply", ""]["f:spec"] == {
        "f:free": {"f:x": {".": {}, "f:y": {}}},
        "f:tags": {'v:"a"': {}, 'v:"b"': {}},
    }
    live = apply(live, odd(tags=["c"]), op("two"))
    assert live["spec"]["tags"] == ["a", "b", "c"]
    live = apply(live, odd(tags=["b"]), op("one"))
    assert live["spec"] == {"tags": ["b", "c"]}


DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), min_size=1, max_size=4)


@given(DATA, DATA)
@settings(deadline=None)
def test_managers_that_say_different_things_do_not_depend_on_their_order(left: Object, right: Object) -> None:
    right = {f"x{key}": value for key, value in right.items()}
    one, two = operation("one"), operation("two")
    first = applied(applied(None, config_map(**left), one), config_map(**right), two)
    second = applied(applied(None, config_map(**right), two), config_map(**left), one)
    assert first["data"] == second["data"] == {**left, **right}
    assert owners(first) == owners(second)


@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), DATA, st.booleans()), max_size=6))
@settings(deadline=None)
def test_the_last_forced_word_counts_and_nothing_is_left_behind(steps: list[tuple[str, Object, bool]]) -> None:
    live: Object | None = None
    for manager, data, forced in steps:
        try:
            live = applied(live, config_map(**data), operation(manager), force=forced)
        except Refusal:
            assert not forced
            continue
        assert data.items() <= live.get("data", {}).items()
        managed = {key for fields in owners(live).values() for key in fields.get("f:data", {})}
        assert {f"f:{key}" for key in live.get("data", {})} == managed


_KEYS = st.sampled_from(["spec", "metadata", "containers", "name", "ports", "containerPort", "labels", "finalizers"])
_WILD = st.recursive(
    st.none() | st.booleans() | st.integers(0, 90) | st.sampled_from(["a", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.dictionaries(_KEYS, _WILD, max_size=3)), max_size=3))
@settings(deadline=None)
def test_any_configuration_is_applied_or_refused(steps: list[tuple[str, Object]]) -> None:
    live: Object | None = None
    for manager, config in steps:
        op = operation(manager, "Pod")
        try:
            found = apply(live, {**config, "apiVersion": "v1", "kind": "Pod"}, op, force=True)
        except Refusal:
            continue
        try:
            live = decode_value(found, op.schema).obj
        except DecodeError:  # what the structured merge lets pass and the types do not
            continue
        again = apply(live, {**config, "apiVersion": "v1", "kind": "Pod"}, op, force=True)
        assert op.form(decode_value(again, op.schema).obj)["spec"] == op.form(live)["spec"]


SETS = st.recursive(
    st.just(FieldSet()),
    lambda inner: st.builds(
        FieldSet,
        st.sets(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])),
        st.dictionaries(st.sampled_from(["f:a", "f:c", 'k:{"name":"x"}']), inner, max_size=2),
    ),
    max_leaves=6,
)


@given(SETS, SETS)
def test_field_sets_are_sets(left: FieldSet, right: FieldSet) -> None:
    def paths(fields: FieldSet) -> set[tuple[str, ...]]:
        return set(fields.paths())

    assert FieldSet.from_fields(left.to_fields()) == left
    assert paths(left.union(right)) == paths(left) | paths(right)
    assert paths(left.intersection(right)) == paths(left) & paths(right)
    assert paths(left.difference(right)) == paths(left) - paths(right)
    gone = paths(right)
    kept = {path for path in paths(left) if not any(path[: n + 1] in gone for n in range(len(path)))}
    assert paths(left.without_trees(right)) == kept
    assert all(left.has(path) for path in paths(left))


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdef"), unique=True))
def test_merged_lists_hold_both_in_the_order_of_the_applied_one(live: list[str], config: list[str]) -> None:
    pod = schema_for("", "v1", "Pod")
    assert pod is not None
    field = pod.fields["metadata"].schema.fields["finalizers"]
    merged = merge(live, config, Place(field.schema, field))
    assert sorted(merged) == sorted({*live, *config})
    assert [item for item in merged if item in config] == config
    assert [item for item in merged if item not in config] == [item for item in live if item not in config]
    assert set(field_set(merged, Place(field.schema, field)).members) == {f'v:"{item}"' for item in merged}
