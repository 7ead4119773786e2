"""Custom kinds: pruning, defaults and findings of a structural schema."""

from typing import Any

import pytest

from wherry.apiserver.kinds.model import refuse_invalid
from wherry.apiserver.schema.custom import CustomSchema
from wherry.apiserver.schema.custom_checks import matches
from wherry.apiserver.schema.decode import DecodeError
from wherry.apiserver.schema.formats import fits_format

Object = dict[str, Any]

PORT = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "port": {"type": "integer", "default": 80}},
}
SPEC: Object = {
    "type": "object",
    "required": ["chart"],
    "properties": {
        "chart": {"type": "string", "minLength": 1},
        "version": {"type": "string", "pattern": "^v?[0-9.]+$"},
        "repo": {"type": "string", "default": "https://charts.example.com"},
        "target": {"type": "string", "maxLength": 5},
        "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
        "mode": {"type": "string", "enum": ["install", "upgrade"]},
        "timeout": {"type": "string", "nullable": True},
        "ratio": {"type": "number", "exclusiveMinimum": True, "minimum": 0},
        "set": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}},
        "values": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": PORT,
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 3},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True},
        "when": {"type": "string", "format": "date-time"},
        "choice": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
    },
}
STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
ROOT = {"type": "object", "required": ["spec"], "properties": {"spec": SPEC, "status": STATUS}}
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def chart(**spec: Any) -> Object:
    return {"apiVersion": "e.io/v1", "kind": "Chart", "metadata": {"name": "c"}, "spec": {"chart": "app", **spec}}


def admitted(obj: Object, schema: CustomSchema) -> tuple[Object, list[str]]:
    decoded = schema.decode_value(obj)
    schema.default(decoded.obj)
    return decoded.obj, decoded.warnings


def test_unknown_fields_go_and_defaults_come() -> None:
    obj, warnings = admitted(
        chart(unknown={"x": 1}, ports=[{"name": "web", "odd": 1}], values={"free": {"form": [1]}}), CustomSchema(ROOT)
    )
    assert obj["spec"] == {
        "chart": "app",
        "ports": [{"name": "web", "port": 80}],
        "values": {"free": {"form": [1]}},
        "repo": "https://charts.example.com",
        "replicas": 1,
    }
    assert warnings == ['unknown field "spec.unknown"', 'unknown field "spec.ports[0].odd"']


def test_nulls_go_where_null_is_not_allowed_and_bring_the_default() -> None:
    obj, warnings = admitted(chart(mode=None, timeout=None, replicas=None, values={"x": None}), CustomSchema(ROOT))
    assert obj["spec"] == {
        "chart": "app",
        "timeout": None,
        "values": {"x": None},
        "repo": "https://charts.example.com",
        "replicas": 1,
    }
    assert warnings == []


def test_metadata_is_that_of_every_kind() -> None:
    obj = chart()
    obj["metadata"] = {"name": "c", "labels": {}, "nope": 1, "creationTimestamp": None}
    decoded = CustomSchema(ROOT).decode_value(obj, "Strict")
    assert decoded.obj["metadata"] == {"name": "c"}
    assert decoded.errors == ['unknown field "metadata.nope"']
    obj["metadata"] = {"labels": {"a": 1}}
    with pytest.raises(DecodeError, match=r"ObjectMeta\.metadata\.labels of type string"):
        CustomSchema(ROOT).decode_value(obj)


def test_embedded_resources_keep_their_type() -> None:
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}}
    obj, warnings = admitted(chart(template=template), CustomSchema(ROOT))
    assert obj["spec"]["template"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    assert warnings == ['unknown field "spec.template.spec"']


def test_without_a_schema_everything_stays() -> None:
    obj = chart(anything={"a": [None, 1.5]})
    assert CustomSchema(None).decode_value(obj, "Strict").errors == []
    assert CustomSchema(None).validate(obj) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"chart": ""}, 'spec.chart: Invalid value: "": spec.chart in body should be at least 1 chars long'),
        (
            {"version": "latest!"},
            "spec.version: Invalid value: \"latest!\": spec.version in body should match '^v?[0-9.]+$'",
        ),
        ({"mode": "odd"}, 'spec.mode: Unsupported value: "odd": supported values: "install", "upgrade"'),
        (
            {"replicas": 11},
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        ({"ratio": 0}, "spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0"),
        (
            {"replicas": "3"},
            '[spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string", '
            ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: 3 is of the type string, expected int64]",
        ),
        (
            {"replicas": -1},
            "[spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0, "
            ".spec.replicas: Invalid value: -1: should be a non-negative integer]",
        ),
        ({"repo": 5}, 'spec.repo: Invalid value: "integer": spec.repo in body must be of type string: "integer"'),
        ({"target": "abcdef"}, "spec.target: Too long: may not be more than 5 bytes"),
        ({"ports": [{"name": "a"}, {"name": "a"}]}, 'spec.ports[1]: Duplicate value: {"name":"a"}'),
        ({"ports": [{"port": 1}]}, "spec.ports[0].name: Required value"),
        ({"tags": ["a", "a"]}, 'spec.tags[1]: Duplicate value: "a"'),
        ({"tags": ["a", "b", "c", "d"]}, "spec.tags: Too many: 4: must have at most 3 items"),
        (
            {"set": {"a": 1.5}},
            'spec.set.a: Invalid value: "number": spec.set.a in body must be of type integer,string: "number"',
        ),
        (
            {"when": "noon"},
            'spec.when: Invalid value: "noon": spec.when in body must be of type date-time: "noon"',
        ),
        (
            {"choice": {"a": "1", "b": "2"}},
            '<nil>: Invalid value: "": "spec.choice" must validate one and only one schema (oneOf). '
            "Found 2 valid alternatives",
        ),
    ],
)
def test_findings(spec: Object, message: str) -> None:
    errors = CustomSchema(ROOT, scale=SCALE).validate(chart(**spec))
    found = refuse_invalid("e.io", "Chart", "c", errors).status["message"]
    assert found == f'Chart.e.io "c" is invalid: {message}'


def test_a_missing_spec_is_said() -> None:
    errors = CustomSchema(ROOT).validate({"metadata": {"name": "c"}})
    assert [error.message for error in errors] == ["spec: Required value"]


def test_rules_are_said_to_be_unchecked_after_findings_that_block_them() -> None:
    rules = [{"rule": "self.chart != 'x'"}]
    schema = CustomSchema({**ROOT, "properties": {"spec": {**SPEC, "x-kubernetes-validations": rules}}})
    assert [error.field for error in schema.validate(chart(mode="odd"))] == ["spec.mode", "<nil>"]
    assert [error.field for error in schema.validate(chart(chart=""))] == ["spec.chart"]


def test_status_is_checked_alone() -> None:
    errors = CustomSchema(ROOT, scale=SCALE).validate_status({"spec": {}, "status": {"replicas": "three"}})
    assert [error.message for error in errors] == [
        'status.replicas: Invalid value: "string": replicas in body must be of type integer: "string"',
        ".status.replicas: Invalid value: 0: .status.replicas accessor error: "
        "three is of the type string, expected int64",
    ]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ipv4", "192.0.2.1", "192.0.2.256"),
        ("ipv6", "2001:db8::1", "192.0.2.1"),
        ("cidr", "192.0.2.0/24", "192.0.2.0"),
        ("date", "2026-11-22", "2026-13-01"),
        ("date-time", "2026-11-22T11:37:31Z", "2026-11-22"),
        ("uuid", "77777777-7777-7777-7777-777777777777", "7777"),
        ("byte", "YQ==", "Y"),
        ("uri", "https://e.io/x", "e.io"),
        ("email", "a@e.io", "a"),
        ("hostname", "a.e.io", "-a"),
        ("mac", "00:11:22:33:44:55", "00:11"),
        ("duration", "1h 30m", "soon"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    assert fits_format(name, good)
    assert not fits_format(name, bad)


def test_patterns_are_go_patterns() -> None:
    assert not matches("^a$", "a\n")
    assert matches("^[[:alnum:]]+$", "a1")
    assert not matches(r"^\d$", "٣")
