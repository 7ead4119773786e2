"""gRPC probes against a server of health checks that speaks HTTP/2 over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from wherry.pods import grpchealth
from wherry.pods.probes import grpc

Headers = list[tuple[str, str]]
OK: Headers = [("grpc-status", "0")]
REPLY: Headers = [(":status", "200"), ("content-type", "application/grpc")]


class Server:
    """Answers every call with the same headers, message and trailers; without headers it only greets."""

    def __init__(self, headers: Headers, message: bytes, trailers: Headers) -> None:
        self.headers, self.message, self.trailers = headers, message, trailers
        self.asked: dict[str, str] = {}
        self.body = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        writer.write(http.data_to_send())
        try:
            while data := await reader.read(65536):
                for event in http.receive_data(data):
                    if isinstance(event, RequestReceived):
                        self.asked = {str(name): str(value) for name, value in event.headers}
                    elif isinstance(event, StreamEnded) and self.headers:
                        http.send_headers(event.stream_id, self.headers, end_stream=not self.trailers)
                        if self.trailers:
                            http.send_data(event.stream_id, self.message)
                            http.send_headers(event.stream_id, self.trailers, end_stream=True)
                writer.write(http.data_to_send())
        except ConnectionError:
            pass  # the prober does not say farewell
        finally:
            writer.close()


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    ended: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.append(task)
        await server.serve(reader, writer)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.gather(*ended)


@pytest.mark.parametrize(
    ("status", "success", "message"),
    [
        (1, True, "service healthy"),
        (2, False, 'service unhealthy (responded with "NOT_SERVING")'),
        (0, False, 'service unhealthy (responded with "UNKNOWN")'),
        (7, False, 'service unhealthy (responded with "7")'),
    ],
)
async def test_the_status_decides(status: int, success: bool, message: str) -> None:
    server = Server(REPLY, grpchealth.encode_response(status), OK)
    async with listening(server) as port:
        outcome = await grpc.check("127.0.0.1", port, "shop.Cart", timeout=2)
    assert (outcome.success, outcome.message) == (success, message)
    assert server.asked[":path"] == "/grpc.health.v1.Health/Check"
    assert server.asked["user-agent"].startswith("kube-probe/")


@pytest.mark.parametrize(
    ("headers", "trailers", "message"),
    [
        (
            [*REPLY, ("grpc-status", "5"), ("grpc-message", "unknown%20service")],
            [],
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        ),
        (
            [*REPLY, ("grpc-status", "12"), ("grpc-message", "unknown service grpc.health.v1.Health")],
            [],
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
            "unknown service grpc.health.v1.Health",
        ),
        ([(":status", "503"), ("content-type", "text/plain")], [], "rpc error: code = Unavailable desc = unexpected"),
        (REPLY, [("grpc-status", "14")], "rpc error: code = Unavailable desc = "),
    ],
)
async def test_refusals_are_worded_as_the_kubelet_does(headers: Headers, trailers: Headers, message: str) -> None:
    async with listening(Server(headers, b"", trailers)) as port:
        outcome = await grpc.check("127.0.0.1", port, "", timeout=2)
    assert not outcome.success
    assert message in outcome.message


async def test_a_server_that_never_answers_is_a_timeout() -> None:
    async with listening(Server([], b"", [])) as port:
        outcome = await grpc.check("127.0.0.1", port, "", timeout=0.1)
    assert outcome.message == "timeout: health rpc did not complete within 100ms"


async def test_what_is_no_http2_server_cannot_be_connected_to() -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    words = f'timeout: failed to connect service "127.0.0.1:{port}" within 1s: context deadline exceeded'
    async with listener:
        assert (await grpc.check("127.0.0.1", port, "", timeout=1)).message == words
    assert (await grpc.check("127.0.0.1", port, "", timeout=1)).message == words
