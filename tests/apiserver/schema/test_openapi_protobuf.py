"""The protobuf form of OpenAPI v2, read back by a decoder that knows the messages' field numbers independently.

The numbers in the expectations are those of google/gnostic's OpenAPIv2.proto.
"""

import json
import struct
from typing import Any

import pytest

from wherry.apiserver.openapi.protobuf import encode

Fields = dict[int, list[Any]]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Fields:
    """One message's raw fields by number, in order."""
    found: Fields = {}
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value: Any
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        else:
            assert tag & 7 == 2
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
            assert len(value) == size
        found.setdefault(tag >> 3, []).append(value)
    return found


def dig(data: bytes, *path: int) -> Any:
    """The only value below a path of field numbers."""
    value: Any = data
    for number in path:
        [value] = fields(value)[number]
    return value


def schema(value: dict[str, Any]) -> Fields:
    """Encode a schema as the only definition and read it back."""
    data = encode({"swagger": "2.0", "definitions": {"a.b.C": value}})
    assert dig(data, 9, 1, 1) == b"a.b.C"
    return fields(dig(data, 9, 1, 2))


def test_the_head() -> None:
    data = encode({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": {}, "definitions": {}})
    assert dig(data, 1) == b"2.0"
    assert (dig(data, 2, 1), dig(data, 2, 2)) == (b"Kubernetes", b"v1")
    assert (dig(data, 8), dig(data, 9)) == (b"", b"")


@pytest.mark.parametrize(
    ("keyword", "value", "number", "raw"),
    [
        ("$ref", "#/definitions/x", 1, b"#/definitions/x"),
        ("format", "int32", 2, b"int32"),
        ("title", "t", 3, b"t"),
        ("description", "ä€", 4, "ä€".encode()),
        ("multipleOf", 0.5, 6, 0.5),
        ("maximum", 3, 7, 3.0),
        ("exclusiveMaximum", True, 8, 1),
        ("minimum", -1.5, 9, -1.5),
        ("exclusiveMinimum", True, 10, 1),
        ("maxLength", 300, 11, 300),
        ("minLength", 1, 12, 1),
        ("pattern", "^a$", 13, b"^a$"),
        ("maxItems", 2, 14, 2),
        ("minItems", -1, 15, 2**64 - 1),
        ("uniqueItems", True, 16, 1),
        ("maxProperties", 4, 17, 4),
        ("minProperties", 5, 18, 5),
        ("discriminator", "kind", 26, b"kind"),
        ("readOnly", True, 27, 1),
    ],
)
def test_scalar_keywords(keyword: str, value: object, number: int, raw: object) -> None:
    assert schema({keyword: value}) == {number: [raw]}


@pytest.mark.parametrize("value", [{"description": ""}, {"minimum": 0}, {"minLength": 0}, {"uniqueItems": False}])
def test_zero_values_are_left_out(value: dict[str, Any]) -> None:
    assert schema(value) == {}


def test_lists_types_and_items() -> None:
    found = schema({"type": "array", "required": ["a", ""], "items": {"type": "string"}, "allOf": [{"title": "x"}, {}]})
    assert found[19] == [b"a", b""]
    assert dig(found[22][0], 1) == b"array"
    assert dig(found[23][0], 1, 22, 1) == b"string"
    assert [fields(one) for one in found[24]] == [{3: [b"x"]}, {}]


def test_properties_keep_their_order() -> None:
    found = schema({"properties": {"b": {"type": "string"}, "a": {"$ref": "#/definitions/a.b.C"}, "$ref": {}}})
    pairs = [fields(pair) for pair in fields(found[25][0])[1]]
    assert [pair[1] for pair in pairs] == [[b"b"], [b"a"], [b"$ref"]]
    assert dig(pairs[1][2][0], 1) == b"#/definitions/a.b.C"
    assert pairs[2][2] == [b""]


@pytest.mark.parametrize(("value", "raw"), [(True, {2: [1]}), (False, {2: [0]}), ({"title": "t"}, {1: [b"\x1a\x01t"]})])
def test_additional_properties(value: object, raw: Fields) -> None:
    assert fields(schema({"additionalProperties": value})[21][0]) == raw


def test_values_of_any_type_are_yaml() -> None:
    mark = [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    found = schema({"x-kubernetes-group-version-kind": mark, "default": {"a": 1}, "enum": ["x", None], "example": ""})
    assert dig(found[31][0], 1) == b"x-kubernetes-group-version-kind"
    assert json.loads(dig(found[31][0], 2, 2)) == mark
    assert json.loads(dig(found[5][0], 2)) == {"a": 1}
    assert [json.loads(dig(one, 2)) for one in found[20]] == ["x", None]
    assert dig(found[30][0], 2) == b'""'


def test_operations() -> None:
    query = {"name": "fieldValidation", "in": "query", "type": "string", "uniqueItems": True}
    path = {"name": "name", "in": "path", "required": True, "type": "string"}
    body = {"name": "body", "in": "body", "required": True, "schema": {"title": "s"}}
    operation = {
        "operationId": "patchIt",
        "consumes": ["application/merge-patch+json"],
        "parameters": [query, path, body],
        "responses": {"200": {"description": "OK", "schema": {"title": "r"}}},
        "x-kubernetes-action": "patch",
    }
    item = fields(dig(encode({"paths": {"/a/{name}": {"patch": operation, "get": {"tags": ["t"]}}}}), 8, 2, 2))
    assert {number: dig(one[0], 1) for number, one in item.items() if number == 2} == {2: b"t"}
    found = fields(item[8][0])
    assert (found[5], found[7]) == ([b"patchIt"], [b"application/merge-patch+json"])
    first, second, third = found[8]
    assert fields(dig(first, 1, 2, 3)) == {2: [b"query"], 4: [b"fieldValidation"], 6: [b"string"], 20: [1]}
    assert fields(dig(second, 1, 2, 4)) == {1: [1], 2: [b"path"], 4: [b"name"], 5: [b"string"]}
    assert fields(dig(third, 1, 1)) == {2: [b"body"], 3: [b"body"], 4: [1], 5: [b"\x1a\x01s"]}
    assert dig(found[9][0], 1, 1) == b"200"
    assert dig(found[9][0], 1, 2, 1, 1) == b"OK"
    assert dig(found[9][0], 1, 2, 1, 2, 1, 3) == b"r"
    assert (dig(found[13][0], 1), dig(found[13][0], 2, 2)) == (b"x-kubernetes-action", b'"patch"')
