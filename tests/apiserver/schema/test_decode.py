"""Decoding bodies: what is kept, what is told, what is refused, and in which words."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.apiserver.schema.bundle import kinds, schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.schema.decode import DecodeError, JsonError, Validation, decode, decode_value
from wherry.apiserver.schema.model import Schema

from .strategies import objects_of

JSON = "application/json"
YAML = "application/yaml"


def schema(kind: str, group: str = "", version: str = "v1") -> Schema:
    found = schema_for(group, version, kind)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (
            "Service",
            {"spec": {"ports": [{"port": "80"}]}},
            "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            "Pod",
            {"spec": {"containers": {"name": "x"}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "ConfigMap",
            {"data": {"n": 5}},
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "Pod",
            {"spec": {"hostNetwork": "yes"}},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            "Pod",
            {"spec": {"restartPolicy": []}},
            "json: cannot unmarshal array into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            "Pod",
            {"metadata": {"labels": {"a": True}}},
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "Service",
            {"spec": {"ports": [{"port": 4294967296}]}},
            "json: cannot unmarshal number 4294967296 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        ("ConfigMap", {"binaryData": {"b": "not base64!"}}, "illegal base64 data at input byte 3"),
        ("ConfigMap", {"binaryData": {"b": "YQ"}}, "illegal base64 data at input byte 0"),
        ("ConfigMap", {"binaryData": {"b": "YWJjYQ="}}, "illegal base64 data at input byte 7"),
        (
            "Pod",
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "Pod",
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "1mm"}}}]}},
            "unable to parse quantity's suffix",
        ),
        (
            "Pod",
            {"metadata": {"creationTimestamp": "yesterday"}},
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        (
            "Pod",
            {"metadata": {"creationTimestamp": "2026-13-01T00:00:00Z"}},
            'parsing time "2026-13-01T00:00:00Z": month out of range',
        ),
        (
            "Service",
            {"spec": {"ports": [{"port": 1, "targetPort": {}}]}},
            "json: cannot unmarshal object into Go value of type int32",
        ),
    ],
)
def test_wrong_types_are_refused_in_the_decoders_words(kind: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(json.dumps(body).encode(), JSON, schema(kind))
    assert str(caught.value) == message


def test_a_fraction_is_no_integer_even_where_it_is_whole() -> None:
    body = b'{"spec": {"ports": [{"port": 80.0}]}}'
    with pytest.raises(DecodeError, match=r"cannot unmarshal number 80\.0 into Go struct field"):
        decode(body, JSON, schema("Service"))


def test_micro_times_need_six_digits() -> None:
    lease = schema("Lease", "coordination.k8s.io")
    good = decode(b'{"spec": {"renewTime": "2024-01-01T01:00:10.000001+01:00"}}', JSON, lease)
    assert good.obj == {"spec": {"renewTime": "2024-01-01T00:00:10.000001Z"}}
    with pytest.raises(DecodeError, match=r'cannot parse "Z" as "\.000000"'):
        decode(b'{"spec": {"renewTime": "2024-01-01T00:00:10Z"}}', JSON, lease)


@pytest.mark.parametrize(
    ("kind", "body", "kept"),
    [
        ("Pod", {"spec": {"hostNetwork": False, "nodeName": "", "volumes": []}}, {"spec": {}}),
        ("Pod", {"spec": {"automountServiceAccountToken": False, "priority": 0}}, None),
        ("Pod", {"spec": None, "metadata": {"labels": {}, "annotations": None}}, {"metadata": {}}),
        ("Pod", {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}, None),
        ("Pod", {"metadata": {"creationTimestamp": None}}, {"metadata": {}}),
        ("ConfigMap", {"data": {"a": None, "b": ""}}, {"data": {"a": "", "b": ""}}),
        ("ConfigMap", {"binaryData": {"b": "YQ==\n"}}, {"binaryData": {"b": "YQ=="}}),
        ("ConfigMap", {"immutable": False}, None),
        ("Service", {"spec": {"ports": [{"port": 0, "targetPort": 0}]}}, None),
        ("Pod", {"spec": {"containers": [None]}}, {"spec": {"containers": [{}]}}),
    ],
)
def test_what_says_nothing_is_left_out(kind: str, body: dict[str, Any], kept: dict[str, Any] | None) -> None:
    assert decode_value(body, schema(kind)).obj == (body if kept is None else kept)


def test_quantities_are_kept_in_their_canonical_form() -> None:
    limits = {"cpu": 0.5, "memory": "1024Mi", "pods": 3}
    body = {"spec": {"containers": [{"resources": {"limits": limits}}]}}
    found = decode(json.dumps(body).encode(), JSON, schema("Pod")).obj
    assert found["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi", "pods": "3"}


DUBIOUS = b'{"metadata": {"nope": true}, "DATA": {}, "data": {"a": "1", "a": "2"}, "unknown": 1}'
FINDINGS = [
    'unknown field "metadata.nope"',
    'unknown field "DATA"',
    'duplicate field "data.a"',
    'unknown field "unknown"',
]


@pytest.mark.parametrize(
    ("mode", "warnings", "errors"), [("Ignore", [], []), ("Warn", FINDINGS, []), ("Strict", [], FINDINGS)]
)
def test_unknown_and_doubled_fields(mode: Validation, warnings: list[str], errors: list[str]) -> None:
    found = decode(DUBIOUS, JSON, schema("ConfigMap"), mode)
    assert (found.obj, found.warnings, found.errors) == ({"metadata": {}, "data": {"a": "2"}}, warnings, errors)


def test_findings_name_list_positions() -> None:
    spec = {"containers": [{"name": "a"}, {"imagePullPolice": "x"}], "nodeSelektor": {}}
    body = {"spec": {"template": {"spec": spec}}}
    found = decode_value(body, schema("Deployment", "apps"), "Strict")
    assert found.strict_error == (
        'strict decoding error: unknown field "spec.template.spec.containers[1].imagePullPolice", '
        'unknown field "spec.template.spec.nodeSelektor"'
    )


def test_yaml_bodies() -> None:
    body = b"metadata: {name: yam}\ndata: {a: '1', a: '2'}\nimmutable: yes\n"
    found = decode(body, YAML, schema("ConfigMap"), "Strict")
    assert found.obj == {"metadata": {"name": "yam"}, "data": {"a": "2"}, "immutable": True}
    assert found.errors == ['yaml: unmarshal errors:\n  line 2: key "a" already set in map']


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"data: &a {x: *a}", "anchor contains itself"),
        (b"a: [", "line 1: did not find expected node content"),
        (b"a: b\n---\nc: d\n", "expected one YAML document|but found another document"),
        (b"a: 'x", "found unexpected end of stream"),
        (b"[" * 300 + b"]" * 300, "max depth"),
        (
            b"a: &a [x,x,x,x,x,x,x,x,x]\n"
            + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in b"bcdefghij"),
            "excessive aliasing",
        ),
    ],
)
def test_yaml_that_cannot_be_used_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(JsonError, match=message):
        decode(body, YAML, schema("ConfigMap"))


@pytest.mark.parametrize("body", [b"[" * 300 + b"]" * 300, b'{"a":' * 900 + b"1" + b"}" * 900])
def test_json_that_is_nested_too_deeply_is_refused(body: bytes) -> None:
    with pytest.raises(JsonError, match="exceeded max depth"):
        decode(body, JSON, schema("ConfigMap"))


def test_aliases_may_share_a_node() -> None:
    found = decode(b"metadata: {labels: &l {a: b}, annotations: *l}", YAML, schema("ConfigMap"), "Strict")
    assert found.obj == {"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}}
    assert found.errors == []


def test_json_schemas_in_definitions() -> None:
    definition = schema("CustomResourceDefinition", "apiextensions.k8s.io")
    node = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string"}, "default": [], "enum": [1, None]}},
        "additionalProperties": False,
        "default": {"x": None},
    }
    body = {"spec": {"versions": [{"schema": {"openAPIV3Schema": node}}]}}
    assert decode_value(body, definition, "Strict").obj == body


@pytest.mark.parametrize("body", [b"[]", b"3", b'"x"', b"null"])
def test_only_objects_are_objects(body: bytes) -> None:
    with pytest.raises(DecodeError, match=r"into Go value of type v1\.ConfigMap"):
        decode(body, JSON, schema("ConfigMap"))


def test_text_that_is_not_unicode_is_replaced() -> None:
    found = decode(b'{"data": {"a": "\xff", "b": "\\ud800"}}', JSON, schema("ConfigMap"))
    assert found.obj == {"data": {"a": "\ufffd", "b": "\ufffd"}}


@pytest.mark.parametrize(
    ("kind", "group", "obj", "written"),
    [
        (
            "Pod",
            "",
            {"spec": {"containers": [{"name": "a"}]}},
            '{"metadata":{},"spec":{"containers":[{"name":"a","resources":{}}]},"status":{}}',
        ),
        ("ConfigMap", "", {"metadata": {}, "kind": "ConfigMap"}, '{"kind":"ConfigMap","metadata":{}}'),
        ("Role", "rbac.authorization.k8s.io", {}, '{"metadata":{},"rules":null}'),
        ("Service", "", {"status": {}}, '{"metadata":{},"spec":{},"status":{"loadBalancer":{}}}'),
    ],
)
def test_canonical_form(kind: str, group: str, obj: dict[str, Any], written: str) -> None:
    assert json.dumps(canonical(obj, schema(kind, group)), separators=(",", ":")) == written


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_stored_objects_decode_to_themselves(data: st.DataObject) -> None:
    found = schema_for(*data.draw(st.sampled_from(sorted(kinds()))))
    assert found is not None
    obj = data.draw(objects_of(found))
    first = decode_value(obj, found, "Strict")
    assert first.obj == obj
    assert first.errors == []
    written = canonical(obj, found)
    again = decode(json.dumps(written).encode(), JSON, found, "Strict")
    assert again.errors == []
    assert canonical(again.obj, found) == written


_NAMES = st.sampled_from(["spec", "metadata", "containers", "name", "ports", "labels"])
_WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(_WILD)
def test_any_json_decodes_or_is_refused(value: Any) -> None:
    try:
        found = decode(json.dumps(value).encode(), JSON, schema("Pod")).obj
    except DecodeError:
        found = {}
    assert decode_value(found, schema("Pod"), "Strict").errors == []
