from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.apiserver.kinds.quantity import NANO, BadQuantity, canonical, parse


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("128974848", "128974848"),
        ("1e3", "1e3"),
        ("0", "0"),
        ("-1", "-1"),
        (".5", "500m"),
        ("100000", "100k"),
        ("0.0001n", "1n"),
        ("1023Ki", "1023Ki"),
    ],
)
def test_canonical_form(text, stored):
    assert canonical(text) == stored


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1Zi", "1 Gi", "--1", "1e"])
def test_what_is_no_quantity(text):
    with pytest.raises(BadQuantity):
        parse(text)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "m", "k", "Ki", "Mi", "M", "G"]))
def test_the_canonical_form_keeps_the_value_and_is_stable(number, suffix):
    text = f"{number}{suffix}"
    assert parse(canonical(text)) == parse(text)
    assert canonical(canonical(text)) == canonical(text)


def test_values_are_exact():
    assert parse("0.1") * 10 == NANO
