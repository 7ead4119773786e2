from __future__ import annotations

import pytest

from wherry.apiserver.kinds.core.pod_cells import pod_cells, pod_row_conditions


def _pod(status, *, init=0, deleted=False, containers=1):
    metadata = {"name": "p", "creationTimestamp": "2026-01-01T11:55:00Z"}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    spec = {
        "containers": [{"name": f"c{i}"} for i in range(containers)],
        "initContainers": [{"name": f"i{i}"} for i in range(init)],
    }
    return {"metadata": metadata, "spec": spec, "status": status}


def _status(name, state, **more):
    return {"name": name, "state": state, **more}


WAITING = {"waiting": {"reason": "CrashLoopBackOff"}}
RUNNING = {"running": {"startedAt": "2026-01-01T11:59:00Z"}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (_pod({"phase": "Pending"}), ["0/1", "Pending", "0"]),
        (
            _pod({"phase": "Running", "containerStatuses": [_status("c0", RUNNING, ready=True)]}),
            ["1/1", "Running", "0"],
        ),
        (
            _pod(
                {
                    "phase": "Running",
                    "containerStatuses": [
                        _status(
                            "c0",
                            WAITING,
                            restartCount=3,
                            lastState={"terminated": {"finishedAt": "2026-01-01T11:57:00Z"}},
                        )
                    ],
                }
            ),
            ["0/1", "CrashLoopBackOff", "3 (3m ago)"],
        ),
        (
            _pod({"phase": "Succeeded", "containerStatuses": [_status("c0", {"terminated": {"reason": "Completed"}})]}),
            ["0/1", "Completed", "0"],
        ),
        (
            _pod({"phase": "Failed", "containerStatuses": [_status("c0", {"terminated": {"exitCode": 3}})]}),
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            _pod({"phase": "Failed", "containerStatuses": [_status("c0", {"terminated": {"signal": 9}})]}),
            ["0/1", "Signal:9", "0"],
        ),
        (
            _pod({"phase": "Pending", "initContainerStatuses": [_status("i0", RUNNING)]}, init=2),
            ["0/1", "Init:0/2", "0"],
        ),
        (
            _pod(
                {
                    "phase": "Pending",
                    "initContainerStatuses": [
                        _status("i0", {"terminated": {"exitCode": 0}}),
                        _status("i1", WAITING, restartCount=2),
                    ],
                },
                init=2,
            ),
            ["0/1", "Init:CrashLoopBackOff", "2"],
        ),
        (
            _pod(
                {"phase": "Pending", "initContainerStatuses": [_status("i0", {"terminated": {"exitCode": 1}})]}, init=1
            ),
            ["0/1", "Init:ExitCode:1", "0"],
        ),
        (
            _pod(
                {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [
                        _status("c0", {"terminated": {"reason": "Completed"}}),
                        _status("c1", RUNNING, ready=True),
                    ],
                },
                containers=2,
            ),
            ["1/2", "Running", "0"],
        ),
        (_pod({"phase": "Running"}, deleted=True), ["0/1", "Terminating", "0"]),
        (_pod({"phase": "Succeeded"}, deleted=True), ["0/1", "Succeeded", "0"]),
        (_pod({"phase": "Running", "reason": "NodeLost"}, deleted=True), ["0/1", "Unknown", "0"]),
        (_pod({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted", "0"]),
        (
            _pod({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            ["0/1", "SchedulingGated", "0"],
        ),
    ],
)
def test_ready_status_and_restarts(server, pod, expected):
    cells = pod_cells(pod, server.ctx.now())
    assert cells[1:4] == expected
    assert cells[4] == "5m"


@pytest.mark.parametrize(("phase", "reason"), [("Running", None), ("Succeeded", "Succeeded"), ("Failed", "Failed")])
def test_finished_pods_are_marked_completed(phase, reason):
    conditions = pod_row_conditions(_pod({"phase": phase}))
    assert [item["reason"] for item in conditions] == ([reason] if reason else [])
