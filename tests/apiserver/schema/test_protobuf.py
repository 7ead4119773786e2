"""Protobuf bodies: every kind, the envelope, and whatever bytes a client may send."""

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.apiserver import protobuf
from wherry.apiserver.schema.bundle import kinds, schema_for
from wherry.apiserver.schema.decode import decode_value

from .strategies import encode_message, envelope, objects_of

KINDS = sorted(kinds())


def body(text: str) -> bytes:
    return base64.b64decode(text)


@pytest.mark.parametrize(
    ("text", "api_version", "kind", "obj"),
    [
        pytest.param(
            "azhzAAoJCgJ2MRIDUG9kEhsKAwoBcBIUEg8KAW0SCmltYWdlL2E6djGoAQA=",
            "v1",
            "Pod",
            {
                "metadata": {"name": "p"},
                "spec": {"containers": [{"name": "m", "image": "image/a:v1"}], "automountServiceAccountToken": False},
            },
            id="a pointer to false is kept",
        ),
        pytest.param(
            "azhzAAoTCgJ2MRINRGVsZXRlT3B0aW9ucxICCAA=",
            "v1",
            "DeleteOptions",
            {"gracePeriodSeconds": 0},
            id="a grace period of zero",
        ),
        pytest.param(
            "azhzAAofChZjb29yZGluYXRpb24uazhzLmlvL3YxEgVMZWFzZRIeCgYKBGxvY2sSFAoBYRAPIgsIgIHIrAYQgJTvOigA",
            "coordination.k8s.io/v1",
            "Lease",
            {
                "metadata": {"name": "lock"},
                "spec": {
                    "holderIdentity": "a",
                    "leaseDurationSeconds": 15,
                    "renewTime": "2024-01-01T00:00:00.123456Z",
                    "leaseTransitions": 0,
                },
            },
            id="a micro time",
        ),
    ],
)
def test_known_bodies(text: str, api_version: str, kind: str, obj: dict[str, Any]) -> None:
    assert protobuf.decode(body(text)) == (api_version, kind, {"kind": kind, "apiVersion": api_version, **obj})


def test_inlined_structs_and_wrapped_lists() -> None:
    pod = schema_for("", "v1", "Pod")
    review = schema_for("authentication.k8s.io", "v1", "TokenReview")
    assert pod is not None
    assert review is not None
    spec = {
        "volumes": [{"name": "v", "secret": {"secretName": "s", "optional": False}}],
        "containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 3}}],
    }
    assert protobuf.decode_message(encode_message({"spec": spec}, pod), pod) == {"spec": spec}
    status = {"user": {"extra": {"scopes": ["a", "b"]}}}
    assert protobuf.decode_message(encode_message({"status": status}, review), review) == {"status": status}


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_object_comes_back(data: st.DataObject) -> None:
    group, version, kind = data.draw(st.sampled_from(KINDS))
    schema = schema_for(group, version, kind)
    assert schema is not None
    obj = data.draw(objects_of(schema))
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    api_version = f"{group}/{version}" if group else version
    found = protobuf.decode(envelope(api_version, kind, encode_message(obj, schema)))
    assert found == (api_version, kind, {"kind": kind, "apiVersion": api_version, **obj})
    assert decode_value(found[2], schema, "Strict").errors == []


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_broken_messages_raise_only_protobuf_errors(data: st.DataObject) -> None:
    group, version, kind = data.draw(st.sampled_from(KINDS))
    schema = schema_for(group, version, kind)
    assert schema is not None
    raw = bytearray(encode_message(data.draw(objects_of(schema)), schema))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        found = protobuf.decode_message(bytes(raw), schema)
    except protobuf.ProtobufError:
        found = {}
    assert found.keys() <= schema.fields.keys()


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_protobuf_errors(raw: bytes) -> None:
    for text in (raw, protobuf.MAGIC + raw):
        with pytest.raises(protobuf.ProtobufError):
            protobuf.decode(text)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{}", "expected prefix [107 56 115 0]"),
        (b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x03\xff\xff\xff", "unexpected EOF"),
        (b"k8s\x00\x0a\x05", "unexpected EOF"),
        (b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Odd", 'no kind "Odd" is registered for version "v1"'),
        (b"k8s\x00\x0f", "illegal wireType 7"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, message: str) -> None:
    with pytest.raises(protobuf.ProtobufError) as caught:
        protobuf.decode(raw)
    assert message in str(caught.value)


def test_endless_nesting_is_refused() -> None:
    schema = schema_for("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    assert schema is not None
    props = schema.fields["spec"].schema.fields["versions"].schema.items.fields["schema"].schema
    inner = props.fields["openAPIV3Schema"].schema
    value: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        value = {"not": value}
    with pytest.raises(protobuf.ProtobufError, match="nested too deeply"):
        protobuf.decode_message(encode_message(value, inner), inner)
