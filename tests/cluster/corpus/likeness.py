"""What a real cluster reports in every ordinary case, so that an expectation names only what is its own.

``{like: NAME, ...}`` in an expectation stands for the fragment of that name with the other keys laid over it;
a key that is given as null is taken out of the fragment.
"""

from __future__ import annotations

from typing import Any


def _condition(kind: str, status: str = "True", **more: Any) -> dict[str, Any]:
    return {
        "type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": "<time>",
        "observedGeneration?": "<any>", **more,
    }  # fmt: skip


def _conditions(**unusual: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return [_condition(kind, **unusual.get(kind, {})) for kind in kinds]


_CONTAINER = {
    "name": "<any>", "image": "<any>", "imageID": "<any>", "containerID": "<id>", "restartCount": 0, "lastState": {},
    "ready": True, "started": True, "state": {"running": {"startedAt": "<time>"}},
    "resources?": "<any>", "allocatedResources?": "<any>", "user?": "<any>", "volumeMounts?": "<any>",
}  # fmt: skip
_TERMINATED = {
    "exitCode": 0,
    "reason": "Completed",
    "startedAt": "<time>",
    "finishedAt": "<time>",
    "containerID": "<id>",
}
_ERROR = {**_TERMINATED, "exitCode": 1, "reason": "Error"}
_DONE = {**_CONTAINER, "ready": False, "started": False, "state": {"terminated": _TERMINATED}}
_WAITING = {key: value for key, value in _CONTAINER.items() if key != "containerID"} | {
    "imageID": "", "ready": False, "started": False, "state": {"waiting": {"reason": "PodInitializing"}},
}  # fmt: skip
_POD = {
    "phase": "Running", "conditions": _conditions(), "containerStatuses": [_CONTAINER], "qosClass": "BestEffort",
    "hostIP": "<ip>", "hostIPs": "<any>", "podIP": "<ip>", "podIPs": "<any>", "startTime": "<time>",
    "observedGeneration?": "<any>", "resources?": "<any>", "allocatedResources?": "<any>",
}  # fmt: skip
_COMPLETED = {"status": "False", "reason": "PodCompleted"}
_FAILED = {"status": "False", "reason": "PodFailed"}


_UNREADY = {
    "status": "False", "reason": "ContainersNotReady", "message": r"~containers with unready status: \[.+\]",
}  # fmt: skip


_UPDATED = {"lastUpdateTime": "<time>", "lastTransitionTime": "<time>"}
_JOB_CONDITION = {"status": "True", "lastProbeTime": "<time>", "lastTransitionTime": "<time>"}

FRAGMENTS: dict[str, Any] = {
    "container": _CONTAINER,
    "container-done": _DONE,
    "container-failed": {**_DONE, "state": {"terminated": _ERROR}},
    "container-waiting": _WAITING,
    "init-done": {**_CONTAINER, "started": False, "state": {"terminated": _TERMINATED}},
    "terminated": _TERMINATED,
    "terminated-error": _ERROR,
    "pod": _POD,
    "pod-unready": {
        **_POD, "conditions": _conditions(Ready=_UNREADY, ContainersReady=_UNREADY),
    },
    "pod-completed": {
        **_POD, "phase": "Succeeded", "containerStatuses": [_DONE],
        "conditions": _conditions(
            PodReadyToStartContainers={"status": "False"}, Initialized={"reason": "PodCompleted"},
            Ready=_COMPLETED, ContainersReady=_COMPLETED,
        ),
    },
    "pod-failed": {
        **_POD, "phase": "Failed", "containerStatuses": [{**_DONE, "state": {"terminated": _ERROR}}],
        "conditions": _conditions(
            PodReadyToStartContainers={"status": "False"}, Ready=_FAILED, ContainersReady=_FAILED
        ),
    },
    "pod-unscheduled": {
        "phase": "Pending", "qosClass": "BestEffort", "observedGeneration?": "<any>",
        "conditions": [_condition("PodScheduled", "False", reason="Unschedulable", message="<any>")],
    },
    "condition": _condition("<any>"),
    "deployment": {
        "observedGeneration": 1, "terminatingReplicas?": 0,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
             "message": "Deployment has minimum availability.", **_UPDATED},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
             "message": '~ReplicaSet "[a-z0-9-]+" has successfully progressed.', **_UPDATED},
        ],
    },
    "statefulset": {
        "observedGeneration": 1, "collisionCount": 0, "currentRevision": "<any>", "updateRevision": "<any>",
    },
    "job-condition": _JOB_CONDITION,
    "job-complete": {
        "startTime": "<time>", "completionTime": "<time>", "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
        "conditions": [
            {**_JOB_CONDITION, "type": "SuccessCriteriaMet", "reason": "CompletionsReached",
             "message": "Reached expected number of succeeded pods"},
            {**_JOB_CONDITION, "type": "Complete", "reason": "CompletionsReached",
             "message": "Reached expected number of succeeded pods"},
        ],
    },
    "job-failed": {"startTime": "<time>", "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}},
    "job-failure-target": {**_JOB_CONDITION, "type": "FailureTarget"},
    "job-failed-condition": {**_JOB_CONDITION, "type": "Failed"},
}  # fmt: skip


def filled(value: Any) -> Any:
    """The expectation with every ``like`` replaced by its fragment."""
    if isinstance(value, list):
        return [filled(item) for item in value]
    if not isinstance(value, dict):
        return value
    own = {key: filled(item) for key, item in value.items() if key != "like"}
    if "like" not in value:
        return own
    merged = {**FRAGMENTS[value["like"]], **own}
    return {key: item for key, item in merged.items() if item is not None or key not in own}
