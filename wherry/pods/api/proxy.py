"""Requests of the API server's proxy, handed on to a pod of this node: HTTP, and WebSocket message by message."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence

import aiohttp
from aiohttp import WSMsgType, web
from yarl import URL

from wherry.kube.objects import Pod
from wherry.pods.api.backend import Refused

_HOP = frozenset({"connection", "host", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding",
                  "upgrade"})  # fmt: skip
_SOCKET = frozenset({"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions",
                     "sec-websocket-protocol"})  # fmt: skip
_UNREACHABLE = "Wherry-Unreachable"
_CONNECT_SECONDS = 10.0


class PodProxy:
    """The handler of ``/proxy/{namespace}/{pod}/{scheme}/{port}/...``."""

    def __init__(self, pods: Callable[[], Sequence[Pod]]) -> None:
        self._pods = pods

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Hand one request on. A pod's certificate is not verified, as the Kubernetes API server does not, either."""
        info = request.match_info
        address = self._address(info["namespace"], info["pod"])
        port = int(info["port"])
        host = f"[{address}]" if ":" in address else address
        tail = request.raw_path.split("/", 6)[6] if request.raw_path.count("/") >= 6 else ""
        url = URL(f"{info['scheme']}://{host}:{port}/{tail}", encoded=True)
        trust: ssl.SSLContext | bool = True
        if info["scheme"] == "https":
            trust = ssl.create_default_context()
            trust.check_hostname = False
            trust.verify_mode = ssl.CERT_NONE
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS)
        try:
            async with aiohttp.ClientSession(
                timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as session:
                if request.headers.get("Upgrade", "").lower() == "websocket":
                    return await _socket(request, session, url, trust)
                return await _exchange(request, session, url, trust)
        except aiohttp.ClientConnectorError as error:
            code = error.os_error.errno
            why = os.strerror(code).lower() if code else str(error.os_error)
            return _unreachable(f"dial tcp {host}:{port}: connect: {why}")
        except aiohttp.ClientError as error:
            return _unreachable(str(error))
        except TimeoutError:
            return _unreachable(f"dial tcp {host}:{port}: i/o timeout")

    def _address(self, namespace: str, name: str) -> str:
        for pod in self._pods():
            if (pod.namespace, pod.name) == (namespace, name) and pod.status.pod_ip:
                return pod.status.pod_ip
        raise Refused(404, f'pod "{name}" not found')


def _unreachable(text: str) -> web.Response:
    return web.Response(status=503, text=f"{text}\n", headers={_UNREACHABLE: "true"})


async def _exchange(
    request: web.Request, session: aiohttp.ClientSession, url: URL, trust: ssl.SSLContext | bool
) -> web.StreamResponse:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
    async with session.request(
        request.method,
        url,
        headers=headers,
        data=request.content if request.can_read_body else None,
        ssl=trust,
        allow_redirects=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type", "Accept"),
    ) as answer:
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP:
                response.headers.add(name, value)
        await response.prepare(request)
        async for block in answer.content.iter_any():
            await response.write(block)
        await response.write_eof()
        return response


async def _socket(
    request: web.Request, session: aiohttp.ClientSession, url: URL, trust: ssl.SSLContext | bool
) -> web.StreamResponse:
    """Carry the messages of a WebSocket both ways until one side closes it."""
    skipped = _HOP | _SOCKET
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in skipped]
    asked = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
    async with session.ws_connect(url, protocols=asked, headers=headers, ssl=trust, max_msg_size=0) as behind:
        front = web.WebSocketResponse(
            protocols=[behind.protocol] if behind.protocol else (), compress=False, max_msg_size=0
        )
        await front.prepare(request)
        async with asyncio.TaskGroup() as group:
            back = group.create_task(_carry(front, behind))
            await _carry(behind, front)
            back.cancel()
        return front


_Side = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _carry(source: _Side, target: _Side) -> None:
    async for message in source:
        if message.type is WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await target.send_bytes(message.data)
    await target.close()
