"""Expressions of `view`: what they give, what is refused, and that no text does anything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.dns.expression.compile import compile_expression

ENVIRONMENT: dict[str, Callable[..., Any]] = {
    "type": lambda: "AAAA",
    "name": lambda: "www.example.org.",
    "id": lambda: 7,
    "do": lambda: False,
    "metadata": lambda label: f"<{label}>",
    "join": lambda one, other: one + other,
}
COUNTS = {"type": 0, "name": 0, "id": 0, "do": 0, "metadata": 1, "join": 2}


def value(text: str) -> Any:
    return compile_expression(text, COUNTS)(ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("nil", None),
        ("type() == 'AAAA'", True),
        ("type() in ['A', 'AAAA']", True),
        ("type() not in ['A', 'AAAA',]", False),
        ("'A' in []", False),
        ("not (type() == 'A')", True),
        ("!do() && id() == 7", True),
        ("do() or id() > 6 and id() <= 7", True),
        ("name() matches '^www[.]'", True),
        ("name() matches 'zzz'", False),
        ("name() contains 'example' and name() startsWith 'www' and name() endsWith 'org.'", True),
        ("metadata('a/b') == \"<a/b>\"", True),
        ("join('a', `b\\n`)", "ab\\n"),
        ("'\\x41\\u00e9\\n\\''", "Aé\n'"),
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("-2 ** 2", -4),
        ("2 ** 3 ** 2", 512),
        ("7 % -3", 1),
        ("-7 % 3", -1),
        ("7 / 2", 3.5),
        ("1 / 0", math.inf),
        ("0x1F + 0b11 + 0o7 + 1_000", 1041),
        (".5 + 1e1", 10.5),
        ("'a' + 'b'", "ab"),
        ("1 == 1.0", True),
        ("1 == true", False),
        ("'a' < 'b'", True),
        ("id() > 5 ? 'big' : 'small'", "big"),
        ("nil ?? nil ?? 3", 3),
        ("5 in 1..5", True),
        ("len(1..5)", 5),
        ("[1, [2, 3]][1][-1]", 3),
        ("len(split('a,b', ',')) + len('xyz')", 5),
        ("upper('a') + lower('B') + trim(' c ') + string(1) + string(true)", "Abc1true"),
        ("int('12') + int(1.9)", 13),
        ("hasPrefix('abc', 'a') and hasSuffix('abc', 'c')", True),
        ("true /* why */ and // because\n true", True),
        ("do() and 1 + 'x' == 2", False),
    ],
)
def test_values(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)


def test_long_expressions_need_no_deep_calls() -> None:
    assert value("1" + "+1" * 4000) == 4001
    assert value("false" + " or false" * 900) is False
    assert value("true" + " and true" * 900) is True
    assert value("nil" + " ?? nil" * 900) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unexpected the end at 1"),
        ("1 +", "unexpected the end at 4"),
        ("(1", "expected ')'"),
        ("[1", "expected ','"),
        ("1 2", "unexpected 2 at 3"),
        ("true ? 1", "expected ':'"),
        ("'abc", "string at 1 never ends"),
        ("`abc", "string at 1 never ends"),
        ("'\\q'", "unknown escape"),
        ("'\\xZZ'", "bad escape"),
        ("@", "unrecognized character '@' at 1"),
        ("nope()", "unknown name nope at 1; there are do, hasPrefix"),
        ("type", "type is a function"),
        ("type(1)", "type takes 0 arguments, not 1"),
        ("name() matches '('", "regex"),
        ("name() matches 1", "matches needs a string"),
        ("type().upper", "unexpected"),
        ("a.b", "unknown name a"),
        ("__import__('os')", "unknown name __import__"),
        ("in", "unexpected in at 1"),
        ("not", "unexpected the end"),
        ("(" * 200 + "1" + ")" * 200, "nested more than"),
        ("!" * 200 + "true", "nested more than"),
        ("-" * 200 + "1", "nested more than"),
        ("1" * 10_001, "expression too long"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        compile_expression(text, COUNTS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "1 + 'a'", "'a' in 'abc'", "true and 1", "not 1", "true + true", "-'a'", "1 < 'a'", "[1][1]", "1[0]", "len(1)",
        "int('x')", "int(1 / 0)", "1 % 0", "1.5 % 2", "name() contains 1", "0..2000000", "9223372036854775807 + 1",
        "name() matches (name() + '(')", "lower(1)", "nil ? 1 : 2", "(0 - 8) ** 0.5",
    ],
)  # fmt: skip
def test_values_that_do_not_fit(text: str) -> None:
    node = compile_expression(text, COUNTS)
    with pytest.raises((TypeError, ValueError)):
        node(ENVIRONMENT)


_WORDS = [
    "1",
    "'a'",
    "(",
    ")",
    "[",
    "]",
    ",",
    "not",
    "in",
    "and",
    "or",
    "matches",
    "==",
    "..",
    "+",
    "**",
    "?",
    ":",
    "-",
    "true",
]


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*_WORDS, "type()", "len(", "nil", "0.5"]), max_size=15).map(" ".join)
)
def test_any_text_gives_a_value_or_is_refused(text: str) -> None:
    try:
        node = compile_expression(text, COUNTS)
    except ValueError:
        return
    try:
        node(ENVIRONMENT)
    except (TypeError, ValueError):
        return
