"""When the change happened that endpoints are written for: what lets a reader measure how long it took to arrive.

Both forms of endpoints carry it as an annotation, made of the creation of the service and the last change of its pods'
readiness, whichever of those that are news came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from wherry.kube.keys import Key
from wherry.kube.objects import Pod, Service
from wherry.workloads.endpoints.compile import Plan

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """What was seen of each service and its pods when their endpoints were last looked at. Times are RFC 3339 text."""

    def __init__(self) -> None:
        self._seen: dict[Key, dict[str, str]] = {}

    def forget(self, key: Key) -> None:
        """The service is gone."""
        self._seen.pop(key, None)

    def take(self, service: Service, pods: Iterable[Pod]) -> str | None:
        """The time of the earliest change since the last call for this service; None where nothing is new.

        A service met for the first time has the time it was made.
        """
        created = service.metadata.creation_timestamp
        times: dict[str, str] = {}
        for pod in pods:
            ready = pod.status.condition("Ready")
            if ready is not None and ready.last_transition_time:
                times[pod.uid] = ready.last_transition_time
        known = self._seen.get(service.key)
        self._seen[service.key] = times
        if known is None:
            return created
        # Text of one form and zone: it sorts as the times do.
        return min((time for uid, time in times.items() if time > known.get(uid, "")), default=None)


def stamped(plan: Plan, time: str | None) -> Plan:
    """The plan with the annotation on every slice that it writes; without a time it is taken away."""

    def marked(change: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
        if new and time is None:
            return dict(change)
        meta = change.get("metadata", {})
        return {**change, "metadata": {**meta, "annotations": {**meta.get("annotations", {}), ANNOTATION: time}}}

    return replace(
        plan,
        create=tuple(marked(each, new=True) for each in plan.create),
        update=tuple(
            (there, marked(change, new=time is None and ANNOTATION not in there.metadata.annotations))
            for there, change in plan.update
        ),
    )
