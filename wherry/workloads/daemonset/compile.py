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
GENERATION_LABEL = "pod-template-generation"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""Annotation in which the API server counts the changes of the template."""

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
    """Names of nodes that get a pod, pods to delete, and pods that ended and are replaced, each with an event."""

    create: tuple[str, ...] = ()
    delete: tuple[Pod, ...] = ()
    failed: tuple[Pod, ...] = ()
    succeeded: tuple[Pod, ...] = ()


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


def node_of(pod: Pod) -> str:
    """The node a daemon pod is on or meant for; empty when neither is known."""
    if pod.spec.node_name:
        return pod.spec.node_name
    pinned = placement.pinned_nodes(pod.spec)
    return next(iter(pinned)) if pinned is not None and len(pinned) == 1 else ""


def pod_for(daemon_set: DaemonSet, node: str, digest: str) -> dict[str, Any]:
    """The pod for one node: pinned to it by affinity, so that the scheduler still checks ports and resources.

    ``digest`` is the hash of the template in the label of its revision.
    """
    extra_labels = {HASH_LABEL: digest}
    if number := daemon_set.metadata.annotations.get(TEMPLATE_GENERATION):
        extra_labels[GENERATION_LABEL] = number
    template = templates.with_labels(daemon_set.spec.template, extra_labels)
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
    """A daemon set with what is there; ``digest`` is its template's hash, ``now`` in seconds since 1970."""

    def __init__(
        self, daemon_set: DaemonSet, nodes: Iterable[Node], pods: Sequence[Pod], digest: str, now: float
    ) -> None:
        self._set = daemon_set
        self._now = now
        self._hash = digest
        spec = pod_spec(daemon_set)
        self._suits: dict[str, tuple[bool, bool]] = {node.name: suits(spec, node) for node in nodes}
        self._on: dict[str, list[Pod]] = {}
        for pod in pods:
            # A pod that has ended and is being deleted is as good as gone.
            if not (pod.deleting and pod.finished):
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
        """Bring pods to the nodes that lack one and away from those that must not have one."""
        create: list[str] = []
        delete: list[Pod] = []
        ended: list[Pod] = []
        for name, (should, may_stay) in self._suits.items():
            there = self._on.get(name, [])
            here = [pod for pod in there if not pod.deleting]
            if not may_stay:
                delete += here
                continue
            ended += (pod for pod in here if pod.finished)
            running = [pod for pod in here if not pod.finished]
            delete += self._surplus(running)
            # A successor waits for the old pod's end, as both may want the same port; with surge it does not.
            if should and not running and (self.max_surge or not there):
                create.append(name)
        for name, there in self._on.items():
            if name and name not in self._suits:
                # Meant for a node that is gone; pods that ran there are the pod collector's business.
                delete += [pod for pod in there if not pod.spec.node_name and not pod.deleting]
        return Plan(
            tuple(create),
            tuple(delete),
            tuple(pod for pod in ended if pod.status.phase == "Failed"),
            tuple(pod for pod in ended if pod.status.phase == "Succeeded"),
        )

    def roll(self) -> Plan:
        """Replace pods of an older template, when :meth:`plan` has nothing to do."""
        if self._set.spec.update_strategy.type != "RollingUpdate":
            return Plan()
        return self._surge() if self.max_surge else Plan(delete=tuple(self._replace()))

    def _surplus(self, running: list[Pod]) -> list[Pod]:
        """Pods too many on one node: all but the oldest.

        While surging the oldest of the old and of the new template stay both, until the old one is of no more use.
        """
        if len(running) <= 1:
            return []
        ordered = sorted(running, key=_oldest_first)
        if not self.max_surge:
            return ordered[1:]
        old = next((pod for pod in ordered if not self._current(pod)), None)
        new = next((pod for pod in ordered if self._current(pod)), None)
        kept = [old, new]
        if old is not None and new is not None and (not old.ready or self._available(new)):
            kept.remove(old)
        return [pod for pod in ordered if pod not in kept]

    def _pairs(self) -> Iterable[tuple[str, Pod | None, Pod | None, bool]]:
        """Per node that should have a pod or has one: its name, the old and the new pod, whether there are too many."""
        wanted = {name for name, (should, _) in self._suits.items() if should}
        for name in sorted(wanted.union(self._on)):
            here = [pod for pod in self._on.get(name, []) if not pod.deleting]
            old = [pod for pod in here if not self._current(pod)]
            new = [pod for pod in here if self._current(pod)]
            yield name, next(iter(old), None), next(iter(new), None), len(old) > 1 or len(new) > 1

    def _replace(self) -> list[Pod]:
        """Old pods to delete: those that serve nobody, and others as long as few enough are missing."""
        missing = 0
        useless: list[Pod] = []
        candidates: list[Pod] = []
        for _, old, new, excess in self._pairs():
            if excess or (old is None) == (new is None):
                missing += 1
            elif new is not None:
                missing += not self._available(new)
            elif old is not None and not self._available(old):
                useless.append(old)
                missing += 1
            elif old is not None:
                candidates.append(old)
        return useless + candidates[: max(0, self.max_unavailable - missing)]

    def _surge(self) -> Plan:
        """Nodes that get a second, new pod, and old pods whose successor is available.

        A node that no longer qualifies keeps a serving old pod until enough are available without it.
        """
        surging = 0
        available = 0
        useless: list[str] = []
        candidates: list[str] = []
        delete: list[Pod] = []
        misplaced: list[Pod] = []
        for name, old, new, excess in self._pairs():
            if excess:
                surging += 1
                continue
            first = old or new
            available += first is not None and self._available(first)
            if old is None:
                continue
            if new is not None:
                if self._available(new):
                    delete.append(old)
                else:
                    surging += 1
                continue
            should, _ = self._suits.get(name, (False, False))
            if should:
                (candidates if self._available(old) else useless).append(name)
            else:
                (misplaced if self._available(old) else delete).append(old)
        delete += misplaced[: max(0, available - self._desired)]
        create = useless + candidates[: max(0, self.max_surge - surging)]
        return Plan(tuple(create), tuple(delete))

    def status(self) -> dict[str, Any]:
        """The status as plain data; of several pods on a node the oldest counts."""
        counts = dict.fromkeys(("current", "misscheduled", "ready", "available", "updated"), 0)
        for name, (should, _) in self._suits.items():
            here = self._on.get(name, [])
            if not here:
                continue
            if not should:
                counts["misscheduled"] += 1
                continue
            counts["current"] += 1
            pod = min(here, key=_oldest_first)
            counts["ready"] += pod.ready
            counts["available"] += pod.ready and self._available(pod)
            counts["updated"] += self._current(pod)
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


def _oldest_first(pod: Pod) -> tuple[bool, float, str]:
    """Pods with a node before those without, then by age, then by name."""
    return not pod.spec.node_name, podstate.created_at(pod), pod.name


def same_placement(old: Node, new: Node) -> bool:
    """Whether two states of a node are alike for daemon sets."""
    return _view(old) == _view(new)


def _view(node: Node) -> tuple[Mapping[str, str], tuple[Any, ...]]:
    return node.labels, node.spec.taints
