"""Rules in CEL: the language, and what an object is told by the rules of its schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.apiserver.schema.cel import CelError, Unsupported, compile_rule
from wherry.apiserver.schema.custom import CustomSchema

Object = dict[str, Any]


@pytest.mark.parametrize(
    ("rule", "self", "value"),
    [
        ("self.min <= self.max", {"min": 3, "max": 1}, False),
        ("!has(self.mode) || self.mode != 'up' || has(self.version)", {"mode": "up"}, False),
        ("!has(self.mode) || self.mode != 'up' || has(self.version)", {}, True),
        ("has(self.a.b)", {"a": {}}, False),
        ("self.all(x, x.startsWith('a')) && size(self) < 3", ["ab", "ac"], True),
        ("self.exists(i, i == 2) ? 'y' : 'n'", [1, 2], "y"),
        ("self.exists_one(i, i == 2)", [2, 2], False),
        ("self.filter(i, i > 1)", [1, 2, 3], [2, 3]),
        ("self.map(x, x > 1, x * 2).sum() == 10", [1, 2, 3], True),
        ("self.all(key, self[key] > 0)", {"a": 1, "b": 2}, True),
        ("'a' in self && !('b' in self)", {"a": 1}, True),
        ("'x' in ['x', 'y']", None, True),
        ("self.matches('^[a-z]+$')", "abc\n", False),
        ("-7 / 2 == -3 && -7 % 2 == -1", None, True),
        ("1.5 + 1.5 == 3.0 && 1 < 1.5", None, True),
        ("[1, 2] + [3] == [1, 2, 3]", None, True),
        ("{'a': 1}['a'] == 1", None, True),
        (r"r'\d' == '\\d' && '\x41\u0042\103' == 'ABC'", None, True),
        ("self.a__dash__b == 1 && self.__namespace__ == 2", {"a-b": 1, "namespace": 2}, True),
        ("size('') == 0 ? true : 1 / 0 == 1", None, True),
        ("1 / 0 == 1 || true", None, True),
        ("true || 1 / 0 == 1", None, True),
        ("[0, 1].exists(x, 1 / x == 1)", None, True),
        ("string(1) + string(true) + string(2.0)", None, "1true2"),
        ("int('4') + int(1.9)", None, 5),
        ("'a,b'.split(',').join('-')", None, "a-b"),
        ("'Hello'.lowerAscii().substring(1, 3)", None, "el"),
        ("self.isSorted() && self.max() == 3 && self.indexOf(2) == 1", [1, 2, 3], True),
        ("!!true && --1 == 1", None, True),
        ("2 + 3 * 4 == 14 && (2 + 3) * 4 == 20", None, True),
        ("null == self", None, True),
        ("true == 1", None, False),
        ("// a comment\nself == 1", 1, True),
    ],
)
def test_expressions(rule: str, self: Any, value: Any) -> None:
    found = compile_rule(rule)({"self": self})
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "rule",
    ["self.x == 1", "self + 'a'", "1 / 0", "1 < 'a'", "size(1)", "!1", "[1][3]", "nope", "1 && true", "int('x')"],
)
def test_errors(rule: str) -> None:
    with pytest.raises(CelError):
        compile_rule(rule)({"self": {}})


@pytest.mark.parametrize(
    "rule",
    [
        "self.?a.orValue(1)",
        "quantity(self) > quantity('1')",
        "self.",
        "(1",
        "1 +",
        "'a",
        "has(1)",
        "type(1) == int",
        "(" * 100 + "1" + ")" * 100,
        "1" + " + 1" * 1000,
    ],
)
def test_what_is_not_known_is_refused_when_compiled(rule: str) -> None:
    with pytest.raises(Unsupported):
        compile_rule(rule)


_TOKENS = [
    "self",
    "oldSelf",
    ".a",
    "[0]",
    "(",
    ")",
    "!",
    "-",
    "1",
    "2.5",
    "'x'",
    "&&",
    "||",
    "==",
    "<",
    "in",
    "+",
    "/",
    "?",
    ":",
]


@given(
    st.lists(
        st.sampled_from([*_TOKENS, ".all(x, ", "has(", "size(", ".matches(", "[", "]", "{", "}", ","]), max_size=10
    ),
    st.sampled_from([1, "x", [1, "x"], {"a": [True]}, None]),
)
def test_any_text_has_a_value_or_is_refused(tokens: list[str], value: Any) -> None:
    try:
        found = compile_rule(" ".join(tokens))({"self": value, "oldSelf": value})
    except (Unsupported, CelError):
        found = None
    assert not callable(found)


def schema(spec: Object) -> CustomSchema:
    return CustomSchema({"type": "object", "properties": {"spec": {"type": "object", **spec}}})


def rules(*texts: str, **more: Any) -> list[Object]:
    return [{"rule": text, **more} for text in texts]


RANGE = {
    "properties": {
        "range": {
            "type": "object",
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}},
            "x-kubernetes-validations": rules("self.min <= self.max", message="min must not exceed max"),
        },
        "frozen": {
            "type": "string",
            "x-kubernetes-validations": rules("self == oldSelf", message="frozen cannot change"),
        },
    },
    "x-kubernetes-validations": rules(
        "!has(self.mode) || has(self.version)",
        message="a mode needs a version",
        reason="FieldValueRequired",
        fieldPath=".version",
    ),
}


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        (None, {"range": {"min": 1, "max": 2}, "frozen": "x"}, []),
        (None, {"range": {"min": 3, "max": 1}}, ["spec.range: Invalid value: min must not exceed max"]),
        (None, {"mode": "x"}, ["spec.version: Required value: a mode needs a version"]),
        ({"frozen": "x"}, {"frozen": "y"}, ['spec.frozen: Invalid value: "y": frozen cannot change']),
        ({"frozen": "x"}, {}, []),
        ({}, {"frozen": "y"}, []),
        ({"range": {"min": 3, "max": 1}}, {"range": {"min": 3, "max": 1}, "a": 1}, []),
    ],
)
def test_findings_of_rules(old: Object | None, new: Object, messages: list[str]) -> None:
    errors = schema(RANGE).validate({"spec": new}, {"spec": old} if old is not None else None)
    assert [error.message for error in errors] == messages


def test_messages_may_be_computed() -> None:
    spec = {"x-kubernetes-validations": rules("self.a > 1", messageExpression="'a is ' + string(self.a)")}
    errors = schema({"properties": {"a": {"type": "integer"}}, **spec}).validate({"spec": {"a": 1}})
    assert [error.message for error in errors] == ["spec: Invalid value: a is 1"]


def test_elements_of_keyed_lists_are_recognised() -> None:
    item = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "v": {"type": "integer"}},
        "x-kubernetes-validations": rules("self.v >= oldSelf.v", message="may only grow"),
    }
    marks = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    custom = schema({"properties": {"l": {"type": "array", "items": item, **marks}}})
    old = {"spec": {"l": [{"name": "a", "v": 1}, {"name": "b", "v": 5}]}}
    new = {"spec": {"l": [{"name": "c", "v": 0}, {"name": "b", "v": 4}, {"name": "a", "v": 2}]}}
    assert [error.message for error in custom.validate(new, old)] == ["spec.l[1]: Invalid value: may only grow"]


def test_rules_that_are_not_known_are_not_enforced() -> None:
    assert schema({"x-kubernetes-validations": rules("quantity(self.q).isGreaterThan(1)")}).validate({"spec": {}}) == []
