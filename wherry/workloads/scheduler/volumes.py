"""What a pod's claims say about where it can run. Pure.

Rules: https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode . A claim is bound (its volume
may be reachable from some nodes only), waits for its first consumer (the node of the pod decides, see
``selected-node``), or has to be bound before anything can be said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from wherry.kube.keys import Key
from wherry.kube.objects import Node, PersistentVolume, PersistentVolumeClaim, StorageClass
from wherry.workloads.scheduler.filters import Filter, Rejection
from wherry.workloads.scheduler.model import PodInfo
from wherry.workloads.storage.matching import best_match, class_of, reachable
from wherry.workloads.storage.names import SELECTED_NODE

UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
WAITS = "WaitForFirstConsumer"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_ONE_POD = "ReadWriteOncePod"

_ELSEWHERE = Rejection(Filter.VOLUMES, ("node(s) didn't match PersistentVolume's node affinity",))
_NO_VOLUME = Rejection(Filter.VOLUMES, ("node(s) didn't find available persistent volumes to bind",))
_LOST = Rejection(Filter.VOLUMES, ("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",))
_IN_USE = Rejection(
    Filter.VOLUMES,
    ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",),
)


class Unresolved(Exception):
    """A claim for which no node is right yet; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Claims, volumes and classes by lookup; ``volumes`` gives all volumes."""

    claim: Callable[[Key], PersistentVolumeClaim | None] = field(default=lambda key: None)
    volume: Callable[[Key], PersistentVolume | None] = field(default=lambda key: None)
    storage_class: Callable[[Key], StorageClass | None] = field(default=lambda key: None)
    volumes: Callable[[], Iterable[PersistentVolume]] = field(default=tuple)


def bound(claim: PersistentVolumeClaim) -> bool:
    """Whether the claim has its volume for good."""
    return bool(claim.spec.volume_name) and claim.status.phase == "Bound"


class Claims:
    """The claims of one pod, looked up once per attempt; raises Unresolved."""

    def __init__(self, pod: PodInfo, storage: Storage, exclusive: Collection[tuple[str, str]] = ()) -> None:
        self._storage = storage
        self._volumes: list[PersistentVolume | None] = []
        self.waiting: list[PersistentVolumeClaim] = []
        self._in_use = False
        for name in pod.claims:
            claim = storage.claim(Key(pod.key.namespace, name))
            if claim is None:
                raise Unresolved(f'persistentvolumeclaim "{name}" not found')
            if claim.status.phase == "Lost":
                lost = claim.spec.volume_name
                raise Unresolved(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{lost}"')
            if claim.deleting:
                raise Unresolved(f'persistentvolumeclaim "{name}" is being deleted')
            if _ONE_POD in claim.spec.access_modes and (pod.key.namespace, name) in exclusive:
                self._in_use = True
            if bound(claim):
                self._volumes.append(storage.volume(Key("", claim.spec.volume_name)))
            elif claim.spec.volume_name or not self._waits(claim):
                raise Unresolved(UNBOUND)
            else:
                self.waiting.append(claim)

    def _waits(self, claim: PersistentVolumeClaim) -> bool:
        found = self._storage.storage_class(Key("", class_of(claim)))
        return found is not None and found.volume_binding_mode == WAITS

    def reject(self, node: Node) -> Rejection | None:
        """Whether the claims' volumes are, or can be, where the node reaches them."""
        if self._in_use:
            return _IN_USE
        for volume in self._volumes:
            if volume is None:
                return _LOST
            if not reachable(volume, node):
                return _ELSEWHERE
        for claim in self.waiting:
            chosen = claim.metadata.annotations.get(SELECTED_NODE)
            if chosen and chosen != node.name:
                return _NO_VOLUME
            if not self._can_have(claim, node):
                return _NO_VOLUME
        return None

    def _can_have(self, claim: PersistentVolumeClaim, node: Node) -> bool:
        if best_match(claim, self._storage.volumes(), waits=False, node=node) is not None:
            return True
        found = self._storage.storage_class(Key("", class_of(claim)))
        if found is None or found.provisioner in ("", _NO_PROVISIONER):
            return False
        terms = found.allowed_topologies
        return not terms or any(
            all(node.labels.get(each.key) in each.values for each in term.match_label_expressions) for term in terms
        )
