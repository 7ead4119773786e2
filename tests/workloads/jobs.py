"""Jobs and their pods for tables of tests."""

from __future__ import annotations

from typing import Any

from tests.workloads.make import STAMP, START, meta, of
from wherry.kube.objects import Pod
from wherry.workloads.batch import Job
from wherry.workloads.job.pods import FINALIZER, INDEX

NOW = START + 60
SELF = {"startTime": STAMP}
"""The status of a job that started a minute ago."""

_PHASES = {"P": "Pending", "R": "Running", "S": "Succeeded", "F": "Failed", "D": "Running"}


def job(
    name: str = "j", *, status: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **spec: Any
) -> Job:
    """A job of one completion unless told otherwise; ``pod`` is added to its pods' spec."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}], **(pod or {})}}
    whole = {"completions": 1, "parallelism": 1, "template": template, **spec}
    return of(Job, {"metadata": meta(name, "default"), "spec": whole, "status": status or {}})


def pod(
    name: str,
    *,
    state: str = "R",
    index: int | None = None,
    code: int = 1,
    phase: str = "",
    annotations: dict[str, str] | None = None,
    conditions: list[str] | None = None,
    restarts: int = 0,
    finalizers: list[str] | None = None,
) -> Pod:
    """A pod of the job: Pending, Running, Succeeded, Failed with an exit code, or Deleted while running."""
    phase = phase or _PHASES[state]
    notes = {**({INDEX: str(index)} if index is not None else {}), **(annotations or {})}
    metadata = meta(name, "default", annotations=notes, finalizers=[FINALIZER] if finalizers is None else finalizers)
    if state == "D":
        metadata["deletionTimestamp"] = STAMP
    container: dict[str, Any] = {"name": "main", "restartCount": restarts}
    if phase in ("Succeeded", "Failed"):
        ended = {"exitCode": code if phase == "Failed" else 0, "finishedAt": STAMP}
        container["state"] = {"terminated": ended}
    return of(
        Pod,
        {
            "metadata": metadata,
            "spec": {"nodeName": "n", "containers": [{"name": "main"}]},
            "status": {
                "phase": phase,
                "conditions": [{"type": each, "status": "True"} for each in conditions or ()],
                "containerStatuses": [container],
            },
        },
    )
