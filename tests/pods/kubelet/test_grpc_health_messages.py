"""The bytes of gRPC's health messages, against those another implementation makes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.pods import grpchealth


@given(st.text())
def test_a_request_comes_back(service: str) -> None:
    assert grpchealth.decode_request(grpchealth.encode_request(service)) == service


@given(st.integers(0, 2**31 - 1))
def test_a_response_comes_back(status: int) -> None:
    assert grpchealth.decode_response(grpchealth.encode_response(status)) == status


def test_the_bytes_are_those_of_protocol_buffers() -> None:
    assert grpchealth.encode_request("db") == b"\x00\x00\x00\x00\x04\x0a\x02db"
    assert grpchealth.encode_request("") == b"\x00\x00\x00\x00\x00"
    assert grpchealth.encode_response(grpchealth.SERVING) == b"\x00\x00\x00\x00\x02\x08\x01"


def test_unknown_fields_are_passed_over() -> None:
    body = b"\x12\x01x" + b"\x1d\x00\x00\x00\x00" + b"\x08\x02" + b"\x20\x07"
    assert grpchealth.decode_response(b"\x00" + len(body).to_bytes(4, "big") + body) == 2


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x00", b"\x01\x00\x00\x00\x02\x08\x01", b"\x00\x00\x00\x00\x05\x08\x01", b"\x00\x00\x00\x00\x01\x08"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(grpchealth.MessageError):
        grpchealth.decode_response(data)


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        grpchealth.decode_response(data)
        grpchealth.decode_request(data)
    except grpchealth.MessageError:
        pass
