"""The HTTPS server of the kubelet API, on port 10250 of the node's own network.

Callers are known by their client certificate: the API server's, or one of the group `system:masters`. Everyone else,
anonymous callers included, is refused. Answers to errors are one line of plain text, which the API server hands on.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from wherry.kube.kinds import PODS
from wherry.kube.times import parse_time
from wherry.pods.api.backend import Backend, Refused
from wherry.pods.api.logformat import LogOptions
from wherry.pods.api.logs import read_log
from wherry.pods.api.proxy import PodProxy
from wherry.pods.api.query import flag, number
from wherry.pods.api.stats import NodeSeen, Reading, Sampler, metrics, summary
from wherry.pods.api.streams import Streams
from wherry.pods.runtime.logs import MAX_FILES, MAX_SIZE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MASTERS = "system:masters"


class KubeletApiSettings(msgspec.Struct, frozen=True):
    """Where to listen and whom to trust."""

    certificate: Path
    key: Path
    client_ca: Path
    port: int = 10250
    hosts: tuple[str, ...] = ()
    """Addresses to listen on; empty means all of the node's."""
    callers: tuple[str, ...] = ("system:kube-apiserver", "kube-apiserver", "kube-apiserver-kubelet-client")
    """Common names of the API server's client certificate."""


class KubeletApi:
    """The server; `run` serves until cancelled."""

    def __init__(self, backend: Backend, *, settings: KubeletApiSettings) -> None:
        self._backend = backend
        self._settings = settings
        self._streams = Streams(backend)
        self._sampler = Sampler()
        self._sampling = asyncio.Lock()

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when the port is taken or a file is missing."""
        # Access is not logged, and a handler ends with its client: a follower that hung up must not stay.
        runner = web.AppRunner(self.application(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        try:
            context = self._tls()
            for host in self._settings.hosts or (None,):
                await web.TCPSite(runner, host, self._settings.port, ssl_context=context).start()
            await _forever()
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """Return the routes behind the check of the caller."""
        app = web.Application(middlewares=[self._guard])
        for method in ("GET", "POST"):
            app.router.add_route(method, "/exec/{namespace}/{pod}/{container}", self._streams.exec)
            app.router.add_route(method, "/exec/{namespace}/{pod}/{uid}/{container}", self._streams.exec)
            app.router.add_route(method, "/attach/{namespace}/{pod}/{container}", self._streams.attach)
            app.router.add_route(method, "/attach/{namespace}/{pod}/{uid}/{container}", self._streams.attach)
            app.router.add_route(method, "/portForward/{namespace}/{pod}", self._streams.port_forward)
            app.router.add_route(method, "/portForward/{namespace}/{pod}/{uid}", self._streams.port_forward)
        proxy = PodProxy(self._backend.pods)
        app.router.add_route("*", r"/proxy/{namespace}/{pod}/{scheme:https?}/{port:\d+}{tail:/.*}", proxy.handle)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/pods", self._pods)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/metrics/resource", self._resource_metrics)
        app.router.add_get("/stats/summary", self._summary)
        app.router.add_get("/configz", self._configuration)
        return app

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._settings.certificate, self._settings.key)
        context.load_verify_locations(self._settings.client_ca)
        # Optional in the handshake, so that a caller without one reads why it is refused.
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
        if not certificate:
            return web.Response(status=401, text="Unauthorized\n")
        name, groups = caller(certificate)
        if name not in self._settings.callers and _MASTERS not in groups:
            return web.Response(status=403, text=f"Forbidden (user={name}, resource=nodes, subresource=proxy)\n")
        try:
            return await handler(request)
        except Refused as error:
            return web.Response(status=error.code, text=f"{error}\n")

    # -- logs ----------------------------------------------------------------------------------------------------

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        options = log_options(request.query, now=time.time())
        info = request.match_info
        log = self._backend.log(
            info["namespace"], info["pod"], info["container"], previous=flag(request.query, "previous")
        )
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        async for piece in read_log(log.path, options, ended=log.ended):
            await response.write(piece)
        await response.write_eof()
        return response

    # -- the rest ------------------------------------------------------------------------------------------------

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _pods(self, _request: web.Request) -> web.StreamResponse:
        items = b",".join(PODS.encode(pod) for pod in self._backend.pods())
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + items + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        lines = (
            "# HELP kubelet_running_pods Number of pods that have a worker on this node.",
            "# TYPE kubelet_running_pods gauge",
            f"kubelet_running_pods {len(self._backend.pods())}",
            "# HELP kubelet_running_containers Number of containers that run on this node.",
            "# TYPE kubelet_running_containers gauge",
            f'kubelet_running_containers{{container_state="running"}} {self._backend.running_containers()}',
            "",
        )
        return web.Response(text="\n".join(lines), content_type="text/plain", charset="utf-8")

    async def _resource_metrics(self, _request: web.Request) -> web.StreamResponse:
        node, reading = await self._sample()
        return web.Response(text=metrics(node, reading), content_type="text/plain", charset="utf-8")

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        node, reading = await self._sample()
        found = summary(node, reading, only_cpu_and_memory=flag(request.query, "only_cpu_and_memory"))
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def _sample(self) -> tuple[NodeSeen, Reading]:
        async with self._sampling:
            node = self._backend.seen()
            # Hundreds of processes take tens of milliseconds, which the loop must not wait for.
            return node, await asyncio.to_thread(self._sampler.read, node, time.time())

    async def _configuration(self, _request: web.Request) -> web.StreamResponse:
        config = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "port": self._settings.port,
            "readOnlyPort": 0,
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
            "containerLogMaxSize": f"{MAX_SIZE >> 20}Mi",
            "containerLogMaxFiles": MAX_FILES,
        }
        return web.json_response({"kubeletconfig": config})


def caller(certificate: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """Return user and groups of a verified client certificate (its common name and organisations)."""
    name = ""
    groups: set[str] = set()
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.add(value)
    return name, frozenset(groups)


def log_options(query: Mapping[str, str], *, now: float) -> LogOptions:
    """Read the query of a log request; `now` in seconds since the epoch. Raises `Refused`."""
    since: float | None = None
    if query.get("sinceTime"):
        try:
            since = parse_time(query["sinceTime"])
        except ValueError as error:
            raise Refused(400, f"sinceTime {query['sinceTime']!r} is not an RFC 3339 time") from error
    seconds = number(query, "sinceSeconds")
    if seconds is not None:
        since = now - seconds
    stream = query.get("stream", "")
    return LogOptions(
        follow=flag(query, "follow"),
        tail_lines=number(query, "tailLines"),
        since=since,
        timestamps=flag(query, "timestamps"),
        limit_bytes=number(query, "limitBytes"),
        stream="" if stream.lower() == "all" else stream.lower(),
    )


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()
