"""What the node's pods use, as `/stats/summary` and `/metrics/resource` tell it.

Sources: stats.k8s.io/v1alpha1 (k8s.io/kubelet/pkg/apis/stats), the kubelet's resource metrics (KEP-1206). Containers
have no cgroups here, so figures come from their processes. Stand-ins have none and use nothing of their own: what all
of a node's stand-ins cost is in the runtime's, among the node's system containers. The node's figures are those of its
pods, its agent and its runtime, as several nodes may share the machine.

Nothing runs between requests. A rate is that since the last sample at least a second old, and the first time that since
the container was started.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from wherry.kube.times import format_time
from wherry.pods.api.usage import (
    Traffic,
    Usage,
    memory_available,
    seen_from_the_other_end,
    traffic,
    usage_alone,
    usage_of,
)

_WINDOW = 1.0
"""Seconds between the two samples of a rate, at least."""
_LONGEST_WINDOW = 120.0
"""Samples older than this are not compared with; a rate is to tell of now."""


class ContainerSeen(Struct, frozen=True):
    """A running container; ``pid`` is 0 for a stand-in."""

    id: str
    name: str
    pid: int
    started_at: float


class PodSeen(Struct, frozen=True):
    """A pod and its running containers; ``interface`` is the node's end of its veth pair, empty with hostNetwork."""

    namespace: str
    name: str
    uid: str
    started_at: str
    interface: str
    containers: tuple[ContainerSeen, ...]


class NodeSeen(Struct, frozen=True):
    """The node's own processes by the name of their system container, and its pods."""

    name: str
    started_at: float
    system: Mapping[str, int]
    pods: tuple[PodSeen, ...]


class Sample(Struct, frozen=True):
    """What one container, or the whole node, used at a moment; ``rate`` in billionths of a core."""

    time: float
    usage: Usage
    rate: int


class Reading(Struct, frozen=True):
    """Everything read at one moment; samples by container id, the node's own under its system containers' names."""

    time: float
    samples: Mapping[str, Sample]
    interfaces: Mapping[str, Traffic]
    available: int


class Sampler:
    """Reads what a node uses; remembers one older sample of each container for rates."""

    def __init__(self) -> None:
        self._before: dict[str, Sample] = {}

    def read(self, node: NodeSeen, now: float) -> Reading:
        """Read everything once, a fraction of a millisecond for each process; `now` in seconds since the epoch."""
        samples: dict[str, Sample] = {}
        for name, pid in node.system.items():
            samples[name] = self._sample(name, usage_alone(pid), node.started_at, now)
        for pod in node.pods:
            for container in pod.containers:
                usage = usage_of(container.pid) if container.pid else Usage()
                samples[container.id] = self._sample(container.id, usage, container.started_at, now)
        for id_ in self._before.keys() - samples.keys():
            del self._before[id_]
        with open("/proc/thread-self/net/dev", encoding="ascii", errors="replace") as file:
            interfaces = traffic(file.read())
        with open("/proc/meminfo", encoding="ascii", errors="replace") as file:
            available = memory_available(file.read())
        return Reading(now, samples, interfaces, available)

    def _sample(self, id_: str, usage: Usage, started_at: float, now: float) -> Sample:
        before = self._before.get(id_)
        if before is not None and now - before.time < _WINDOW:
            return Sample(now, usage, before.rate)
        if before is None or now - before.time > _LONGEST_WINDOW or usage.cpu < before.usage.cpu:
            rate = usage.cpu / max(now - started_at, _WINDOW)
        else:
            rate = (usage.cpu - before.usage.cpu) / (now - before.time)
        sample = Sample(now, usage, int(rate))
        self._before[id_] = sample
        return sample


def system_processes(runtime_pid: int) -> dict[str, int]:
    """The node's own processes, seen from its agent; the runtime's is 0 while there is none."""
    return {"kubelet": os.getpid(), **({"runtime": runtime_pid} if runtime_pid else {})}


def summary(node: NodeSeen, reading: Reading, *, only_cpu_and_memory: bool = False) -> dict[str, Any]:
    """The answer of `/stats/summary`. Pure."""
    pods = [_pod(pod, reading, only_cpu_and_memory) for pod in node.pods]
    total = _sum(reading.samples.values())
    stamp = format_time(reading.time)
    document: dict[str, Any] = {
        "nodeName": node.name,
        "startTime": format_time(node.started_at),
        "systemContainers": [
            {"name": name, "startTime": format_time(node.started_at), **_figures(reading.samples[name], stamp)}
            for name in node.system
        ],
        **_figures(total, stamp),
    }
    document["memory"]["availableBytes"] = reading.available
    if not only_cpu_and_memory:
        outside = next((name for name in ("eth0", *sorted(reading.interfaces)) if name in reading.interfaces), "")
        document["network"] = _network(outside, reading.interfaces.get(outside, Traffic()), stamp)
    return {"node": document, "pods": pods}


def metrics(node: NodeSeen, reading: Reading) -> str:
    """The answer of `/metrics/resource` in Prometheus' text format. Pure."""
    rows: dict[str, list[str]] = {name: [] for name in _METRICS}
    stamp = int(reading.time * 1000)

    def add(name: str, labels: str, value: float) -> None:
        rows[name].append(f"{name}{labels} {value:.9g} {stamp}")

    for pod in node.pods:
        where = f'namespace="{pod.namespace}",pod="{pod.name}"'
        for container in pod.containers:
            sample = reading.samples[container.id]
            labels = f'{{container="{container.name}",{where}}}'
            add("container_cpu_usage_seconds_total", labels, sample.usage.cpu / 1e9)
            add("container_memory_working_set_bytes", labels, sample.usage.memory)
            add("container_start_time_seconds", labels, container.started_at)
        total = _sum(reading.samples[container.id] for container in pod.containers)
        add("pod_cpu_usage_seconds_total", f"{{{where}}}", total.usage.cpu / 1e9)
        add("pod_memory_working_set_bytes", f"{{{where}}}", total.usage.memory)
    total = _sum(reading.samples.values())
    add("node_cpu_usage_seconds_total", "", total.usage.cpu / 1e9)
    add("node_memory_working_set_bytes", "", total.usage.memory)
    rows["scrape_error"].append("scrape_error 0")
    lines: list[str] = []
    for name, found in rows.items():
        if found:
            kind, help_ = _METRICS[name]
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *found]
    return "\n".join([*lines, ""])


_METRICS = {
    "container_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed by the container in core-seconds"),
    "container_memory_working_set_bytes": ("gauge", "Current working set of the container in bytes"),
    "container_start_time_seconds": ("gauge", "Start time of the container since unix epoch in seconds"),
    "node_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed by the node in core-seconds"),
    "node_memory_working_set_bytes": ("gauge", "Current working set of the node in bytes"),
    "pod_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed by the pod in core-seconds"),
    "pod_memory_working_set_bytes": ("gauge", "Current working set of the pod in bytes"),
    "scrape_error": ("gauge", "1 if there was an error while getting container metrics, 0 otherwise"),
}


def _pod(pod: PodSeen, reading: Reading, only_cpu_and_memory: bool) -> dict[str, Any]:
    stamp = format_time(reading.time)
    total = _sum(reading.samples[container.id] for container in pod.containers)
    document: dict[str, Any] = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": pod.started_at,
        "containers": [
            {
                "name": container.name,
                "startTime": format_time(container.started_at),
                **_figures(reading.samples[container.id], stamp),
            }
            for container in pod.containers
        ],
        **_figures(total, stamp),
    }
    if not only_cpu_and_memory:
        found = reading.interfaces.get(pod.interface)
        if found is not None:
            document["network"] = _network("eth0", seen_from_the_other_end(found), stamp)
        document["process_stats"] = {"process_count": total.usage.processes}
    return document


def _figures(sample: Sample, stamp: str) -> dict[str, Any]:
    usage = sample.usage
    return {
        "cpu": {"time": stamp, "usageNanoCores": sample.rate, "usageCoreNanoSeconds": usage.cpu},
        "memory": {
            "time": stamp,
            "usageBytes": usage.memory,
            "workingSetBytes": usage.memory,
            "rssBytes": usage.rss,
        },
    }


def _network(name: str, found: Traffic, stamp: str) -> dict[str, Any]:
    one = {
        "name": name,
        "rxBytes": found.rx_bytes,
        "rxErrors": found.rx_errors,
        "txBytes": found.tx_bytes,
        "txErrors": found.tx_errors,
    }
    return {"time": stamp, **one, "interfaces": [one]}


def _sum(samples: Iterable[Sample]) -> Sample:
    time, usage, rate = 0.0, Usage(), 0
    for sample in samples:
        time, usage, rate = max(time, sample.time), usage + sample.usage, rate + sample.rate
    return Sample(time, usage, rate)
