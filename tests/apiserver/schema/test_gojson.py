"""JSON errors in Go's words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.apiserver.schema.gojson import JsonError, explain, go_quoted, loads


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b"[{", "unexpected end of JSON input"),
        (b'{"kind": "ConfigMap", ', "unexpected end of JSON input"),
        (b"\x00\x01", "invalid character '\\x00' looking for beginning of value"),
        (b"\x8e", "invalid character '\\u008e' looking for beginning of value"),
        (b"{bad", "invalid character 'b' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b'"\n"', "invalid character '\\n' in string literal"),
        (b'"\\q"', "invalid character 'q' in string escape code"),
        (b'"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b"nul!", "invalid character '!' in literal null (expecting 'l')"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1ex", "invalid character 'x' in exponent of numeric literal"),
        (b"01", "invalid character '1' after top-level value"),
        (b"NaN", "invalid character 'N' looking for beginning of value"),
        (b"'", "invalid character '\\'' looking for beginning of value"),
    ],
)
def test_messages(body: bytes, message: str) -> None:
    with pytest.raises(JsonError) as caught:
        loads(body)
    assert str(caught.value) == message


def test_depth_is_limited() -> None:
    with pytest.raises(JsonError, match="exceeded max depth"):
        loads(b"[" * 200_000)


@given(st.binary(max_size=30) | st.text('{}[]":,0123456789.eE+-truefalsn\\ ', max_size=12).map(str.encode))
def test_it_refuses_exactly_what_is_not_json(body: bytes) -> None:
    try:
        json.loads(body.decode("utf-8", "replace"), parse_constant=lambda name: 1 / 0)
        valid = True
    except (ValueError, ZeroDivisionError):
        valid = False
    assert (explain(body) == "") is valid


def test_quoting() -> None:
    assert go_quoted('a"\t\x7f\u2028é') == '"a\\"\\t\\x7f\\u2028é"'
