"""Subresources that end at a kubelet: log, exec, attach, port-forward.

The API server decides who may; the kubelet of the pod's node does the work, and trusts our client certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from wherry.apiserver.core import Call, Core
from wherry.apiserver.kinds.model import (
    Object,
    Refusal,
    forbidden,
    invalid,
    refuse_bad_request,
    refuse_invalid,
    refuse_not_found,
)
from wherry.apiserver.request import Answer, Response, Sink, Stream
from wherry.apiserver.status import failure, internal, unavailable

_DEFAULT_PORT = 10250
_BLOCK = 1 << 16
_LOG_OPTIONS = ("follow", "previous", "timestamps", "tailLines", "limitBytes", "sinceSeconds", "sinceTime")
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


class KubeletTls(NamedTuple):
    """How the server shows itself to kubelets, and whom it believes to be one."""

    certificate: Path
    key: Path
    authority: Path


class Kubelet(NamedTuple):
    """Where a pod's kubelet listens."""

    host: str
    port: int

    @property
    def base(self) -> str:
        """The start of its URLs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


class Kubelets:
    """Finds kubelets and speaks to them."""

    def __init__(self, tls: KubeletTls | None) -> None:
        self._files = tls
        self._context: ssl.SSLContext | None = None

    def tls(self) -> ssl.SSLContext:
        """How connections to kubelets are made; raises Refusal where the server has no certificate for them."""
        if self._files is None:
            raise unavailable("this server has no client certificate for kubelets")
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self._files.authority))
            self._context.load_cert_chain(self._files.certificate, self._files.key)
        return self._context

    async def log(self, call: Call) -> Answer:
        """What a container wrote, as a whole or as it comes."""
        pod = _pod(call)
        query = call.request.query
        container = _container(pod, query.get("container"))
        _check_log_options(call)
        kubelet = self._find(call, pod)
        if kubelet is None:
            return Response(204, b"", "")
        asked = {name: query.get(name) for name in _LOG_OPTIONS if query.get(name)}
        path = f"/containerLogs/{_segments(call)}/{quote(container)}"
        return await self._fetch(kubelet, path + (f"?{urlencode(asked)}" if asked else ""))

    async def _fetch(self, kubelet: Kubelet, target: str) -> Answer:
        import aiohttp

        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, connect=10))
        try:
            answer = await session.get(kubelet.base + target, ssl=self.tls())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            await session.close()
            raise internal(f'Get "{kubelet.base}{target}": {error}') from error
        except BaseException:
            await session.close()
            raise
        if answer.status != 200:
            try:
                text = (await answer.read()).decode("utf-8", "replace").strip()
            finally:
                await session.close()
            raise _from_kubelet(answer.status, text)

        async def run(sink: Sink) -> None:
            try:
                async for block in answer.content.iter_any():
                    sink.write(block)
                    await sink.drain()
            finally:
                await session.close()

        return Stream(run, "text/plain")

    async def exec(self, call: Call) -> Answer:
        """Run a command in a container."""
        return await self._upgrade(call, "exec", [("command", word) for word in call.request.query.all("command")])

    async def attach(self, call: Call) -> Answer:
        """Join the streams of a running container."""
        return await self._upgrade(call, "attach", [])

    async def port_forward(self, call: Call) -> Answer:
        """Carry connections into the pod."""
        pod = _pod(call)
        asked = [("port", port) for port in call.request.query.all("ports")]
        return await self._splice(call, pod, f"/portForward/{_segments(call)}", asked)

    async def _upgrade(self, call: Call, what: str, asked: list[tuple[str, str]]) -> Answer:
        pod = _pod(call)
        query = call.request.query
        container = _container(pod, query.get("container"))
        asked += [(there, "1") for here, there in _STREAMS.items() if query.flag(here)]
        return await self._splice(call, pod, f"/{what}/{_segments(call)}/{quote(container)}", asked)

    async def _splice(self, call: Call, pod: Object, path: str, asked: list[tuple[str, str]]) -> Answer:
        request = call.request
        kubelet = self._find(call, pod)
        if kubelet is None:
            raise refuse_bad_request(f"pod {call.route.name} does not have a host assigned")
        if not request.headers.get("upgrade"):
            raise refuse_bad_request("Upgrade request required")
        assert request.splice is not None  # the front sets it
        target = path + (f"?{urlencode(asked)}" if asked else "")
        return await request.splice(kubelet.host, kubelet.port, target, self.tls())

    def _find(self, call: Call, pod: Object) -> Kubelet | None:
        """The kubelet of the pod's node; None while the pod has none. Raises Refusal where the node is unknown."""
        name = pod.get("spec", {}).get("nodeName", "")
        return self.of_node(call.core, name) if name else None

    def of_node(self, core: Core, name: str) -> Kubelet:
        """The kubelet of a node. Raises Refusal where there is no such node, or none that can be reached."""
        entry = core.registry.bucket("", "nodes").get(name)
        if entry is None:
            raise refuse_not_found("", "nodes", name)
        status: dict[str, Any] = entry.object().get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or _DEFAULT_PORT
        addresses = {one["type"]: one["address"] for one in reversed(status.get("addresses") or ())}
        for kind in ("InternalIP", "ExternalIP", "Hostname"):
            if kind in addresses:
                return Kubelet(addresses[kind], port)
        raise internal(f"no preferred addresses found for node {name}")


def handlers(kubelets: Kubelets) -> dict[tuple[str, str, str], Callable[[Call], Any]]:
    """The handlers by group, resource and subresource."""
    return {
        ("", "pods", "log"): kubelets.log,
        ("", "pods", "exec"): kubelets.exec,
        ("", "pods", "attach"): kubelets.attach,
        ("", "pods", "portforward"): kubelets.port_forward,
    }


def _pod(call: Call) -> Object:
    entry = call.served.bucket.get(call.key)
    if entry is None:
        raise refuse_not_found(call.served.group, call.served.plural, call.route.name)
    return call.served.object(entry)


def _check_log_options(call: Call) -> None:
    query, errors = call.request.query, []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        text = query.get(name)
        if not text:
            continue
        if not text.lstrip("-").isdigit():
            raise refuse_bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        if int(text) < least:
            errors.append(invalid(name, int(text), f"must be greater than {'or equal to ' if not least else ''}0"))
    if query.get("sinceSeconds") and query.get("sinceTime"):
        errors.append(forbidden("sinceSeconds", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if errors:
        raise refuse_invalid("", "PodLogOptions", call.route.name, errors)


def _segments(call: Call) -> str:
    return f"{quote(call.route.namespace)}/{quote(call.route.name)}"


def _container(pod: Object, asked: str) -> str:
    """The container a request is about; raises Refusal where it is not clear."""
    name, spec = pod["metadata"]["name"], pod.get("spec", {})
    plain = [one["name"] for one in spec.get("containers") or ()]
    initial = [one["name"] for one in spec.get("initContainers") or ()]
    ephemeral = [one["name"] for one in spec.get("ephemeralContainers") or ()]
    if asked:
        if asked not in (*plain, *initial, *ephemeral):
            raise refuse_bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(plain) == 1:
        return str(plain[0])
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in plain:
        return str(default)
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(plain)}]"
    if initial:
        text += f" or one of the init containers: [{' '.join(initial)}]"
    raise refuse_bad_request(text)


def _from_kubelet(status: int, text: str) -> Refusal:
    """What a kubelet refused, passed on."""
    reasons = {400: "BadRequest", 403: "Forbidden", 404: "NotFound"}
    return failure(status, reasons.get(status, "InternalError"), text or f"the kubelet answered {status}")
