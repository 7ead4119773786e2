"""YAML is read as Go's reader reads it."""

import math

import pytest

from wherry.config.yaml import YamlError, dump, load, load_all


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("on", True), ("y", True), ("n", False), ("Off", False), ("true", True),
        ("010", 8), ("0o10", 8), ("0x1F", 31), ("0b101", 5), ("-7", -7), ("1_000", 1000), ("08", 8.0),
        ("1e3", 1000), ("1.5", 1.5), (".5", 0.5), ("-2.", -2),
        ("12:30:45", "12:30:45"), ("2026-11-01", "2026-11-01"), ("1.2.3.4", "1.2.3.4"), ("10m", "10m"),
        ("~", None), ("null", None), ("", None), ("'yes'", "yes"), ("Yesterday", "Yesterday"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: object) -> None:
    found = load(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value) or text == "08"


def test_infinity_and_not_a_number() -> None:
    assert load("a: -.inf") == {"a": -math.inf}
    assert math.isnan(load("a: .nan")["a"])


def test_keys_become_text() -> None:
    assert load("n: 1\n80: a\nnull: b\nplain: c") == {"false": 1, "80": "a", "null": "b", "plain": "c"}


def test_documents_and_anchors() -> None:
    assert list(load_all("a: &x {b: 1}\nc: {<<: *x, d: 2}\n---\n---\n- 1")) == [
        {"a": {"b": 1}, "c": {"b": 1, "d": 2}},
        None,
        [1],
    ]


def test_errors_name_the_place() -> None:
    with pytest.raises(YamlError, match="line 3, column 1"):
        load("a: 1\nb: [1")
    with pytest.raises(YamlError, match="found 2"):
        load("a: 1\n---\nb: 2")


def test_dump_reads_back() -> None:
    value = {"b": ["yes", "010", 1, True, None], "a": {"x": "12:30:45", "n": "no"}}
    assert load(dump(value)) == value
    assert list(load(dump(value))) == ["b", "a"]


def test_dump_writes_text_as_kubectl_does() -> None:
    value = {"number": "1", "colon": "x: y", "lines": "a\nb\n", "plain": "text"}
    assert dump(value) == "number: \"1\"\ncolon: 'x: y'\nlines: |\n  a\n  b\nplain: text\n"
    odd = {"a": "trailing \nx", "b": " leading\nx", "c": "\n", "d": "a\r\nb", "e": "\u2028x\ny", "f": "no end\nx"}
    assert load(dump(odd)) == odd
