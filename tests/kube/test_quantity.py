from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kube.quantity import QuantityError, canonical, milli, parse, whole


@pytest.mark.parametrize(
    ("text", "value", "written"),
    [
        ("0", 0, "0"),
        ("100m", Fraction(1, 10), "100m"),
        ("0.1", Fraction(1, 10), "100m"),
        (".5", Fraction(1, 2), "500m"),
        ("1.", 1, "1"),
        ("+2", 2, "2"),
        ("-1.5Gi", -3 * 512 * 1024**2, "-1536Mi"),
        ("1.5Gi", 3 * 512 * 1024**2, "1536Mi"),
        ("1024Ki", 1024**2, "1Mi"),
        ("1000Ki", 1024000, "1000Ki"),
        ("0.5Ki", 512, "512"),
        ("0.1Ki", Fraction(1024, 10), "102400m"),
        ("1000", 1000, "1k"),
        ("1500", 1500, "1500"),
        ("2e3", 2000, "2e3"),
        ("15e2", 1500, "1500"),
        ("1E-3", Fraction(1, 1000), "1e-3"),
        ("1E", 10**18, "1E"),
        ("1Ei", 1024**6, "1Ei"),
        ("5u", Fraction(5, 10**6), "5u"),
        ("1n", Fraction(1, 10**9), "1n"),
        ("0.1n", Fraction(1, 10**10), "1n"),
        (2, 2, "2"),
        (0.5, Fraction(1, 2), "500m"),
    ],
)
def test_values(text, value, written):
    assert parse(text) == value
    assert canonical(text) == written


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1K", "1mi", "Gi", ".", "--1", "1e", "1e3Gi", "1_000", "1e99999999", "9" * 65, "٣", "1Gi\n"],
)
def test_what_is_no_quantity(text):
    with pytest.raises(QuantityError):
        parse(text)


def test_rounding():
    assert (milli("100m"), milli("1"), milli("0.1m"), milli("-0.1m")) == (100, 1000, 1, -1)
    assert (whole("1500m"), whole("-1500m"), whole("1Ki"), whole("1")) == (2, -2, 1024, 1)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["n", "u", "m", "", "k", "Ki", "M", "Mi", "e3"]))
def test_canonical_text_keeps_the_value_and_is_stable(number, suffix):
    written = canonical(f"{number}{suffix}")
    assert parse(written) == parse(f"{number}{suffix}")
    assert canonical(written) == written
