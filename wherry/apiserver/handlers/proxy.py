"""The proxy subresources: requests handed on to a pod, to a pod behind a service, or to a kubelet itself.

The API server has no route to pods: the kubelet of the pod's node makes the connection (`wherry.pods.api.proxy`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from wherry.apiserver.core import Call
from wherry.apiserver.handlers.connect import Kubelet, Kubelets
from wherry.apiserver.kinds.model import Object, refuse_bad_request, refuse_not_found
from wherry.apiserver.kinds.names import port_name
from wherry.apiserver.request import Answer, Response, Sink, Stream
from wherry.apiserver.status import unavailable

_SERVICE_LABEL = "kubernetes.io/service-name"
_UNREACHABLE = "wherry-unreachable"
"""Header by which a kubelet says that the answer is its own: it could not reach what lies behind it."""
_TO_BACKEND = frozenset(
    {"authorization", "connection", "content-length", "cookie", "host", "keep-alive", "proxy-authorization", "te",
     "trailer", "transfer-encoding", "upgrade", "impersonate-user", "impersonate-group", "impersonate-uid"}
)  # fmt: skip
_TO_CLIENT = frozenset({"connection", "content-length", "content-type", "date", "keep-alive", "server", "trailer",
                        "transfer-encoding"})  # fmt: skip


class Target(NamedTuple):
    """`[scheme:]name[:port]`, as the name of a pod, service or node in a proxy path."""

    scheme: str
    name: str
    port: str


def split_name(text: str) -> Target:
    """The parts of a name in a proxy path; raises Refusal for something else."""
    parts = text.split(":")
    scheme = "http"
    if len(parts) == 3:
        scheme, *parts = parts
        scheme = scheme or "http"
    if scheme not in ("http", "https") or len(parts) > 2 or not parts[0]:
        raise refuse_bad_request(f'invalid request "{text}"')
    return Target(scheme, parts[0], parts[1] if len(parts) == 2 else "")


class Proxies:
    """The handlers of the three."""

    def __init__(self, kubelets: Kubelets) -> None:
        self._kubelets = kubelets

    async def pod(self, call: Call) -> Answer:
        """A request to a port of a pod; without one the first port that its containers declare."""
        target = split_name(call.route.name)
        entry = call.served.bucket.get(call.served.key(call.route.namespace, target.name))
        if entry is None:
            raise refuse_not_found("", "pods", target.name)
        pod = entry.object()
        port = target.port or _first_port(pod)
        return await self._to_pod(call, pod, target.scheme, _number(pod, port))

    async def service(self, call: Call) -> Answer:
        """A request to one of the pods that serve."""
        target = split_name(call.route.name)
        namespace = call.route.namespace
        entry = call.served.bucket.get(call.served.key(namespace, target.name))
        if entry is None:
            raise refuse_not_found("", "services", target.name)
        name = _port_of(entry.object(), target.port)
        if name is None:
            raise unavailable(f'no service port "{target.port}" found for service "{target.name}"')
        found = []
        for part in call.core.registry.bucket("discovery.k8s.io", "endpointslices").scan(namespace):
            if part.labels.get(_SERVICE_LABEL) == target.name:
                found += _ready(part.object(), name)
        if not found:
            raise unavailable(f'no endpoints available for service "{call.route.name}"')
        pod_name, port = secrets.choice(found)
        there = call.core.registry.bucket("", "pods").get(f"{namespace}/{pod_name}")
        if there is None:
            raise unavailable(f'no endpoints available for service "{call.route.name}"')
        return await self._to_pod(call, there.object(), target.scheme, port)

    async def node(self, call: Call) -> Answer:
        """A request to the kubelet of a node; another port than its own is refused."""
        target = split_name(call.route.name)
        kubelet = self._kubelets.of_node(call.core, target.name)
        if target.port and target.port != str(kubelet.port):
            raise refuse_bad_request(f"address not allowed: only port {kubelet.port} of a node is reached by proxy")
        return await self._hand_on(call, kubelet, "")

    async def _to_pod(self, call: Call, pod: Object, scheme: str, port: int) -> Answer:
        metadata = pod["metadata"]
        node = (pod.get("spec") or {}).get("nodeName")
        if not node or not (pod.get("status") or {}).get("podIP"):
            raise refuse_bad_request("address not allowed")
        prefix = f"/proxy/{quote(metadata['namespace'])}/{quote(metadata['name'])}/{scheme}/{port}"
        return await self._hand_on(call, self._kubelets.of_node(call.core, node), prefix)

    async def _hand_on(self, call: Call, kubelet: Kubelet, prefix: str) -> Answer:
        request = call.request
        before, tail = _split_target(request.target, namespaced=call.served.resource.namespaced)
        if not tail.startswith("/"):
            location = f"{before}/{tail}"
            return Response(301, b"", "text/html; charset=utf-8", (("Location", location),))
        if request.headers.get("upgrade"):
            assert request.splice is not None  # the front sets it
            return await request.splice(kubelet.host, kubelet.port, prefix + tail, self._kubelets.tls())
        return await self._exchange(call, kubelet.base + prefix + tail, before)

    async def _exchange(self, call: Call, url: str, before: str) -> Answer:
        """One request and its answer, which is streamed."""
        import aiohttp
        from yarl import URL

        request = call.request
        headers = [
            (name, value)
            for name in dict.fromkeys(request.header_names())
            if name.lower() not in _TO_BACKEND and not name.lower().startswith("impersonate-extra-")
            for value in request.all_headers(name)
        ]
        body = await request.read_body() if request.method not in ("GET", "HEAD") else None
        timeout = aiohttp.ClientTimeout(total=None, connect=10)
        session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        try:
            answer = await session.request(
                request.method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                ssl=self._kubelets.tls(),
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type", "Accept"),
            )
            if answer.headers.get(_UNREACHABLE):
                text = (await answer.read()).decode("utf-8", "replace").strip()
                raise unavailable(f"error trying to reach service: {text}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            await session.close()
            raise unavailable(f"error trying to reach service: {error or 'timed out'}") from error
        except BaseException:
            await session.close()
            raise

        async def run(sink: Sink) -> None:
            try:
                async for block in answer.content.iter_any():
                    sink.write(block)
                    await sink.drain()
            finally:
                await session.close()

        shown = [(name, value) for name, value in answer.headers.items() if name.lower() not in _TO_CLIENT]
        shown = [(name, _moved(value, before) if name.lower() == "location" else value) for name, value in shown]
        kind = answer.headers.get("Content-Type", "application/octet-stream")
        return Stream(run, kind, answer.status, tuple(shown))


def proxies(kubelets: Kubelets) -> dict[tuple[str, str, str], Callable[[Call], Any]]:
    """The handlers by group, resource and subresource."""
    found = Proxies(kubelets)
    return {
        ("", "pods", "proxy"): found.pod,
        ("", "services", "proxy"): found.service,
        ("", "nodes", "proxy"): found.node,
    }


def _split_target(target: str, *, namespaced: bool) -> tuple[str, str]:
    """The request target up to `proxy`, and what comes after it."""
    parts = target.split("/", 8 if namespaced else 6)
    place = 7 if namespaced else 5
    head, rest = "/".join(parts[: place + 1]), "/".join(parts[place + 1 :])
    if len(parts) > place + 1:
        return head, f"/{rest}"
    path, mark, query = head.partition("?")
    return path, f"{mark}{query}"


def _moved(location: str, before: str) -> str:
    """A redirect to a path of the same server, as it is called from outside."""
    return f"{before}{location}" if location.startswith("/") and not location.startswith("//") else location


def _first_port(pod: Object) -> str:
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            return str(port["containerPort"])
    return "80"


def _number(pod: Object, port: str) -> int:
    """A port by number or by the name that a container gives it; raises Refusal for neither."""
    if port.isdigit() and 0 < int(port) < 65536:
        return int(port)
    if not port_name(port):
        for container in (pod.get("spec") or {}).get("containers") or ():
            for declared in container.get("ports") or ():
                if declared.get("name") == port:
                    return int(declared["containerPort"])
    raise refuse_bad_request(f'invalid port "{port}" for pod {pod["metadata"]["name"]}')


def _port_of(service: Object, asked: str) -> str | None:
    """The name of the service port asked for by name or number; None where there is no such port."""
    ports = (service.get("spec") or {}).get("ports") or []
    if not asked:
        return str(ports[0].get("name", "")) if len(ports) == 1 else "" if not ports else None
    for port in ports:
        if asked in (port.get("name"), str(port.get("port"))):
            return str(port.get("name", ""))
    return None


def _ready(part: Object, name: str) -> list[tuple[str, int]]:
    """(pod, port) of the ready endpoints of a slice that have a port of that name."""
    numbers: list[Any] = [one.get("port") for one in part.get("ports") or () if (one.get("name") or "") == name]
    return [
        (target["name"], int(numbers[0]))
        for endpoint in part.get("endpoints") or ()
        if numbers
        and numbers[0]
        and (endpoint.get("conditions") or {}).get("ready", True)
        and (target := endpoint.get("targetRef") or {}).get("kind") == "Pod"
    ]
