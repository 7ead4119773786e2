import json

import pytest

from wherry.pods.model import Behaviour
from wherry.pods.runtime.standin.answer import Identity, wants_json
from wherry.pods.runtime.standin.conversation import Conversation, Setting

IDENTITY = Identity(namespace="shop", pod="web-1", container="web", image="example/web:2", node="node-1")


class Talk:
    """A conversation, its log, and the waits it asked for."""

    def __init__(self, **behaviour):
        self.log = []
        self.waits = []
        self.behaviour = Behaviour(**behaviour)
        self.conversation = Conversation(
            Setting(
                identity=IDENTITY,
                server="10.42.0.5:80",
                client="10.42.1.7:4444",
                log=self.log.append,
                later=lambda delay, call: self.waits.append((delay, call)),
                behaviour=lambda: self.behaviour,
            )
        )

    def say(self, data):
        """Everything that comes back at once."""
        return self.conversation.feed(data) + self.rest()

    def rest(self):
        out = b""
        while piece := self.conversation.more():
            out += piece
        return out

    def wait(self):
        """Let the next wait be over; what is said then."""
        return self.waits.pop(0)[1]() + self.rest()


def talk():
    here = Talk()
    return here.conversation, here.log


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


GET = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n"


def test_status_and_size_of_the_body_are_as_asked():
    here = Talk(status=503, body=200_000)
    response = here.say(GET)
    status, headers, body = split(response)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert int(headers["Content-Length"]) == len(body) == 200_000
    assert body.startswith(b"pod: shop/web-1\n")
    assert here.log == [f'10.42.1.7:4444 "GET /a HTTP/1.1" 503 {len(response)} ""']
    assert here.say(GET).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(("size", "expected"), [(0, b""), (5, b"pod: ")])
def test_a_small_body_is_cut(size, expected):
    assert split(Talk(body=size).say(GET))[2] == expected


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status):
    _, headers, body = split(Talk(status=status).say(GET))
    assert "Content-Length" not in headers
    assert body == b""


def test_a_head_request_of_a_large_body_sends_none_of_it():
    here = Talk(body=200_000)
    response = here.say(b"HEAD / HTTP/1.1\r\n\r\n")
    assert split(response)[1]["Content-Length"] == "200000"
    assert split(response)[2] == b""


def test_answers_wait_one_after_the_other():
    here = Talk(delay=0.25)
    assert here.say(GET + GET) == b""
    assert here.conversation.blocked
    assert [delay for delay, _ in here.waits] == [0.25]
    assert here.wait().count(b"HTTP/1.1 200 OK") == 1
    assert here.wait().count(b"HTTP/1.1 200 OK") == 1
    assert not here.conversation.blocked


def test_the_connection_closes_behind_a_delayed_answer():
    here = Talk(delay=1)
    here.say(b"GET / HTTP/1.0\r\n\r\n")
    here.conversation.end_of_input()
    assert not here.conversation.closing
    assert here.wait().startswith(b"HTTP/1.1 200 OK")
    assert here.conversation.closing


def test_a_large_body_closes_the_connection_only_when_it_is_sent():
    here = Talk(body=200_000)
    here.conversation.feed(b"GET / HTTP/1.0\r\n\r\n")
    assert not here.conversation.closing
    here.rest()
    assert here.conversation.closing


def test_changes_count_from_the_next_answer_on():
    here = Talk()
    assert here.say(GET).startswith(b"HTTP/1.1 200 OK")
    here.behaviour = Behaviour(status=404)
    assert here.say(GET).startswith(b"HTTP/1.1 404 Not Found")


HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: web\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"
)


def masked(first, payload, key=b"\x01\x02\x03\x04"):
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([first]) + size + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def test_a_websocket_echoes_messages():
    here = Talk()
    response = here.say(HANDSHAKE)
    assert response.startswith(b"HTTP/1.1 101 ")
    # The key and its answer are RFC 6455's own example.
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in response
    assert b"\r\nSec-WebSocket-Protocol: a\r\n" in response
    assert here.say(masked(0x81, b"hello")) == b"\x81\x05hello"
    long = masked(0x82, b"x" * 300)
    assert here.say(long[:100]) == b""
    assert here.say(long[100:]) == b"\x82\x7e\x01\x2c" + b"x" * 300
    assert here.say(masked(0x89, b"p")) == b"\x8a\x01p"
    assert here.say(masked(0x88, b"\x03\xe8bye")) == b"\x88\x02\x03\xe8"
    assert here.conversation.closing
    here.conversation.ended()
    assert here.log[-1] == "10.42.1.7:4444 websocket /chat, 2 messages, 305 bytes"


@pytest.mark.parametrize("data", [b"\x81\x05hello", b"\xc1\x80abcd", b"\x83\x80abcd", b"\x09\x80abcd"])
def test_a_websocket_that_breaks_the_rules_is_closed(data):
    here = Talk()
    here.say(HANDSHAKE)
    assert here.say(data) == b"\x88\x02" + (1002).to_bytes(2, "big")
    assert here.conversation.closing


def test_a_websocket_frame_may_be_too_long():
    here = Talk()
    here.say(HANDSHAKE)
    assert here.say(b"\x82\xff" + (1 << 40).to_bytes(8, "big")) == b"\x88\x02" + (1009).to_bytes(2, "big")
