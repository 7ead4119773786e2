"""What the agent knows of one pod at one moment: the input of `compile` and `status`, plain and immutable."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import msgspec

from wherry.kube.objects import Container, Pod
from wherry.pods.backoff import BackOff
from wherry.pods.model import ContainerState
from wherry.pods.restarts import is_sidecar, restarts, restarts_all

ID_SCHEME = "wherry://"
"""What `containerID` in a status begins with, as `containerd://` does elsewhere."""


class ContainerName(msgspec.Struct, frozen=True):
    """The parts of a container id. An id says all that a restarted agent must know of a container it did not start."""

    pod_uid: str
    container: str
    attempt: int
    image_hash: str

    def __str__(self) -> str:
        return f"{self.pod_uid}_{self.container}_{self.attempt}_{self.image_hash}"


def container_id(pod: Pod, container: Container, attempt: int) -> str:
    """Return the runtime id of one start of a container; the same start always has the same id."""
    return str(ContainerName(pod.uid, container.name, attempt, image_hash(container.image)))


def parse_id(text: str) -> ContainerName | None:
    """Read an id that `container_id` made; None for anything else."""
    parts = text.split("_")
    if len(parts) != 4 or not parts[2].isdigit():
        return None
    return ContainerName(parts[0], parts[1], int(parts[2]), parts[3])


def image_hash(image: str) -> str:
    """Return a short digest by which a changed image is noticed."""
    return f"{zlib.crc32(image.encode()):08x}"


class Attempt(msgspec.Struct, frozen=True):
    """One start of a container, counted from 0."""

    number: int
    image_hash: str
    state: ContainerState

    @property
    def running(self) -> bool:
        """Whether the container runs."""
        return self.state.phase == "running"

    @property
    def failed(self) -> bool:
        """Whether it ended with an exit code other than 0."""
        return self.state.phase == "exited" and self.state.exit_code != 0


class Waiting(msgspec.Struct, frozen=True):
    """Why a container does not run, as its status words it."""

    reason: str
    message: str = ""


class ProbeResults(msgspec.Struct, frozen=True):
    """What the probes of one running container say; None: no such probe, or it has not decided yet."""

    startup: bool | None = None
    readiness: bool | None = None
    liveness: bool | None = None


class Stopping(msgspec.Struct, frozen=True):
    """A container that was told to end, and when it is killed (seconds since the epoch)."""

    deadline: float
    held: bool = False
    """So far only its preStop hook runs; its signal has to wait for its turn."""


class Ending(msgspec.Struct, frozen=True):
    """The whole pod is to end, for a reason other than its containers' own."""

    deadline: float
    """When the grace period is over (seconds since the epoch)."""
    delete: bool
    """Whether the pod's object is being, or has been, deleted."""
    reason: str = ""
    """Status reason of a pod that the node itself ended (`DeadlineExceeded`)."""
    message: str = ""
    rejected: bool = False
    """Whether the node never took the pod: nothing of it ran, and its status says nothing but that."""


class SandboxState(msgspec.Struct, frozen=True):
    """The pod's network exists."""

    addresses: tuple[str, ...]
    since: float = 0.0
    """When this agent made it; containers started earlier belong to a sandbox that is gone. 0 when it was found."""


class Observed(msgspec.Struct, frozen=True):
    """Everything but the pod's object and the clock."""

    sandbox: SandboxState | None = None
    addresses: tuple[str, ...] | None = None
    """Those of the sandbox, also after it was taken down; None where this agent knows of none."""
    volumes: bool = False
    """Whether every volume is set up."""
    attempts: dict[str, tuple[Attempt, ...]] = {}
    """By container name, oldest first; the last one counts."""
    probes: dict[str, ProbeResults] = {}
    """By container id."""
    hooks: frozenset[str] = frozenset()
    """Ids of containers whose postStart hook has not ended."""
    errors: dict[str, Waiting] = {}
    """Why the last try to start a container came to nothing, by container name."""
    retry_at: dict[str, float] = {}
    """Earliest next try after such an error, by container name or `SETUP`."""
    backoffs: dict[str, BackOff] = {}
    stopping: dict[str, Stopping] = {}
    """By container id."""
    busy: frozenset[str] = frozenset()
    """What is being done now: container names being started, or `SETUP`, `TEARDOWN`."""
    ending: Ending | None = None
    finished: bool = False
    """Whether the API already has a final phase for this pod; then nothing of it may ever run again."""
    replaced: frozenset[str] = frozenset()
    """Ids of containers that were ended because their definition changed, which no restart policy forbids."""
    epoch: float = 0.0
    """When all containers had to begin anew for the last time; what was started earlier does not count (KEP-5532)."""

    def latest(self, name: str) -> Attempt | None:
        """Return the newest start of a container that belongs to the present sandbox."""
        attempts = self.attempts.get(name)
        if not attempts:
            return None
        newest = attempts[-1]
        if newest.running:
            return newest
        if self.sandbox is not None and newest.state.finished_at < self.sandbox.since:
            return None
        return None if self.outdated(newest) else newest

    def outdated(self, attempt: Attempt) -> bool:
        """Tell whether a container was started before all containers had to begin anew."""
        return attempt.state.started_at < self.epoch

    def restarts(self, pod: Pod, container: Container, attempt: Attempt) -> bool:
        """Tell whether a container that ended is to be started again."""
        if attempt.state.id in self.replaced or self.outdated(attempt):
            return True
        return restarts(pod, container, attempt.state.exit_code)

    def in_hook(self, attempt: Attempt) -> bool:
        """Tell whether a container runs whose postStart hook has not ended, and so does not count as running yet."""
        return attempt.running and attempt.state.id in self.hooks

    def running(self) -> tuple[Attempt, ...]:
        """Return every running container."""
        return tuple(attempts[-1] for attempts in self.attempts.values() if attempts and attempts[-1].running)

    def started(self, container: Container) -> bool:
        """Tell whether a container runs and has passed its postStart hook and startup probe."""
        attempt = self.latest(container.name)
        if attempt is None or not attempt.running or attempt.state.id in self.hooks:
            return False
        if container.startup_probe is None:
            return True
        return self.probes.get(attempt.state.id, ProbeResults()).startup is True

    def ready(self, container: Container) -> bool:
        """Tell whether a container is started and its readiness probe, if it has one, succeeds."""
        if not self.started(container):
            return False
        if container.readiness_probe is None:
            return True
        attempt = self.latest(container.name)
        return attempt is not None and self.probes.get(attempt.state.id, ProbeResults()).readiness is True


SETUP = "/setup"
TEARDOWN = "/teardown"
"""Keys in `Observed.busy` and `retry_at`; no container can have such a name."""


def initialised(pod: Pod, seen: Observed) -> bool:
    """Tell whether the init containers are done and the sidecars among them started, now or earlier."""
    if any(seen.latest(container.name) is not None for container in pod.spec.containers or ()):
        return True
    for container in pod.spec.init_containers:
        if is_sidecar(container):
            if not seen.started(container):
                return False
            continue
        attempt = seen.latest(container.name)
        if attempt is None or attempt.running or attempt.failed:
            return False
    return True


def init_failed(pod: Pod, seen: Observed) -> bool:
    """Tell whether an init container failed that will not be tried again, so that the pod has failed."""
    for container in pod.spec.init_containers:
        attempt = seen.latest(container.name)
        if is_sidecar(container) or attempt is None or not attempt.failed:
            continue
        if not seen.restarts(pod, container, attempt):
            return True
    return False


def all_ended(pod: Pod, seen: Observed) -> bool:
    """Tell whether every main container has ended and none is to be started again."""
    for container in pod.spec.containers or ():
        attempts = seen.attempts.get(container.name)
        if not attempts or attempts[-1].running or seen.restarts(pod, container, attempts[-1]):
            return False
    return True


def restart_epoch(pod: Pod, attempts: Mapping[str, tuple[Attempt, ...]]) -> float:
    """Return when a container last ended in a way that makes all containers begin anew; 0: never."""
    moments = [
        attempt.state.finished_at
        for container in (*pod.spec.init_containers, *(pod.spec.containers or ()))
        if container.restart_policy_rules
        for attempt in attempts.get(container.name, ())
        if not attempt.running and restarts_all(container, attempt.state.exit_code)
    ]
    return max(moments, default=0.0)
