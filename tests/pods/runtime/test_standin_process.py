"""What stand-ins speak, asked with real clients: TLS, PROXY, HTTP/2 and gRPC health, delays, changes while they run."""

import asyncio
import socket
import ssl
import struct
import time

import h2.config
import h2.connection
import h2.events
import pytest

from tests.pods.runtime.test_runtime_process import Node, running
from wherry.kernel.testing import wait_for
from wherry.kube.pki import self_signed_server
from wherry.pods import grpchealth
from wherry.pods.model import Behaviour, Port

pytestmark = pytest.mark.netns

__all__ = ["Node"]

GET = b"GET /x HTTP/1.0\r\n\r\n"


def pem():
    pair = self_signed_server("web", ["web.shop.svc", "127.0.0.1"])
    return (pair.certificate + pair.key).decode(), pair.certificate.decode()


async def said(node, words):
    """Wait until words are in the log."""
    await asyncio.to_thread(wait_for, lambda: words in "\n".join(node.log("web")), within=10)


def all_of(handle):
    return b"".join(iter(lambda: handle.recv(65536), b""))


class Caller:
    """An HTTP/2 client on a socket."""

    def __init__(self, handle):
        self.handle = handle
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events = []

    def call(self, path, body=b"", kind=grpchealth.CONTENT_TYPE):
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "web")]
        self.h2.send_headers(stream, [*headers, ("content-type", kind)])
        while body:
            piece = body[: min(self.h2.local_flow_control_window(stream), 16384)]
            if piece:
                self.h2.send_data(stream, piece)
                body = body[len(piece) :]
                self.handle.sendall(self.h2.data_to_send())
            else:
                self.receive()
        self.h2.end_stream(stream)
        self.handle.sendall(self.h2.data_to_send())
        return stream

    def receive(self):
        data = self.handle.recv(65536)
        assert data, "the connection ended"
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.append(event)
        self.handle.sendall(self.h2.data_to_send())

    def of(self, kind, stream):
        return [event for event in self.events if isinstance(event, kind) and event.stream_id == stream]

    def answer(self, stream):
        """Headers, body and trailers of a stream that ends."""
        while not self.of(h2.events.StreamEnded, stream):
            self.receive()
        trailers = self.of(h2.events.TrailersReceived, stream)
        return (
            dict(self.of(h2.events.ResponseReceived, stream)[0].headers),
            b"".join(event.data for event in self.of(h2.events.DataReceived, stream)),
            dict(trailers[0].headers) if trailers else {},
        )


async def test_tls_proxy_and_plain_ports_side_by_side(tmp_path):
    both, certificate = pem()
    behaviour = Behaviour(tls=(8443, 9443), proxy_protocol=(8080, 9443), certificate=both)
    trust = ssl.create_default_context(cadata=certificate)
    trust.set_alpn_protocols(["h2", "http/1.1"])
    async with running(tmp_path) as node:
        ports = (Port(80), Port(8080), Port(8443), Port(9443))
        state = await node.client.start(node.spec("web", ports=ports, behaviour=behaviour))
        assert state.phase == "running"
        assert "via" not in node.ask("127.0.0.1", 80)
        v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 4444 80\r\n"
        answer = node.ask("127.0.0.1", 8080, v1 + GET)
        assert "client: 192.0.2.1:4444\n" in answer
        assert "via: PROXY v1 from 127.0.0.1:" in answer
        assert "via: no PROXY header\n" in node.ask("127.0.0.1", 8080)
        assert node.ask("127.0.0.1", 8080, b"PROXY TCP4 no\r\n") == ""
        with trust.wrap_socket(node.connect("127.0.0.1", 8443), server_hostname="web.shop.svc") as handle:
            assert handle.selected_alpn_protocol() == "h2"
            caller = Caller(handle)
            headers, body, _ = caller.answer(caller.call("/secret", kind="text/plain"))
            assert headers[":status"] == "200"
            assert b"request: POST /secret HTTP/2.0\n" in body
            assert b"via: TLSv1.3\n" in body
        addresses = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
        v2 = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x21, 36) + addresses + struct.pack("!HH", 5555, 443)
        raw = node.connect("127.0.0.1", 9443)
        raw.sendall(v2)
        with trust.wrap_socket(raw, server_hostname="web.shop.svc") as handle:
            handle.sendall(GET)
            answer = all_of(handle).decode()
        assert "client: [2001:db8::1]:5555\n" in answer
        assert "via: PROXY v2 from 127.0.0.1:" in answer
        assert node.ask("127.0.0.1", 8443) == ""
        await node.logged("web", "as the pod's annotations say: TLS on 8443, 9443, PROXY protocol on 8080, 9443")
        await said(node, "not a PROXY line")
        await said(node, "TLS: HTTP_REQUEST")


async def test_grpc_health_and_http2(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("web", ports=(Port(50051),)))
        with node.connect("::1", 50051) as handle:
            caller = Caller(handle)
            headers, body, trailers = caller.answer(caller.call(grpchealth.CHECK, grpchealth.encode_request("db")))
            assert (headers["content-type"], trailers["grpc-status"]) == ("application/grpc", "0")
            assert grpchealth.decode_response(body) == grpchealth.SERVING
            headers, _, _ = caller.answer(caller.call("/shop.Cart/Add", grpchealth.encode_request("")))
            assert headers["grpc-status"] == "12"
            headers, _, _ = caller.answer(caller.call(grpchealth.CHECK, b"\1"))
            assert headers["grpc-status"] == "3"
            watch = caller.call(grpchealth.WATCH, grpchealth.encode_request(""))
            while not caller.of(h2.events.DataReceived, watch):
                caller.receive()
            await node.client.behave("web", Behaviour(status=503, body=300_000))
            while len(caller.of(h2.events.DataReceived, watch)) < 2:
                caller.receive()
            told = [grpchealth.decode_response(event.data) for event in caller.of(h2.events.DataReceived, watch)]
            assert told == [grpchealth.SERVING, grpchealth.NOT_SERVING]
            headers, body, _ = caller.answer(caller.call("/upload", b"x" * 200_000, kind="text/plain"))
            assert (headers[":status"], len(body)) == ("503", 300_000)
            assert b"body: 200000 bytes\n" in body
        await node.logged("web", "changed: status 503, bodies of 300000 bytes")
        with node.connect("127.0.0.1", 50051) as handle:
            handle.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
            assert all_of(handle)
        await said(node, "malformed HTTP/2")
        lines = node.log("web")
    assert any('"POST /grpc.health.v1.Health/Check HTTP/2.0" grpc 0 SERVING' in line for line in lines)


async def test_one_that_ends_is_done_without_listening(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("web", ports=(Port(80),), ends=True))
        await said(node, "done, as the work it stands for would be at some time")
        state, _ = await node.client.inspect("web")
        assert (state.phase, state.exit_code, state.reason) == ("exited", 0, "Completed")
        with pytest.raises(ConnectionRefusedError):
            node.ask("127.0.0.1", 80)


async def test_changes_of_behaviour_survive_and_count_at_once(tmp_path):
    async with running(tmp_path) as node:
        await node.client.start(node.spec("web", ports=(Port(80),)))
        await node.client.behave("web", Behaviour(delay=0.2))
        began = time.monotonic()
        assert node.ask("127.0.0.1", 80).startswith("HTTP/1.1 200")
        assert time.monotonic() - began >= 0.2
        await node.client.behave("web", Behaviour(status=418, body=1_000_000))
        answer = node.ask("127.0.0.1", 80)
        assert answer.startswith("HTTP/1.1 418 I'm a Teapot")
        assert len(answer.partition("\r\n\r\n")[2]) == 1_000_000
        _, spec = await node.client.inspect("web")
        assert spec.behaviour == Behaviour(status=418, body=1_000_000)
