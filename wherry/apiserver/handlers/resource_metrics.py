"""metrics.k8s.io: what nodes and pods use right now, asked of the kubelets when somebody wants to know.

The Kubernetes metrics server scrapes all nodes all the time; here nothing runs until `kubectl top` asks. A kubelet
knows a rate of processor time once it has read its counters twice, so the first question is asked a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from wherry.apiserver.core import Call
from wherry.apiserver.encode import payload
from wherry.apiserver.handlers.body import warn
from wherry.apiserver.handlers.connect import Kubelets
from wherry.apiserver.handlers.options import read_list_options
from wherry.apiserver.handlers.selection import Selection
from wherry.apiserver.kinds.model import Object, Refusal, refuse_not_found
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.kinds.resourcemetrics import GROUP
from wherry.apiserver.negotiate import PLAIN
from wherry.apiserver.request import Answer, Response
from wherry.apiserver.storage import Entry

_TIMEOUT = 5.0
_WINDOW = 1.05
"""Seconds between two readings from which a kubelet makes a rate."""
_PATH = "/stats/summary?only_cpu_and_memory=true"

Summary = dict[str, Any]


class ResourceMetrics:
    """The handlers of both resources."""

    def __init__(self, kubelets: Kubelets) -> None:
        self._kubelets = kubelets

    async def nodes(self, call: Call) -> Answer:
        """NodeMetrics of one node or of those that a selector chooses."""
        chosen = self._chosen(call, "nodes")
        summaries = await self._summaries(call, [entry.name for entry in chosen])
        items = []
        for entry in chosen:
            found = (summaries.get(entry.name) or {}).get("node") or {}
            usage = _usage(found)
            if usage is not None:
                items.append(self._item(call, entry, found, {"usage": usage}))
        return self._answer(call, items)

    async def pods(self, call: Call) -> Answer:
        """PodMetrics of one pod or of those that a selector chooses."""
        chosen = {(entry.namespace, entry.name): entry for entry in self._chosen(call, "pods")}
        placed: dict[str, list[Entry]] = {}
        for entry in chosen.values():
            if node := (entry.object().get("spec") or {}).get("nodeName"):
                placed.setdefault(node, []).append(entry)
        summaries = await self._summaries(call, placed)
        items = []
        for summary in summaries.values():
            for pod in summary.get("pods") or ():
                reference = pod.get("podRef") or {}
                known = chosen.get((reference.get("namespace", ""), reference.get("name", "")))
                if known is None or known.uid != reference.get("uid"):
                    continue
                containers = [
                    {"name": one.get("name", ""), "usage": usage}
                    for one in pod.get("containers") or ()
                    if (usage := _usage(one)) is not None
                ]
                if containers:
                    items.append(self._item(call, known, pod, {"containers": containers}))
        items.sort(key=lambda item: (item["metadata"].get("namespace", ""), item["metadata"]["name"]))
        return self._answer(call, items)

    def _chosen(self, call: Call, plural: str) -> list[Entry]:
        """The stored objects that the request is about; raises Refusal for one that does not exist."""
        served = call.core.registry.lookup("", "v1", plural)
        assert served is not None  # built in
        route = call.route
        if route.name:
            entry = served.bucket.get(served.key(route.namespace, route.name))
            if entry is None:
                raise refuse_not_found(GROUP, plural, route.name)
            return [entry]
        match = Selection(served, read_list_options(call.request.query, watching=False)).match
        return [entry for entry in served.bucket.scan(route.namespace) if match is None or match(entry)]

    # -- kubelets --------------------------------------------------------------------------------------------------

    async def _summaries(self, call: Call, nodes: Iterable[str]) -> dict[str, Summary]:
        """What each node says; one that cannot be asked is left out, which the client is told."""
        import aiohttp

        found: dict[str, Summary] = {}
        names = [*nodes]
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            found = await self._ask(call, session, names)
            young = [name for name, summary in found.items() if _usage(summary.get("node") or {}) is None]
            if young:
                await asyncio.sleep(_WINDOW)
                found.update(await self._ask(call, session, young))
        return found

    async def _ask(self, call: Call, session: Any, names: list[str]) -> dict[str, Summary]:
        answers = await asyncio.gather(*(self._read(call, session, name) for name in names))
        return {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}

    async def _read(self, call: Call, session: Any, name: str) -> Summary | None:
        import aiohttp

        try:
            kubelet = self._kubelets.of_node(call.core, name)
            async with session.get(kubelet.base + _PATH, ssl=self._kubelets.tls()) as answer:
                body = await answer.read()
                if answer.status != 200:
                    raise OSError(f"the kubelet answered {answer.status}")
                summary: Summary = msgspec.json.decode(body)
                return summary
        except (aiohttp.ClientError, OSError, TimeoutError, Refusal, msgspec.DecodeError) as error:
            warn(call.request, f"node {name} is left out: {error or 'it does not answer'}".replace("\n", " "))
            return None

    # -- answers ---------------------------------------------------------------------------------------------------

    def _item(self, call: Call, entry: Entry, found: Mapping[str, Any], rest: Object) -> Object:
        now = format_time(call.core.clock())
        metadata: Object = {"name": entry.name, "creationTimestamp": now}
        if entry.namespace:
            metadata["namespace"] = entry.namespace
        if entry.labels:
            metadata["labels"] = dict(entry.labels)
        return {
            "metadata": metadata,
            "timestamp": (found.get("cpu") or {}).get("time") or now,
            "window": "10s",
            **rest,
        }

    def _answer(self, call: Call, items: list[Object]) -> Response:
        row, route = call.served.resource, call.route
        head = {"kind": row.kind, "apiVersion": row.api_version}
        if route.name:
            if not items:
                raise refuse_not_found(GROUP, row.plural, route.name)
            return Response(200, payload(PLAIN, {**head, **items[0]}))
        head["kind"] = row.list_kind
        return Response(200, payload(PLAIN, {**head, "metadata": {}, "items": items}))


def _usage(found: Mapping[str, Any]) -> Object | None:
    """Processor time per second and the working set; None while a kubelet knows no rate yet."""
    rate = (found.get("cpu") or {}).get("usageNanoCores")
    if rate is None:
        return None
    memory = (found.get("memory") or {}).get("workingSetBytes", 0)
    return {"cpu": f"{rate}n" if rate else "0", "memory": f"{memory // 1024}Ki" if memory >= 1024 else str(memory)}
