import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.pods.runtime.standin import http
from wherry.pods.runtime.standin.http import Bad, Continue, NotHttp, Parser, Request, looks_like_http


def events(data, sizes=()):
    """All events of one connection's bytes, fed in pieces of the given sizes (the rest at once)."""
    parser, out = Parser(), []
    for size in (*sizes, len(data)):
        piece, data = data[:size], data[size:]
        if piece:
            out += parser.feed(piece)
        if any(isinstance(event, Bad | NotHttp) for event in out):
            break
    return out


def test_a_plain_request():
    (request,) = events(b"GET /a?b HTTP/1.1\r\nHost: web\r\nX-A: 1\r\nx-a:  2 \r\n\r\n")
    assert (request.method, request.target, request.version) == ("GET", "/a?b", "HTTP/1.1")
    assert request.header("x-a") == "1, 2"
    assert request.keep_alive


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [
        ("1.1", "", True),
        ("1.1", "Close", False),
        ("1.0", "", False),
        ("1.0", "keep-alive", True),
        ("1.1", "x, close", False),
    ],
)
def test_keep_alive(version, connection, keep):
    head = f"GET / HTTP/{version}\r\n" + (f"Connection: {connection}\r\n" if connection else "")
    (request,) = events(head.encode() + b"\r\n")
    assert request.keep_alive is keep


def test_pipelined_requests_with_bodies():
    data = (
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
        b"\r\nPUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
        b"GET /last HTTP/1.1\r\n\r\n"
    )
    assert [(request.method, request.body, request.body_size) for request in events(data)] == [
        ("POST", b"hello", 5),
        ("PUT", b"abcde", 5),
        ("GET", b"", 0),
    ]


STREAM = (
    b"POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD / HTTP/1.0\nA: b\n\n"
    b"PUT /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n4\r\nwxyz\r\n0\r\n\r\n"
    b"GET / HTTP/3\r\n\r\n"
)


@given(st.lists(st.integers(1, 40), max_size=60))
def test_the_events_do_not_depend_on_how_the_bytes_are_cut(sizes):
    assert events(STREAM, sizes) == events(STREAM)


def test_the_whole_of_that_stream():
    kinds = [type(event).__name__ for event in events(STREAM)]
    assert kinds == ["Request", "Request", "Continue", "Request", "Bad"]


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), max_size=20))
def test_garbage_never_raises_and_ends_at_most_once(data, sizes):
    out = events(b"GET / HTTP/1.1\r\n" + data, sizes)
    assert all(isinstance(event, Request | Continue) for event in out[:-1])


def test_a_long_body_is_counted_and_not_kept():
    size = http.MAX_BODY + 5000
    (request,) = events(f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size)
    assert (len(request.body), request.body_size) == (http.MAX_BODY, size)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nNo colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * http.MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 40000, 400),
    ],
)
def test_what_cannot_be_accepted(data, status):
    assert [event.status for event in events(data)] == [status]


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", None),
        (b"G", None),
        (b"GET", None),
        (b"GET /long", None),
        (b"GET / HTTP/1.1\r\n", True),
        (b"WEIRD /x HTTP/1.1\r\n", True),
        (b"hello", False),
        (b"hello\n", False),
        (b"GETX", False),
        (b"GET /\r\n", False),
        (b"PING\r\n", False),
        (b"\x16\x03\x01", False),
        (b"\n", False),
        (b"a b HTTP/1.1", False),
    ],
)
def test_telling_http_from_anything_else(data, verdict):
    assert looks_like_http(data) is verdict


def test_an_endless_request_line_is_no_http():
    (event,) = events(b"GET /" + b"a" * http.MAX_HEAD)
    assert isinstance(event, NotHttp)
