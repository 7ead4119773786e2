"""The status of a pod as the kubelet words it. Pure: pod and observations in, status out; and the patch between two.

Sources: Kubernetes API reference (`PodStatus`), documentation "Pod Lifecycle", KEP-753 (sidecars), KEP-5067
(observedGeneration).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wherry.kube.objects import Container, Pod, PodStatus
from wherry.kube.objects.base import Condition
from wherry.kube.objects.containers import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ContainerUser,
    LinuxContainerUser,
    ResourceRequirements,
    VolumeMount,
    VolumeMountStatus,
)
from wherry.kube.objects.pods import HostIP, PodIP
from wherry.kube.times import format_time
from wherry.pods.conditions import OWNED, pod_conditions
from wherry.pods.model import ContainerState as RuntimeState
from wherry.pods.restarts import is_sidecar
from wherry.pods.state import ID_SCHEME, TEARDOWN, Attempt, Observed, Waiting, all_ended, init_failed, initialised

MESSAGES_OF_POD = 12 * 1024
"""Bytes that the termination messages of a pod may have together."""


def pod_phase(pod: Pod, seen: Observed) -> str:
    """Return Pending, Running, Succeeded or Failed; the last two only once nothing runs any more, and then for good."""
    if seen.finished:
        return pod.status.phase
    attempts = [_begun(seen, container) for container in pod.spec.containers or ()]
    if seen.running():
        never_started = any(not found for found in attempts)
        if never_started or (not initialised(pod, seen) and not any(attempts)):
            return "Pending"
        return "Running"
    if seen.ending is not None and seen.busy <= {TEARDOWN}:
        succeeded = all(found and not found[-1].failed for found in attempts) and not seen.ending.reason
        return "Succeeded" if succeeded else "Failed"
    if init_failed(pod, seen):
        return "Failed"
    if any(not found for found in attempts):
        return "Pending"
    if all_ended(pod, seen):
        return "Failed" if any(found and found[-1].failed for found in attempts) else "Succeeded"
    return "Running"


def _begun(seen: Observed, container: Container) -> tuple[Attempt, ...]:
    """Return the starts of a container that count: one whose postStart hook runs for the first time does not yet."""
    attempts = seen.attempts.get(container.name, ())
    return () if len(attempts) == 1 and seen.in_hook(attempts[0]) else attempts


def pod_status(
    pod: Pod,
    seen: Observed,
    waiting: Mapping[str, Waiting],
    *,
    host_ips: tuple[str, ...],
    now: float,
    start_time: str | None = None,
) -> PodStatus:
    """Return what the node reports of a pod; fields that others write are not set.

    `waiting` comes from the plan; `start_time` is when the node first saw a pod that has no such time yet. A pod whose
    network was taken down keeps the addresses it had.
    """
    if _never_taken(pod, seen):
        return _rejected(pod, seen, start_time or format_time(now))
    phase = pod_phase(pod, seen)
    has_init = bool(pod.spec.init_containers)
    init_statuses = tuple(
        _container_status(pod, c, seen, waiting, "PodInitializing", init=True) for c in pod.spec.init_containers
    )
    unstarted = "PodInitializing" if has_init else "ContainerCreating"
    by_name = sorted(pod.spec.containers or (), key=lambda container: container.name)
    statuses = tuple(_container_status(pod, c, seen, waiting, unstarted) for c in by_name)
    ephemeral = tuple(_container_status(pod, c, seen, waiting, unstarted) for c in pod.spec.ephemeral_containers)
    stamp = format_time(now)
    addresses = _addresses(pod, seen, host_ips)
    ending = seen.ending
    if seen.finished:
        # What ran is history; where it is not known here any more, what was reported of it stands.
        init_statuses = _reported_where_unknown(init_statuses, pod.status.init_container_statuses, seen)
        statuses = _reported_where_unknown(statuses, pod.status.container_statuses, seen)
        ephemeral = _reported_where_unknown(ephemeral, pod.status.ephemeral_container_statuses, seen)
    return PodStatus(
        phase=phase,
        conditions=pod_conditions(pod, seen, phase=phase, init_statuses=init_statuses, statuses=statuses, now=stamp),
        reason=ending.reason if ending is not None else pod.status.reason if seen.finished else "",
        message=ending.message if ending is not None else pod.status.message if seen.finished else "",
        host_ip=host_ips[0] if host_ips else "",
        host_ips=tuple(HostIP(ip=address) for address in host_ips),
        pod_ip=addresses[0] if addresses else "",
        pod_ips=tuple(PodIP(ip=address) for address in addresses),
        start_time=pod.status.start_time or start_time or stamp,
        init_container_statuses=init_statuses,
        container_statuses=statuses,
        ephemeral_container_statuses=ephemeral,
        observed_generation=pod.metadata.generation,
    )


def _never_taken(pod: Pod, seen: Observed) -> bool:
    """Tell whether the node refused the pod, now or, as far as the API still shows it, earlier."""
    if seen.ending is not None and seen.ending.rejected:
        return True
    return seen.finished and not any(seen.attempts.values()) and not pod.status.container_statuses


def _rejected(pod: Pod, seen: Observed, start_time: str) -> PodStatus:
    before, ending = pod.status, seen.ending
    refused = ending is not None and ending.rejected
    return PodStatus(
        phase="Failed" if refused else before.phase,
        conditions=before.conditions,
        reason=ending.reason if ending is not None and refused else before.reason,
        message=ending.message if ending is not None and refused else before.message,
        host_ip=before.host_ip,
        host_ips=before.host_ips,
        pod_ip=before.pod_ip,
        pod_ips=before.pod_ips,
        start_time=before.start_time or start_time,
        observed_generation=pod.metadata.generation,
    )


def _reported_where_unknown(
    computed: tuple[ContainerStatus, ...], reported: tuple[ContainerStatus, ...], seen: Observed
) -> tuple[ContainerStatus, ...]:
    before = {status.name: status for status in reported}
    return tuple(status if seen.attempts.get(status.name) else before.get(status.name, status) for status in computed)


def _addresses(pod: Pod, seen: Observed, host_ips: tuple[str, ...]) -> tuple[str, ...]:
    if seen.sandbox is None and pod.status.pod_ips:
        return tuple(entry.ip for entry in pod.status.pod_ips)
    known = seen.sandbox.addresses if seen.sandbox is not None else seen.addresses
    if known is None:
        return ()
    return host_ips if pod.spec.host_network else known


def _container_status(
    pod: Pod,
    container: Container,
    seen: Observed,
    waiting: Mapping[str, Waiting],
    unstarted: str,
    *,
    init: bool = False,
) -> ContainerStatus:
    attempts = seen.attempts.get(container.name, ())
    if not attempts:
        why = waiting.get(container.name) or Waiting(unstarted)
        return ContainerStatus(
            name=container.name,
            image=container.image,
            started=None if container in pod.spec.ephemeral_containers else False,
            state=ContainerState(waiting=ContainerStateWaiting(reason=why.reason, message=why.message)),
        )
    newest = attempts[-1]
    longest = longest_message(pod)
    ended = _terminated(attempts[-2], longest) if len(attempts) > 1 else ContainerState()
    state = _state(newest, longest)
    held = waiting.get(container.name) if not newest.running else None
    if held is None and seen.in_hook(newest):
        # Nothing of it is reported before its postStart hook has ended.
        state, held = ended, waiting.get(container.name) or Waiting(unstarted)
    if held is not None:
        state, ended = ContainerState(waiting=ContainerStateWaiting(reason=held.reason, message=held.message)), state
    succeeded = not newest.running and not newest.failed
    ephemeral = container in pod.spec.ephemeral_containers
    return ContainerStatus(
        name=container.name,
        state=state,
        last_state=ended,
        ready=not ephemeral and (succeeded if init and not is_sidecar(container) else seen.ready(container)),
        restart_count=newest.number,
        image=container.image,
        image_id=image_id(container.image, stand_in=newest.state.stand_in),
        container_id=ID_SCHEME + newest.state.id,
        started=None if ephemeral else seen.started(container),
        allocated_resources=container.resources.requests,
        # What was put into effect: nothing limits the processes of a container here.
        resources=ResourceRequirements(),
        volume_mounts=tuple(_mount_status(mount) for mount in container.volume_mounts),
        user=_user(newest.state),
        stop_signal=container.lifecycle.stop_signal if container.lifecycle is not None else None,
    )


def _user(state: RuntimeState) -> ContainerUser | None:
    """A stand-in runs as nobody, and nothing is known of the image it stands for."""
    user = state.user
    if user is None:
        return None
    return ContainerUser(linux=LinuxContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.groups))


def _mount_status(mount: VolumeMount) -> VolumeMountStatus:
    # What is mounted below a read-only mount is read-only here in any case; it is reported where it was asked for.
    asked = mount.recursive_read_only in ("Enabled", "IfPossible")
    recursive = ("Enabled" if asked else "Disabled") if mount.read_only else None
    return VolumeMountStatus(
        name=mount.name, mount_path=mount.mount_path, read_only=mount.read_only, recursive_read_only=recursive
    )


def longest_message(pod: Pod) -> int:
    """Return how many bytes a termination message may have: all of a pod's share 12 KiB."""
    return MESSAGES_OF_POD // max(1, len(pod.spec.containers or ()) + len(pod.spec.init_containers))


def image_id(image: str, *, stand_in: bool) -> str:
    """Return the `imageID`: nothing is pulled here, so it says what stands behind the name."""
    return f"{ID_SCHEME}{'stand-in' if stand_in else 'program'}/{image}"


def _state(attempt: Attempt, longest: int) -> ContainerState:
    if attempt.running:
        return ContainerState(running=ContainerStateRunning(started_at=format_time(attempt.state.started_at)))
    return _terminated(attempt, longest)


def _terminated(attempt: Attempt, longest: int) -> ContainerState:
    found = attempt.state
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=found.exit_code,
            reason=found.reason or ("Completed" if found.exit_code == 0 else "Error"),
            message=found.message.encode()[:longest].decode(errors="ignore"),
            started_at=format_time(found.started_at) if found.started_at else None,
            finished_at=format_time(found.finished_at) if found.finished_at else None,
            container_id=ID_SCHEME + found.id,
        )
    )


# -- what is sent ----------------------------------------------------------------------------------------------------


def same_status(reported: PodStatus, wanted: PodStatus) -> bool:
    """Tell whether the API has everything that the node would report."""
    return _owned(reported) == _owned(wanted)


def _owned(status: PodStatus) -> tuple[object, ...]:
    conditions = {
        condition.type: (
            condition.status,
            condition.reason,
            condition.message,
            condition.last_transition_time,
            condition.observed_generation,
        )
        for condition in status.conditions
        if condition.type in OWNED
    }
    return (
        status.phase,
        status.reason,
        status.message,
        status.host_ip,
        status.host_ips,
        status.pod_ip,
        status.pod_ips,
        status.start_time,
        status.init_container_statuses,
        status.container_statuses,
        status.ephemeral_container_statuses,
        status.observed_generation,
        conditions,
    )


def status_patch(pod: Pod, reported: PodStatus, wanted: PodStatus) -> dict[str, Any]:
    """Return the strategic merge patch for `/status` that makes the owned fields of the pod's status the wanted ones.

    Only what differs from `reported` is sent; the uid keeps the patch from a later pod of the same name. Conditions of
    others survive, since the list is merged by type.
    """
    status: dict[str, Any] = {}
    for name, before, after in (
        ("phase", reported.phase, wanted.phase),
        ("reason", reported.reason, wanted.reason),
        ("message", reported.message, wanted.message),
        ("hostIP", reported.host_ip, wanted.host_ip),
        ("podIP", reported.pod_ip, wanted.pod_ip),
        ("startTime", reported.start_time, wanted.start_time),
        ("observedGeneration", reported.observed_generation, wanted.observed_generation),
    ):
        if before != after:
            status[name] = after or None
    if reported.host_ips != wanted.host_ips:
        status["hostIPs"] = _replaced([{"ip": entry.ip} for entry in wanted.host_ips], bool(reported.host_ips))
    if reported.pod_ips != wanted.pod_ips:
        status["podIPs"] = _replaced([{"ip": entry.ip} for entry in wanted.pod_ips], bool(reported.pod_ips))
    if reported.init_container_statuses != wanted.init_container_statuses:
        status["initContainerStatuses"] = [_encode_container(found) for found in wanted.init_container_statuses]
    if reported.container_statuses != wanted.container_statuses:
        status["containerStatuses"] = [_encode_container(found) for found in wanted.container_statuses]
    if reported.ephemeral_container_statuses != wanted.ephemeral_container_statuses:
        statuses = [_encode_container(found) for found in wanted.ephemeral_container_statuses]
        status["ephemeralContainerStatuses"] = statuses
    if any(reported.condition(condition.type) != condition for condition in wanted.conditions):
        status["conditions"] = [
            _encode_condition(condition, reported.condition(condition.type)) for condition in wanted.conditions
        ]
    return {"metadata": {"uid": pod.uid}, "status": status}


def _replaced(entries: list[dict[str, str]], had: bool) -> list[dict[str, str]]:
    """Replace a list that is merged by key where merging would keep entries that are gone."""
    return [*entries, {"$patch": "replace"}] if had else entries


def _encode_condition(condition: Condition, before: Condition | None) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "type": condition.type,
        "status": condition.status,
        "lastTransitionTime": condition.last_transition_time,
    }
    if condition.observed_generation is not None:
        encoded["observedGeneration"] = condition.observed_generation
    for name in ("reason", "message"):
        # null takes away what was reported before; it is not sent otherwise, since in a new entry it would stay.
        value = getattr(condition, name)
        if value or (before is not None and getattr(before, name)):
            encoded[name] = value or None
    return encoded


def _encode_container(status: ContainerStatus) -> dict[str, Any]:
    # Spelled out because these fields are required also where they are empty, which an encoded struct would leave out.
    encoded: dict[str, Any] = {
        "name": status.name,
        "state": _encode_state(status.state),
        "lastState": _encode_state(status.last_state),
        "ready": status.ready,
        "restartCount": status.restart_count,
        "image": status.image,
        "imageID": status.image_id,
    }
    for name, value in (
        ("started", status.started),
        ("containerID", status.container_id or None),
        ("allocatedResources", status.allocated_resources or None),
        ("resources", None if status.resources is None else msgspec.to_builtins(status.resources)),
        ("volumeMounts", [_encode_mount(mount) for mount in status.volume_mounts] or None),
        ("user", None if status.user is None else msgspec.to_builtins(status.user)),
        ("stopSignal", status.stop_signal),
    ):
        if value is not None:
            encoded[name] = value
    return encoded


def _encode_mount(mount: VolumeMountStatus) -> dict[str, Any]:
    encoded: dict[str, Any] = {"name": mount.name, "mountPath": mount.mount_path}
    if mount.read_only:
        encoded |= {"readOnly": True, "recursiveReadOnly": mount.recursive_read_only}
    return encoded


def _encode_state(state: ContainerState) -> dict[str, Any]:
    if state.running is not None:
        return {"running": {"startedAt": state.running.started_at}}
    if state.terminated is not None:
        ended = state.terminated
        found: dict[str, Any] = {"exitCode": ended.exit_code, "reason": ended.reason}
        found |= {"startedAt": ended.started_at, "finishedAt": ended.finished_at, "containerID": ended.container_id}
        return {"terminated": found | ({"message": ended.message} if ended.message else {})}
    if state.waiting is not None:
        why: dict[str, Any] = {"reason": state.waiting.reason}
        return {"waiting": why | ({"message": state.waiting.message} if state.waiting.message else {})}
    return {}
