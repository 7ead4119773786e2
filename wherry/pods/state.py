"""What the agent knows of one pod at one moment: the input of `compile` and `status`, plain and immutable."""

from __future__ import annotations

import zlib

import msgspec

from wherry.kube.objects import Container, Pod
from wherry.pods.backoff import BackOff
from wherry.pods.model import ContainerState

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


class Ending(msgspec.Struct, frozen=True):
    """The whole pod is to end, for a reason other than its containers' own."""

    deadline: float
    """When the grace period is over (seconds since the epoch)."""
    delete: bool
    """Whether the pod's object is being, or has been, deleted."""
    reason: str = ""
    """Status reason of a pod that the node itself ended (`DeadlineExceeded`)."""
    message: str = ""


class SandboxState(msgspec.Struct, frozen=True):
    """The pod's network exists."""

    addresses: tuple[str, ...]
    since: float = 0.0
    """When this agent made it; containers started earlier belong to a sandbox that is gone. 0 when it was found."""


class Observed(msgspec.Struct, frozen=True):
    """Everything but the pod's object and the clock."""

    sandbox: SandboxState | None = None
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

    def latest(self, name: str) -> Attempt | None:
        """Return the newest start of a container that belongs to the present sandbox."""
        attempts = self.attempts.get(name)
        if not attempts:
            return None
        newest = attempts[-1]
        if self.sandbox is not None and not newest.running and newest.state.finished_at < self.sandbox.since:
            return None
        return newest

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


def is_sidecar(container: Container) -> bool:
    """Tell whether an init container keeps running beside the others (KEP-753)."""
    return container.restart_policy == "Always"


def restarts(pod: Pod, container: Container, attempt: Attempt, *, sidecar: bool = False) -> bool:
    """Tell whether the pod's restart policy wants a container that ended to be started again."""
    if sidecar:
        return True
    match pod.spec.restart_policy:
        case "Always":
            return True
        case "OnFailure":
            return attempt.failed
    return False


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
    if pod.spec.restart_policy != "Never":
        return False
    for container in pod.spec.init_containers:
        attempt = seen.latest(container.name)
        if not is_sidecar(container) and attempt is not None and attempt.failed:
            return True
    return False


def all_ended(pod: Pod, seen: Observed) -> bool:
    """Tell whether every main container has ended and none is to be started again."""
    for container in pod.spec.containers or ():
        attempts = seen.attempts.get(container.name)
        if not attempts or attempts[-1].running or restarts(pod, container, attempts[-1]):
            return False
    return True
