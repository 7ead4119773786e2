from __future__ import annotations

import pytest

from wherry.apiserver.kinds import meta, names
from wherry.apiserver.kinds.model import (
    duplicate,
    forbidden,
    invalid,
    refuse_invalid,
    refuse_not_found,
    required,
    too_long,
    unsupported,
)


@pytest.mark.parametrize(
    ("check", "value", "good"),
    [
        (names.dns_label, "a-1", True),
        (names.dns_label, "7up", True),
        (names.dns_label, "a.b", False),
        (names.dns_label, "-a", False),
        (names.dns_label, "a" * 63, True),
        (names.dns_label, "a" * 64, False),
        (names.dns_subdomain, "a.b-c.d", True),
        (names.dns_subdomain, "a..b", False),
        (names.dns_subdomain, "A", False),
        (names.dns_subdomain, "a" * 254, False),
        (names.dns_1035_label, "7up", False),
        (names.wildcard_subdomain, "*.example.com", True),
        (names.wildcard_subdomain, "*.*.example.com", False),
        (names.qualified_name, "example.com/Name_1.x", True),
        (names.qualified_name, "a/b/c", False),
        (names.qualified_name, "/x", False),
        (names.qualified_name, "", False),
        (names.label_value, "", True),
        (names.label_value, "a b", False),
        (names.label_value, "a" * 64, False),
        (names.config_key, "..x", False),
        (names.config_key, ".dockerconfigjson", True),
        (names.env_name, "MY.var-1", True),
        (names.env_name, "a=b", False),
        (names.port_name, "http", True),
        (names.port_name, "80", False),
        (names.port_name, "a--b", False),
        (names.port_name, "averyveryverylongname", False),
        (names.percent, "25%", True),
        (names.percent, "x%", False),
        (names.path_segment, "with:colon", True),
        (names.path_segment, "a/b", False),
        (names.path_segment, "..", False),
    ],
)
def test_syntax(check, value, good):
    assert (check(value) == []) is good


def test_a_prefix_may_end_in_a_dash():
    assert names.name_is_subdomain("web-", True) == []
    assert names.name_is_subdomain("web-", False) != []


def test_a_dotted_label_is_told_apart_from_a_malformed_one():
    assert names.dns_label("a.b") == ["must not contain dots"]
    assert "RFC 1123 label" in names.dns_label("a_b")[0]


def _metadata(**fields):
    return {"name": "x", "namespace": "default", **fields}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"namespace": "default"}, "metadata.name: Required value: name or generateName is required"),
        (_metadata(labels={"a b": "c"}), 'metadata.labels: Invalid value: "a b": name part must consist of'),
        (_metadata(annotations={"big": "x" * 262200}), "metadata.annotations: Too long: may not be more than 262144"),
        (_metadata(finalizers=["plain"]), 'metadata.finalizers[0]: Invalid value: "plain": name is neither a standard'),
        (
            _metadata(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p"}]),
            'metadata.ownerReferences.uid: Invalid value: "": must not be empty',
        ),
        ({"name": "x"}, "metadata.namespace: Required value"),
    ],
)
def test_metadata_findings(metadata, expected):
    errors = meta.object_errors(metadata, namespaced=True, name_errors=names.name_is_subdomain)
    assert len(errors) == 1
    assert errors[0].message.startswith(expected)


def test_two_controllers_are_one_too_many():
    owners = [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": True} for name in ("p", "q")]
    errors = meta.object_errors(_metadata(ownerReferences=owners), namespaced=True, name_errors=names.name_is_subdomain)
    assert [error.field for error in errors] == ["metadata.ownerReferences"]
    assert "Pod/p and Pod/q" in errors[0].detail


def test_an_update_inherits_what_it_leaves_out():
    old = {"uid": "u", "creationTimestamp": "t", "generation": 4, "deletionTimestamp": "d"}
    new = {"generation": 9, "creationTimestamp": "other"}
    meta.inherit(new, old)
    assert new == old


def test_no_new_finalizers_while_being_deleted():
    old = {"name": "x", "deletionTimestamp": "d", "finalizers": ["example.com/a"], "resourceVersion": "1"}
    new = {**old, "finalizers": ["example.com/a", "example.com/b"]}
    errors = meta.update_errors(new, old)
    assert [error.message for error in errors] == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"example.com/b"}'
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (invalid("a.b", "x", "is odd"), 'a.b: Invalid value: "x": is odd'),
        (invalid("a", 3, "is odd"), "a: Invalid value: 3: is odd"),
        (invalid("a", None, "is odd"), "a: Invalid value: null: is odd"),
        (invalid("a", {"k": [True]}, "is odd"), 'a: Invalid value: {"k":[true]}: is odd'),
        (required("a"), "a: Required value"),
        (required("a", "why"), "a: Required value: why"),
        (forbidden("a", "why"), "a: Forbidden: why"),
        (duplicate("a", "x"), 'a: Duplicate value: "x"'),
        (unsupported("a", "x", ("b", "c")), 'a: Unsupported value: "x": supported values: "b", "c"'),
        (too_long("a", 5), "a: Too long: may not be more than 5 bytes"),
    ],
)
def test_findings_read_as_kubernetes_words_them(error, text):
    assert error.message == text


def test_equal_findings_are_told_once_and_listed_each_time():
    error = required("spec.x")
    status = refuse_invalid("apps", "Deployment", "web", [error, error]).status
    assert status["message"] == 'Deployment.apps "web" is invalid: spec.x: Required value'
    assert len(status["details"]["causes"]) == 2
    assert (status["code"], status["reason"]) == (422, "Invalid")


def test_not_found_names_the_resource_with_its_group():
    assert refuse_not_found("apps", "deployments", "x").status["message"] == 'deployments.apps "x" not found'
