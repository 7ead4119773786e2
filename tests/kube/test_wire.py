import gc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kube.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    MethodNotAllowed,
    NotFound,
    ObjectDecodeError,
    ServerUnavailable,
    TooManyRequests,
    Unauthorized,
)
from wherry.kube.kinds import ENDPOINT_SLICES, PODS, SERVICES
from wherry.kube.patches import merge_diff, merge_patch
from wherry.kube.wire import LineSplitter, decode_event, decode_list, decode_object, gc_paused


@given(st.lists(st.binary(min_size=1).map(lambda b: b.replace(b"\n", b"")).filter(bytes.strip)), st.data())
def test_lines_come_out_whole_however_they_are_cut(lines, data):
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    splitter = LineSplitter()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    assert found == lines
    assert splitter.pending == b""


def test_what_is_incomplete_stays_pending():
    splitter = LineSplitter()
    assert splitter.feed(b"a\nb") == [b"a"]
    assert splitter.pending == b"b"
    assert splitter.feed(b"c\n\n  \nd\n") == [b"bc", b"d"]


def test_events():
    event = decode_event(PODS, b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}')
    assert (event.type, event.object.name) == ("ADDED", "a")
    with pytest.raises(Gone):
        decode_event(PODS, b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}')
    for broken in (b"{", b"[]", b'{"type":"ADDED","object":{"metadata":[]}}'):
        with pytest.raises(ObjectDecodeError):
            decode_event(PODS, broken)


def test_a_null_is_as_if_it_were_not_there():
    service = decode_object(SERVICES, b'{"metadata":{"name":"a","labels":null},"spec":{"clusterIP":null,"ports":null}}')
    assert (service.name, service.metadata.labels, service.spec.ports) == ("a", {}, ())
    assert decode_list(SERVICES, b'{"items":[{"spec":{"ports":null}}]}').items[0].spec.ports == ()
    for broken in (b'{"spec":{"ports":[null]}}', b'{"spec":{"ports":null,"clusterIP":1}}', b"null"):
        with pytest.raises(ObjectDecodeError):
            decode_object(SERVICES, broken)


def test_nulls_that_go_sends_for_empty_lists():
    slice_ = decode_object(ENDPOINT_SLICES, b'{"addressType":"IPv4","endpoints":null,"ports":null}')
    assert (slice_.endpoints, slice_.ports) == (None, None)
    template = decode_object(PODS, b'{"metadata":{"creationTimestamp":null},"spec":{"containers":null}}')
    assert template.metadata.creation_timestamp is None


def test_lists():
    listed = decode_list(PODS, b'{"metadata":{"resourceVersion":"5","continue":"x"},"items":[{"metadata":{}}]}')
    assert (listed.resource_version, listed.continue_token, len(listed.items)) == ("5", "x", 1)
    assert decode_list(PODS, b'{"metadata":{"resourceVersion":"5"},"items":null}').items == []
    with pytest.raises(ObjectDecodeError, match=r"PodList: .*items\[0\]"):
        decode_list(PODS, b'{"items":[{"spec":3}]}')


def test_the_collector_rests_only_for_large_bodies():
    assert gc.isenabled()
    with gc_paused(10):
        assert gc.isenabled()
    with gc_paused(10_000_000):
        assert not gc.isenabled()
    with pytest.raises(ZeroDivisionError), gc_paused(10_000_000):
        1 / 0  # noqa: B018 - any error
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", BadRequest),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (405, "MethodNotAllowed", MethodNotAllowed),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Gone", Gone),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", TooManyRequests),
        (500, "InternalError", ServerUnavailable),
        (503, "", ServerUnavailable),
        (418, "", ApiError),
    ],
)
def test_statuses_become_kinds(code, reason, kind):
    body = msgspec.json.encode({"kind": "Status", "reason": reason, "message": "why"})
    error = ApiError.from_response(code, body)
    assert type(error) is kind
    assert (error.code, error.reason, str(error)) == (code, reason, "why")


def test_bodies_that_are_no_status():
    assert str(ApiError.from_response(502, b"<html>bad gateway</html>\n")) == "<html>bad gateway</html>"
    assert str(ApiError.from_response(500, b"[1]")) == "HTTP status 500"
    assert ApiError.from_response(503, b"", retry_after="3").retry_after == 3
    assert ApiError.from_response(503, b"", retry_after="soon").retry_after is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)


def _without_nulls(value):
    """Kubernetes keeps no nulls in maps, and a merge patch could not express them."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


_objects = st.dictionaries(st.text("abc", max_size=1), _json, max_size=3).map(_without_nulls)


@given(_objects, _objects)
def test_a_merge_diff_leads_from_old_to_new(old, new):
    patch = merge_diff(old, new)
    assert merge_patch(old, patch) == new
    assert (patch == {}) == (old == new)


def test_a_merge_diff_of_structs_removes_what_went_back_to_its_default():
    pod = decode_object(PODS, b'{"metadata":{"name":"a"},"status":{"phase":"Running","podIPs":[{"ip":"1.1.1.1"}]}}')
    done = decode_object(PODS, b'{"metadata":{"name":"a"},"status":{"phase":"Failed"}}')
    assert merge_diff(pod, done) == {"status": {"phase": "Failed", "podIPs": None}}
