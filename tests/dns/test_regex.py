"""Regular expressions of a Corefile."""

import pytest

from wherry.dns.regex import Pattern


@pytest.mark.parametrize(
    ("expression", "text", "groups"),
    [
        (r"^(?P<a>[0-9]+)-(?<b>x)?", "12-", ("12-", "12", "")),
        (r"[.]example[.]$", "a.example.", (".example.",)),
        (r"(a|ab)(c|bcd)", "abcd", ("abcd", "a", "bcd")),
        (r"\pL+\z", "1abc", ("abc",)),
        (r"\Q(?<a>\E[(?<b>]", "(?<a>(", ("(?<a>(",)),
        (r"[](?<x>]", "]", ("]",)),
        (r"\(?<a>", "<a>", ("<a>",)),
        ("x", "abc", None),
    ],
)
def test_matches(expression, text, groups) -> None:
    pattern = Pattern(expression)
    assert pattern.find(text) == groups
    assert pattern.matches(text) == (groups is not None)


def test_names_of_groups() -> None:
    pattern = Pattern(r"(x)(?P<a>y)(?<b>z)")
    assert (pattern.groups, pattern.names) == (3, {"a": 2, "b": 3})


@pytest.mark.parametrize(
    "expression", ["(", "a**", r"(a)\1", "(?=a)", "(?!a)", "(?<=a)", "x{1001}", "[b-a]", "a" * 10_001]
)
def test_what_is_no_expression(expression) -> None:
    with pytest.raises(ValueError, match="regex pattern"):
        Pattern(expression)


def test_hostile_text_takes_linear_time() -> None:
    assert not Pattern(r"^(a+)+$").matches("a" * 100_000 + "b")
    assert not Pattern(r"^(.*a){12}$").matches("a" * 5_000 + "b")
