import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.pods import grpchealth
from wherry.pods.grpchealth import MessageError


@given(st.text(max_size=300))
def test_a_service_comes_through(service):
    assert grpchealth.decode_request(grpchealth.encode_request(service)) == service


@pytest.mark.parametrize("status", [0, 1, 2, 3, 300])
def test_a_state_comes_through(status):
    assert grpchealth.decode_response(grpchealth.encode_response(status)) == status


def test_the_bytes_are_those_of_protobuf():
    assert grpchealth.encode_request("") == bytes(5)
    assert grpchealth.encode_request("db") == b"\0\0\0\0\4\x0a\2db"
    assert grpchealth.encode_response(grpchealth.SERVING) == b"\0\0\0\0\2\x08\1"


def test_other_fields_are_skipped():
    body = b"\x10\x05" + b"\x19" + bytes(8) + b"\x25" + bytes(4) + b"\x2a\x01x" + b"\x08\x02"
    assert grpchealth.decode_response(b"\0\0\0\0" + bytes([len(body)]) + body) == 2


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\0\5", b"\1\0\0\0\0", b"\0\0\0\0\2\x0a\5", b"\0\0\0\0\1\x88", b"\0\0\0\0\1\x0b"]
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(MessageError):
        grpchealth.decode_response(data)


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_read_and_nothing_else(data):
    for decode in (grpchealth.decode_request, grpchealth.decode_response):
        try:
            decode(data)
        except MessageError:
            continue
