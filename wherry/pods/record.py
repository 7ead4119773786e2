"""What one pod's worker remembers, and how it is turned into the `Observed` that the pure parts work on."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from wherry.kube.objects import Pod
from wherry.kube.objects.containers import ContainerStatus
from wherry.kube.times import parse_time
from wherry.pods.backoff import BackOff
from wherry.pods.model import ContainerState
from wherry.pods.probes.prober import Prober
from wherry.pods.sandbox.model import Sandbox
from wherry.pods.state import (
    ID_SCHEME,
    Attempt,
    Ending,
    Observed,
    ProbeResults,
    SandboxState,
    Stopping,
    Waiting,
    parse_id,
    restart_epoch,
)

_LOST = "The container could not be located when the pod was terminated"
_FIRST_RETRY, _LONGEST_RETRY = 0.5, 60.0


@dataclass(slots=True)
class Record:
    """The mutable memory of one pod."""

    sandbox: Sandbox | None = None
    sandbox_since: float = 0.0
    addresses: tuple[str, ...] | None = None
    volumes: bool = False
    attempts: dict[str, tuple[Attempt, ...]] = field(default_factory=dict)
    probers: dict[str, Prober] = field(default_factory=dict)
    seeds: dict[str, ProbeResults] = field(default_factory=dict)
    hooks: set[str] = field(default_factory=set)
    errors: dict[str, Waiting] = field(default_factory=dict)
    retry_at: dict[str, float] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    backoffs: dict[str, BackOff] = field(default_factory=dict)
    pulls: dict[str, BackOff] = field(default_factory=dict)
    """Why images are not tried again at once, by container name."""
    replaced: set[str] = field(default_factory=set)
    stopping: dict[str, Stopping] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    ending: Ending | None = None
    finished: bool = False

    def observed(self, pod: Pod) -> Observed:
        """Return an immutable copy, as it concerns the pod's object."""
        sandbox = None
        if self.sandbox is not None:
            self.addresses = self.sandbox.addresses
            sandbox = SandboxState(self.sandbox.addresses, self.sandbox_since)
        return Observed(
            sandbox=sandbox,
            addresses=self.addresses,
            volumes=self.volumes,
            attempts=dict(self.attempts),
            probes={**self.seeds, **{id_: prober.results for id_, prober in self.probers.items()}},
            hooks=frozenset(self.hooks),
            errors=dict(self.errors),
            retry_at=dict(self.retry_at),
            backoffs=dict(self.backoffs),
            stopping=dict(self.stopping),
            busy=frozenset(self.busy),
            ending=self.ending,
            finished=self.finished,
            replaced=frozenset(self.replaced),
            epoch=restart_epoch(pod, self.attempts),
        )

    def notice(self, state: ContainerState) -> bool:
        """Take in what the runtime says of a container; False when that is nothing new."""
        name = parse_id(state.id)
        if name is None:
            return False
        attempts = self.attempts.get(name.container, ())
        for index, attempt in enumerate(attempts):
            if attempt.number == name.attempt:
                if attempt.state == state or _overtaken(attempt.state, state):
                    return False
                known = (*attempts[:index], Attempt(attempt.number, name.image_hash, state), *attempts[index + 1 :])
                break
        else:
            new = Attempt(name.attempt, name.image_hash, state)
            known = tuple(sorted((*attempts, new), key=lambda found: found.number))
        self.attempts[name.container] = known
        if state.phase == "exited":
            self.stopping.pop(state.id, None)
            self.hooks.discard(state.id)
            self.seeds.pop(state.id, None)
        return True

    def forget(self, container_id: str) -> None:
        """Drop an old start of a container."""
        name = parse_id(container_id)
        if name is not None:
            kept = tuple(found for found in self.attempts.get(name.container, ()) if found.state.id != container_id)
            self.attempts[name.container] = kept
        self.replaced.discard(container_id)

    def find(self, container_id: str) -> Attempt | None:
        """Return a start of a container by its id."""
        name = parse_id(container_id)
        attempts = self.attempts.get(name.container, ()) if name is not None else ()
        return next((found for found in attempts if found.state.id == container_id), None)

    def failed(self, key: str, now: float, why: Waiting | None = None) -> None:
        """Note that a step came to nothing, and when it may be tried again at the latest."""
        delay = min(self.delays.get(key, _FIRST_RETRY / 2) * 2, _LONGEST_RETRY)
        self.delays[key] = delay
        self.retry_at[key] = now + delay
        if why is not None:
            self.errors[key] = why

    def succeeded(self, key: str) -> None:
        """Note that a step was done."""
        self.errors.pop(key, None)
        self.retry_at.pop(key, None)
        self.delays.pop(key, None)


def _overtaken(known: ContainerState, told: ContainerState) -> bool:
    """Tell whether an answer is older than the event that came before it: states only go forward."""
    if told.phase == "exited":
        return False
    return known.phase == "exited" or (known.pid != 0 and told.pid == 0)


def adopt(pod: Pod, states: list[ContainerState], sandbox: Sandbox | None) -> Record:
    """Return the memory of a pod that a former agent may have had: what runs, what was reported, what was lost."""
    record = Record(sandbox=sandbox, finished=pod.finished)
    for state in states:
        record.notice(state)
    reported = pod.status
    for status in (
        *reported.init_container_statuses,
        *reported.container_statuses,
        *reported.ephemeral_container_statuses,
    ):
        id_ = status.container_id.removeprefix(ID_SCHEME)
        if not id_:
            continue
        if record.find(id_) is None:
            lost = _lost(pod, status, id_)
            if lost is not None:
                record.notice(lost)
        else:
            # Results from before the restart hold until the probes say otherwise, so that a ready pod stays ready.
            record.seeds[id_] = ProbeResults(startup=True if status.started else None, readiness=status.ready)
    return record


def _lost(pod: Pod, status: ContainerStatus, id_: str) -> ContainerState | None:
    """Return the end of a container that was reported and that the runtime does not know any more."""
    if status.state.terminated is not None:
        ended = status.state.terminated
        return ContainerState(
            id=id_,
            pod_uid=pod.uid,
            name=status.name,
            phase="exited",
            started_at=parse_time(ended.started_at) if ended.started_at else 0.0,
            finished_at=parse_time(ended.finished_at) if ended.finished_at else 0.0,
            exit_code=ended.exit_code,
            reason=ended.reason,
            message=ended.message,
        )
    if status.state.running is None:
        return None
    started = parse_time(status.state.running.started_at) if status.state.running.started_at else 0.0
    return ContainerState(
        id=id_,
        pod_uid=pod.uid,
        name=status.name,
        phase="exited",
        started_at=started,
        finished_at=started,
        exit_code=137,
        reason="ContainerStatusUnknown",
        message=_LOST,
    )


def lost_now(state: ContainerState, now: float) -> ContainerState:
    """Return the end of a container that the runtime has just said it does not know."""
    return msgspec.structs.replace(
        state,
        phase="exited",
        finished_at=now,
        exit_code=137,
        reason="ContainerStatusUnknown",
        message=_LOST,
        pid=0,
    )
