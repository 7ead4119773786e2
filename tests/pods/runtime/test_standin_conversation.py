import json

import pytest

from wherry.pods.runtime.standin.answer import Identity, wants_json
from wherry.pods.runtime.standin.conversation import Conversation

IDENTITY = Identity(namespace="shop", pod="web-1", container="web", image="example/web:2", node="node-1")


def talk():
    log = []
    return Conversation(IDENTITY, server="10.42.0.5:80", client="10.42.1.7:4444", log=log.append), log


def split(response):
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


def test_the_answer_names_pod_path_client_and_headers():
    conversation, log = talk()
    response = conversation.feed(b"GET /cart HTTP/1.1\r\nHost: web\r\nUser-Agent: me\r\n\r\n")
    status, headers, body = split(response)
    assert status == "HTTP/1.1 200 OK"
    assert int(headers["Content-Length"]) == len(body)
    assert body.decode().splitlines() == [
        "pod: shop/web-1",
        "container: web",
        "image: example/web:2",
        "node: node-1",
        "server: 10.42.0.5:80",
        "client: 10.42.1.7:4444",
        "request: GET /cart HTTP/1.1",
        "header: Host: web",
        "header: User-Agent: me",
    ]
    assert not conversation.closing
    assert log == [f'10.42.1.7:4444 "GET /cart HTTP/1.1" 200 {len(response)} "me"']


def test_json_when_asked():
    conversation, _ = talk()
    request = b"POST /a HTTP/1.1\r\nAccept: application/json\r\nA: 1\r\nA: 2\r\nContent-Length: 3\r\n\r\nx\xffz"
    _, headers, body = split(conversation.feed(request))
    document = json.loads(body)
    assert headers["Content-Type"] == "application/json"
    assert (document["pod"], document["method"], document["path"]) == ("web-1", "POST", "/a")
    assert document["headers"]["A"] == "1, 2"
    assert (document["body"], document["bodySize"]) == ("x\ufffdz", 3)


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", True),
        ("text/html, application/json;q=0.9", True),
        ("application/json;q=0.5, text/plain", False),
        ("application/*, text/plain;q=0.1", True),
        ("application/json;q=0, */*", False),
        ("application/json;q=lots", False),
    ],
)
def test_content_negotiation(accept, json_wanted):
    assert wants_json(accept) is json_wanted


def test_head_has_the_length_and_no_body():
    conversation, _ = talk()
    status, headers, body = split(conversation.feed(b"HEAD / HTTP/1.1\r\n\r\n"))
    assert status.endswith("200 OK")
    assert int(headers["Content-Length"]) > 0
    assert body == b""


def test_a_body_comes_back():
    conversation, _ = talk()
    _, _, body = split(conversation.feed(b"PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nping"))
    assert body.endswith(b"body: 4 bytes\nping\n")


def test_closing_when_the_client_or_its_version_says_so():
    for request in (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        conversation, _ = talk()
        _, headers, _ = split(conversation.feed(request))
        assert conversation.closing
        assert headers["Connection"] == "close"


def test_the_client_is_told_to_send_its_body():
    conversation, _ = talk()
    head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    assert conversation.feed(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert conversation.feed(b"x").startswith(b"HTTP/1.1 200 OK")


def test_a_malformed_request_is_answered_and_the_connection_ended():
    conversation, log = talk()
    assert conversation.feed(b"GET / HTTP/1.1\r\n: x\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert conversation.closing
    assert log == ['10.42.1.7:4444 "malformed request" 400']


def test_a_tunnel_is_refused():
    conversation, _ = talk()
    assert conversation.feed(b"CONNECT a:1 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 405 ")


def test_anything_else_is_echoed_until_the_client_ends():
    conversation, log = talk()
    assert conversation.feed(b"hello ") == b"hello "
    assert conversation.feed(b"GET / HTTP/1.1\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"
    assert conversation.end_of_input() == b""
    assert conversation.closing
    conversation.ended()
    assert log == ["10.42.1.7:4444 tcp echo, 24 bytes"]


def test_an_undecided_beginning_is_echoed_at_the_end_of_input():
    conversation, _ = talk()
    assert conversation.feed(b"GE") == b""
    assert conversation.end_of_input() == b"GE"


def test_probes_are_not_logged():
    conversation, log = talk()
    assert b"200 OK" in conversation.feed(b"GET / HTTP/1.1\r\nUser-Agent: kube-probe/1.34\r\n\r\n")
    conversation.ended()
    assert log == []
