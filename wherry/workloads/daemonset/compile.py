"""A daemon set, all nodes and its pods in; pods to make and delete and the status out. Pure.

Rules: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/ and
https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/ (maxUnavailable, maxSurge, OnDelete).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.kube.objects import Node, Pod, PodSpec, Toleration
from wherry.workloads import placement, podstate, templates
from wherry.workloads.deployment.rolling import resolve
from wherry.workloads.kinds import DAEMON_SETS, DaemonSet, Template, controller_reference

HASH_LABEL = "controller-revision-hash"

_TOLERATED = (
    (placement.TAINT_NOT_READY, placement.NO_EXECUTE),
    (placement.TAINT_UNREACHABLE, placement.NO_EXECUTE),
    (placement.TAINT_DISK_PRESSURE, placement.NO_SCHEDULE),
    (placement.TAINT_MEMORY_PRESSURE, placement.NO_SCHEDULE),
    (placement.TAINT_PID_PRESSURE, placement.NO_SCHEDULE),
    (placement.TAINT_UNSCHEDULABLE, placement.NO_SCHEDULE),
)

_AFFINITY_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class Plan:
    """Names of nodes that get a pod, pods to delete, and pods that failed and are replaced."""

    create: tuple[str, ...] = ()
    delete: tuple[Pod, ...] = ()
    failed: tuple[Pod, ...] = ()


def tolerations(spec: PodSpec) -> tuple[Toleration, ...]:
    """What a daemon pod tolerates: its own and those that keep it on troubled nodes."""
    wanted: tuple[tuple[str, str], ...] = _TOLERATED
    if spec.host_network:
        wanted += ((placement.TAINT_NETWORK_UNAVAILABLE, placement.NO_SCHEDULE),)
    extra = tuple(Toleration(key=key, operator="Exists", effect=effect) for key, effect in wanted)
    return spec.tolerations + tuple(each for each in extra if each not in spec.tolerations)


def pod_spec(daemon_set: DaemonSet) -> PodSpec:
    """The pod that the template makes, as placement sees it."""
    spec = msgspec.convert(daemon_set.spec.template.get("spec") or {}, PodSpec)
    return msgspec.structs.replace(spec, tolerations=tolerations(spec))


def template_hash(daemon_set: DaemonSet) -> str:
    """The value of the hash label on pods of the current template."""
    return templates.template_hash(daemon_set.spec.template, daemon_set.status.collision_count)


def node_of(pod: Pod) -> str:
    """The node a daemon pod is on or meant for; empty when neither is known."""
    if pod.spec.node_name:
        return pod.spec.node_name
    pinned = placement.pinned_nodes(pod.spec)
    return next(iter(pinned)) if pinned is not None and len(pinned) == 1 else ""


def pod_for(daemon_set: DaemonSet, node: str) -> dict[str, Any]:
    """The pod for one node: pinned to it by affinity, so that the scheduler still checks ports and resources."""
    template = templates.with_labels(daemon_set.spec.template, {HASH_LABEL: template_hash(daemon_set)})
    pod = templates.pod_of(
        _pinned(template, node),
        owner=controller_reference(DAEMON_SETS, daemon_set),
        namespace=daemon_set.namespace,
        prefix=templates.name_prefix(daemon_set.name),
    )
    present = msgspec.convert(pod["spec"], PodSpec).tolerations
    extra = [templates.plain(each) for each in tolerations(pod_spec(daemon_set)) if each not in present]
    pod["spec"]["tolerations"] = [*(pod["spec"].get("tolerations") or []), *extra]
    return pod


def _pinned(template: Template, node: str) -> Template:
    """Replace the required node affinity, which this node is known to meet, by the node's name."""
    spec = template["spec"]
    affinity = spec["affinity"] = spec.get("affinity") or {}
    node_affinity = affinity["nodeAffinity"] = affinity.get("nodeAffinity") or {}
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = node_affinity.get(_AFFINITY_TERMS) or {}
    terms = required.get("nodeSelectorTerms") or []
    node_affinity[_AFFINITY_TERMS] = {
        "nodeSelectorTerms": [{**term, "matchFields": [field]} for term in terms] or [{"matchFields": [field]}]
    }
    return template


def suits(spec: PodSpec, node: Node) -> tuple[bool, bool]:
    """Whether a node should get a pod, and whether a pod that is there may stay."""
    if spec.node_name not in ("", node.name) or not placement.affinity_matches(spec, node):
        return False, False
    taints = node.spec.taints
    if placement.untolerated_taint(taints, spec.tolerations) is None:
        return True, True
    return False, placement.untolerated_taint(taints, spec.tolerations, (placement.NO_EXECUTE,)) is None


class Situation:
    """A daemon set with what is there; ``now`` in seconds since 1970."""

    def __init__(self, daemon_set: DaemonSet, nodes: Iterable[Node], pods: Sequence[Pod], now: float) -> None:
        self._set = daemon_set
        self._now = now
        self._hash = template_hash(daemon_set)
        spec = pod_spec(daemon_set)
        self._suits: dict[str, tuple[bool, bool]] = {node.name: suits(spec, node) for node in nodes}
        self._on: dict[str, list[Pod]] = {}
        for pod in pods:
            self._on.setdefault(node_of(pod), []).append(pod)
        self._desired = sum(should for should, _ in self._suits.values())
        self.max_unavailable, self.max_surge = self._limits()

    def _limits(self) -> tuple[int, int]:
        strategy = self._set.spec.update_strategy
        if strategy.type != "RollingUpdate":
            return 0, 0
        rolling = strategy.rolling_update
        surge = resolve(rolling.max_surge if rolling else None, self._desired, up=True)
        missing = resolve(rolling.max_unavailable if rolling else 1, self._desired, up=True)
        return (missing, surge) if missing or surge else (1, 0)

    def _current(self, pod: Pod) -> bool:
        return pod.labels.get(HASH_LABEL) == self._hash

    def _available(self, pod: Pod) -> bool:
        return podstate.is_available(pod, self._set.spec.min_ready_seconds, self._now)

    def plan(self) -> Plan:
        """Bring pods to the nodes that lack one and away from those that must not have one; then roll."""
        create: list[str] = []
        delete: list[Pod] = []
        failed: list[Pod] = []
        for name, (should, may_stay) in self._suits.items():
            here = [pod for pod in self._on.get(name, []) if not pod.deleting]
            if not may_stay:
                delete += here
                continue
            broken = [pod for pod in here if pod.finished]
            failed += broken
            running = [pod for pod in here if not pod.finished]
            delete += self._surplus(running)
            if should and not running and not broken and not self._going(name):
                create.append(name)
        for name, here in self._on.items():
            if name and name not in self._suits:
                # Meant for a node that is gone; pods that ran there are the pod collector's business.
                delete += [pod for pod in here if not pod.spec.node_name and not pod.deleting]
        if not (create or delete or failed) and self._set.spec.update_strategy.type == "RollingUpdate":
            create, delete = self._surge() if self.max_surge else ([], self._replace())
        return Plan(tuple(create), tuple(delete), tuple(failed))

    def _going(self, node: str) -> bool:
        """Whether a pod on the node is still on its way out: its successor waits, as both may want the same port."""
        return any(pod.deleting and not pod.finished for pod in self._on.get(node, []))

    def _surplus(self, running: list[Pod]) -> list[Pod]:
        """Pods too many on one node: all but the oldest, or while surging all but the oldest old and oldest new."""
        if len(running) <= 1:
            return []
        ordered = sorted(running, key=lambda pod: (not pod.spec.node_name, podstate.created_at(pod), pod.name))
        if not self.max_surge:
            return ordered[1:]
        kept = [next((pod for pod in ordered if self._current(pod) is state), None) for state in (False, True)]
        return [pod for pod in ordered if pod not in kept]

    def _pairs(self) -> Iterable[tuple[str, Pod | None, Pod | None]]:
        """Per node that should have a pod: its name, the old and the new pod that run there."""
        for name, (should, _) in sorted(self._suits.items()):
            if not should:
                continue
            here = [pod for pod in self._on.get(name, []) if podstate.is_active(pod)]
            old = next((pod for pod in here if not self._current(pod)), None)
            yield name, old, next((pod for pod in here if self._current(pod)), None)

    def _replace(self) -> list[Pod]:
        """Old pods to delete: those that serve nobody, and others as long as few enough are missing."""
        missing = 0
        useless: list[Pod] = []
        candidates: list[Pod] = []
        for _, old, new in self._pairs():
            if new is not None:
                missing += not self._available(new)
            elif old is None:
                missing += 1
            elif not self._available(old):
                useless.append(old)
                missing += 1
            else:
                candidates.append(old)
        return useless + candidates[: max(0, self.max_unavailable - missing)]

    def _surge(self) -> tuple[list[str], list[Pod]]:
        """Nodes that get a second, new pod, and old pods whose successor is available."""
        surging = 0
        useless: list[str] = []
        candidates: list[str] = []
        delete: list[Pod] = []
        for name, old, new in self._pairs():
            if old is None:
                continue
            if new is not None:
                if self._available(new):
                    delete.append(old)
                else:
                    surging += 1
            elif self._available(old):
                candidates.append(name)
            else:
                useless.append(name)
        return useless + candidates[: max(0, self.max_surge - surging)], delete

    def status(self) -> dict[str, Any]:
        """The status as plain data."""
        counts = dict.fromkeys(("current", "misscheduled", "ready", "available", "updated"), 0)
        for name, (should, _) in self._suits.items():
            here = self._on.get(name, [])
            if not here:
                continue
            if not should:
                counts["misscheduled"] += 1
                continue
            counts["current"] += 1
            pod = min(here, key=lambda each: (not each.ready, podstate.created_at(each), each.name))
            counts["ready"] += pod.ready
            counts["available"] += pod.ready and self._available(pod)
            counts["updated"] += any(self._current(each) for each in here if not each.deleting)
        return {
            "currentNumberScheduled": counts["current"],
            "numberMisscheduled": counts["misscheduled"],
            "desiredNumberScheduled": self._desired,
            "numberReady": counts["ready"],
            "updatedNumberScheduled": counts["updated"] or None,
            "numberAvailable": counts["available"] or None,
            "numberUnavailable": max(0, self._desired - counts["available"]) or None,
            "observedGeneration": self._set.metadata.generation,
        }


def same_placement(old: Node, new: Node) -> bool:
    """Whether two states of a node are alike for daemon sets."""
    return _view(old) == _view(new)


def _view(node: Node) -> tuple[Mapping[str, str], tuple[Any, ...]]:
    return node.labels, node.spec.taints
