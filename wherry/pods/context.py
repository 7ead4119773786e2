"""What all pods of a node share: the neighbours, the settings and the limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informer
from wherry.kube.objects import Container, Pod, Service
from wherry.kube.objects.base import Quantity
from wherry.pods.backoff import BackOffPolicy
from wherry.pods.dns import ClusterDns
from wherry.pods.images import ImageEntry
from wherry.pods.interfaces import Runtime, Sandboxes
from wherry.pods.references import References


class PodSettings(msgspec.Struct, frozen=True):
    """Settings of the pods of one node; times in seconds."""

    node_name: str
    node_ips: tuple[str, ...]
    """`status.hostIPs`: the node's internal addresses, the preferred family first."""
    data_dir: Path
    """Persists: logs below `pods/`, volumes below `kubelet/pods/`."""
    memory_dir: Path
    """A directory on a tmpfs, for emptyDirs of medium Memory."""
    dns: ClusterDns = ClusterDns()
    images: tuple[ImageEntry, ...] = ()
    """The image table."""
    allocatable: dict[str, Quantity] = {}
    """The node's, for `resourceFieldRef` of limits that are not set."""
    backoff: BackOffPolicy = BackOffPolicy()
    parallel: int = 8
    """How many pods are set up or started at the same time."""
    hold: float = 0.1
    """How long a status may wait for a step that is under way, so as to be written together with its outcome."""
    first_hold: float = 1.0
    """The same for the first status of a pod, before which the API says Pending, which is true."""


@dataclass(slots=True)
class Context:
    """The neighbours of the pods of one node."""

    client: Client
    recorder: EventRecorder
    services: Informer[Service]
    references: References
    runtime: Runtime
    sandboxes: Sandboxes
    settings: PodSettings
    clock: Callable[[], float] = time.time
    slots: asyncio.Semaphore = field(init=False)
    starved: dict[str, Callable[[], None]] = field(default_factory=dict)
    """By pod uid, in the order of their coming: how pods that found no address left are told to try again."""

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.settings.parallel)

    def event(self, pod: Pod, type_: str, reason: str, message: str, *, container: Container | None = None) -> None:
        """Record an event about a pod or one of its containers."""
        reference = kinds.reference(pod)
        if container is not None:
            path = f"spec.{_list_of(pod, container)}{{{container.name}}}"
            reference = msgspec.structs.replace(reference, field_path=path)
        self.recorder.event(reference, type_, reason, message)

    def address_freed(self, uid: str) -> None:
        """Let the pod that has waited longest try again, as that of this uid has given its address back."""
        self.starved.pop(uid, None)
        if self.starved:
            self.starved.pop(next(iter(self.starved)))()

    def log_dir(self, pod: Pod) -> Path:
        """Return where the logs of a pod's containers are."""
        return self.settings.data_dir / "pods" / f"{pod.namespace}_{pod.name}_{pod.uid}"

    @property
    def volumes_dir(self) -> Path:
        """Where volumes are kept, by pod uid."""
        return self.settings.data_dir / "kubelet" / "pods"


def _list_of(pod: Pod, container: Container) -> str:
    for name, containers in (
        ("initContainers", pod.spec.init_containers),
        ("ephemeralContainers", pod.spec.ephemeral_containers),
    ):
        if any(found.name == container.name for found in containers):
            return name
    return "containers"
