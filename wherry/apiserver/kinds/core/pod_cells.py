"""The cells of `kubectl get pods`: readiness, a status word, restarts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds.model import AGE_COLUMN, NAME_COLUMN, Column, Object
from wherry.apiserver.kinds.printing import NONE, age, human_duration, name_of, parse_time

COLUMNS = (
    NAME_COLUMN,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        description="The number of times the containers in this pod have been restarted and when the last container "
        "in this pod has restarted.",
    ),
    AGE_COLUMN,
    Column("IP", description=".status.podIP", priority=1),
    Column("Node", description=".spec.nodeName", priority=1),
    Column("Nominated Node", description=".status.nominatedNodeName", priority=1),
    Column("Readiness Gates", description=".spec.readinessGates", priority=1),
)


class _Restarts:
    """A count of restarts and the time of the last one."""

    def __init__(self) -> None:
        self.count = 0
        self.last: datetime | None = None

    def add(self, status: Object) -> None:
        self.count += status.get("restartCount", 0)
        finished = parse_time(((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
        if finished is not None and (self.last is None or finished > self.last):
            self.last = finished

    def text(self, now: datetime) -> str:
        if self.count and self.last is not None:
            return f"{self.count} ({human_duration((now - self.last).total_seconds())} ago)"
        return str(self.count)


def _ended(terminated: Object) -> str:
    """Why a container ended."""
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _true(conditions: Sequence[Object], kind: str) -> bool:
    return any(item.get("type") == kind and item.get("status") == "True" for item in conditions)


class _Summary:
    """What the statuses of all containers add up to."""

    def __init__(self, pod: Object) -> None:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        self.conditions: Sequence[Object] = status.get("conditions") or ()
        self.init = spec.get("initContainers") or []
        self.sidecars = {c["name"] for c in self.init if c.get("restartPolicy") == "Always"}
        self.total = len(spec.get("containers") or ()) + len(self.sidecars)
        self.ready = 0
        self.restarts = _Restarts()
        self.reason: str = status.get("reason") or status.get("phase", "")
        if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in self.conditions):
            self.reason = "SchedulingGated"
        sidecar_restarts = _Restarts()
        initializing = self._initialization(status.get("initContainerStatuses") or (), sidecar_restarts)
        if not initializing or _true(self.conditions, "Initialized"):
            self.restarts = sidecar_restarts
            self._main(status.get("containerStatuses") or ())
        if "deletionTimestamp" in pod["metadata"]:
            if status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif status.get("phase") not in ("Succeeded", "Failed"):
                self.reason = "Terminating"

    def _initialization(self, statuses: Sequence[Object], sidecar_restarts: _Restarts) -> bool:
        """Look for the init container that is not done; whether there is one."""
        for index, item in enumerate(statuses):
            self.restarts.add(item)
            sidecar = item.get("name") in self.sidecars
            if sidecar:
                sidecar_restarts.add(item)
            state = item.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting") or {}
            if terminated is not None and terminated.get("exitCode", 0) == 0:
                continue
            if sidecar and item.get("started"):
                self.ready += bool(item.get("ready"))
                continue
            if terminated is not None:
                self.reason = f"Init:{_ended(terminated)}"
            elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{index}/{len(self.init)}"
            return True
        return False

    def _main(self, statuses: Sequence[Object]) -> None:
        running = False
        for item in reversed(statuses):
            self.restarts.add(item)
            state = item.get("state") or {}
            waiting, terminated = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason"):
                self.reason = waiting["reason"]
            elif terminated is not None:
                self.reason = _ended(terminated)
            elif item.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            self.reason = "Running" if _true(self.conditions, "Ready") else "NotReady"


def _gates(spec: Object, conditions: Sequence[Object]) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return NONE
    passed = sum(_true(conditions, gate.get("conditionType", "")) for gate in gates)
    return f"{passed}/{len(gates)}"


def pod_cells(pod: Object, now: datetime) -> list[Any]:
    """One row."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    summary = _Summary(pod)
    addresses = status.get("podIPs") or ()
    return [
        name_of(pod),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        summary.restarts.text(now),
        age(pod, now),
        (addresses[0].get("ip") if addresses else "") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(spec, summary.conditions),
    ]


def pod_row_conditions(pod: Object) -> list[Object]:
    """The condition `Completed` of finished pods."""
    phase = (pod.get("status") or {}).get("phase")
    message = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}.get(phase or "")
    if message is None:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": message}]
