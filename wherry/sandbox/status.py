"""What `wherry status` tells of a sandbox: collected from its supervisor and its API server, shown as text or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from wherry.cloud.ccm.names import UNINITIALIZED
from wherry.kernel.supervise import ProcessStatus
from wherry.sandbox import control
from wherry.sandbox.api import Api, ApiUnavailable
from wherry.sandbox.control import Request, Unreachable
from wherry.sandbox.layout import Layout
from wherry.sandbox.published import Published


class NodeReport(msgspec.Struct, frozen=True, rename="camel"):
    """A node: whether it has power, and what the API says of it."""

    name: str
    addresses: list[str]
    running: bool
    ready: bool
    pod_ranges: list[str]
    pods: int
    isolated_from: list[str]


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """A sandbox; memory in bytes, shared pages counted once."""

    name: str
    healthy: bool
    api: str
    kubeconfig: str
    problem: str
    memory: int
    processes: list[ProcessStatus]
    nodes: list[NodeReport]
    published: list[Published]


def collect(layout: Layout) -> Report:
    """Ask the supervisor and the API server. Raises ConfigError where there is no such sandbox, ControlError."""
    record = layout.load()
    option = "" if layout.name == "default" else f" --name {layout.name}"
    url = f"https://127.0.0.1:{record.api_port}"
    try:
        reply = control.ask(layout.control, Request("status"))
    except Unreachable:
        problem = f"its supervisor has died; end it by `wherry down{option}` and start it anew"
        return Report(layout.name, False, url, str(layout.kubeconfig), problem, 0, [], [], record.published)
    problem = ""
    known: dict[str, dict[str, Any]] = {}
    pods: dict[str, int] = {}
    try:
        api = Api(layout.kubeconfig)
        known = {node["metadata"]["name"]: node for node in api.get("/api/v1/nodes")["items"]}
        for pod in api.get("/api/v1/pods")["items"]:
            node = pod["spec"].get("nodeName", "")
            pods[node] = pods.get(node, 0) + 1
    except ApiUnavailable as error:
        problem = f"the API server does not answer: {error}"
    nodes = [
        NodeReport(
            node.name,
            node.addresses,
            node.running,
            _ready(known.get(node.name, {})),
            known.get(node.name, {}).get("spec", {}).get("podCIDRs", []),
            pods.get(node.name, 0),
            node.isolated_from,
        )
        for node in reply.nodes
    ]
    waiting = sorted(name for name, node in known.items() if _uninitialized(node))
    if waiting and record.values.get("disable-cloud-controller") and not problem:
        problem = (
            f"nothing is scheduled on {', '.join(waiting)}: taint {UNINITIALIZED} waits for a cloud controller, and "
            "the embedded one is off (--disable-cloud-controller); deploy another one"
        )
    down = [process.name for process in reply.processes if not process.pid]
    if down and not problem:
        problem = f"not running: {', '.join(down)}"
    healthy = not problem and all(node.ready for node in nodes if node.running and not node.isolated_from)
    # The children of a runtime are the programs of containers.
    memory = _memory(reply.pid) + sum(
        _memory(pid)
        for process in reply.processes
        for pid in ([process.pid] if process.name.startswith("runtime-") else _with_children(process.pid))
    )
    return Report(
        layout.name,
        healthy,
        url,
        str(layout.kubeconfig),
        problem,
        memory,
        reply.processes,
        nodes,
        record.published,
    )


def render_json(report: Report) -> str:
    """The report for programs."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def render_text(report: Report) -> str:
    """The report for people."""
    lines = [f"sandbox {report.name}: {'healthy' if report.healthy else 'NOT healthy'}"]
    if report.problem:
        lines.append(f"  {report.problem}")
    lines += [f"  API         {report.api}", f"  kubeconfig  {report.kubeconfig}"]
    for number, way in enumerate(report.published):
        lines.append(f"  {'' if number else 'published':10}  {way}")
    if report.memory:
        lines.append(f"  memory      {report.memory / (1 << 20):.0f} MB")
    nodes = [("NODE", "STATUS", "ADDRESSES", "POD RANGES", "PODS")] + [
        (
            node.name,
            _state(node),
            ",".join(node.addresses),
            ",".join(node.pod_ranges) or "-",
            str(node.pods),
        )
        for node in report.nodes
    ]
    processes = [("PROCESS", "PID", "UP", "RESTARTS", "LAST EXIT")] + [
        (
            process.name,
            str(process.pid or "-"),
            f"{process.uptime:.0f}s",
            str(process.restarts),
            process.last_exit or "-",
        )
        for process in report.processes
    ]
    return "\n".join([*lines, "", *_table(nodes), "", *_table(processes)])


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _state(node: NodeReport) -> str:
    state = ("Ready" if node.ready else "NotReady") if node.running else "stopped"
    return f"{state},isolated-from:{','.join(node.isolated_from)}" if node.isolated_from else state


def _ready(node: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))


def _uninitialized(node: dict[str, Any]) -> bool:
    return any(taint["key"] == UNINITIALIZED for taint in node["spec"].get("taints", []))


def _with_children(pid: int) -> list[int]:
    """A process, its children and theirs (proc(5): children of a task)."""
    found = [pid]
    for parent in found:
        try:
            found += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            # It ended meanwhile, or this kernel does not tell.
            continue
    return found


def _memory(pid: int) -> int:
    """A process's memory in bytes, a page shared by n processes counted as 1/n (the Pss of proc(5))."""
    if not pid:
        return 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
    except (FileNotFoundError, ProcessLookupError, PermissionError, StopIteration):
        # It ended meanwhile, or the kernel hides it: a figure for people, not worth failing for.
        return 0
