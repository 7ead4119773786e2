"""From a pod as it should be and as it is to the next steps. Pure: no I/O and no clock but the `now` that is handed in.

The rules are the kubelet's: volumes and the network come before the first container; init containers run one after the
other, sidecars among them (KEP-753) only have to have started; main containers are started in order, each once the
start of the one before, postStart hook included, has succeeded or failed; whatever ends is started again as the restart
policies and rules say, with back-off; ephemeral containers run once. In a pod that is to end all preStop hooks run at
once; the signal goes to the main containers first and to the sidecars after them, last one first, all within one grace
period.

`compile_pod` is called again after every change, so it need not know how the present state came about.
"""

from __future__ import annotations

import msgspec

from wherry.kube.objects import Container, Pod, Probe
from wherry.pods.backoff import BackOffPolicy, go_duration, held_until
from wherry.pods.restarts import is_sidecar, restartable, restarts_all
from wherry.pods.state import (
    SETUP,
    TEARDOWN,
    Attempt,
    Observed,
    ProbeResults,
    Waiting,
    all_ended,
    image_hash,
    init_failed,
    initialised,
)

DEFAULT_GRACE = 30
KUBELET_POLICY = BackOffPolicy()
KEPT_ATTEMPTS = 2
"""The present start of a container and the one before it, for `lastState` and `kubectl logs --previous`."""


class SetUp(msgspec.Struct, frozen=True):
    """Set up the volumes, then the network."""


class Start(msgspec.Struct, frozen=True):
    """Start a container for the `attempt`-th time; `ended` is when the last one ended, None the first time."""

    container: Container
    attempt: int
    ended: float | None = None


class Stop(msgspec.Struct, frozen=True):
    """Run the preStop hook, then end a container; kill it at `deadline` (seconds since the epoch)."""

    container: Container
    id: str
    deadline: float
    message: str
    """Text of the `Killing` event."""
    held: bool = False
    """Only run the hook: the container's turn to end comes later."""
    kill: bool = False
    """Kill it at once, without hook and grace period."""
    replace: bool = False
    """It is to be started again whatever its restart policy says."""


class Remove(msgspec.Struct, frozen=True):
    """Forget an old start of a container, with its log."""

    container: Container
    id: str


class TearDown(msgspec.Struct, frozen=True):
    """Take the network down; with `delete` also the volumes, dead containers and logs, then the pod's object."""

    delete: bool


Action = SetUp | Start | Stop | Remove | TearDown


class Plan(msgspec.Struct, frozen=True):
    """What to do now, when to look again at the latest, and why some containers wait."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    waiting: dict[str, Waiting] = {}
    """By container name; containers that simply have not been started are not listed."""


class _Planner:
    """Collects the plan of one pod."""

    def __init__(self, pod: Pod, seen: Observed, now: float, policy: BackOffPolicy) -> None:
        self.pod = pod
        self.seen = seen
        self.now = now
        self.policy = policy
        self.actions: list[Action] = []
        self.waiting: dict[str, Waiting] = dict(seen.errors)
        self.wake_at: float | None = None
        self.gate_closed = False
        """Whether a container is being started, so that those after it have to wait."""

    def plan(self) -> Plan:
        self._forget_old()
        if self.seen.ending is not None:
            self._end(deadline=self.seen.ending.deadline, delete=self.seen.ending.delete)
        elif self.seen.finished or all_ended(self.pod, self.seen) or init_failed(self.pod, self.seen):
            self._end(deadline=self.now + grace_period(self.pod), delete=False)
        elif self._set_up():
            self._run()
        return Plan(tuple(self.actions), self.wake_at, self.waiting)

    # -- the way up ----------------------------------------------------------------------------------------------

    def _set_up(self) -> bool:
        if self.seen.sandbox is not None and self.seen.volumes:
            return True
        if SETUP in self.seen.busy:
            return False
        lost = self.seen.running() if self.seen.sandbox is None else ()
        if lost:
            # The network these containers were born in is gone; they can only be replaced.
            for container in self._containers():
                self._stop_running(
                    container, self.now + grace_period(self.pod), "Stopping container {}, its sandbox is gone"
                )
            return False
        if self._due(SETUP):
            self.actions.append(SetUp())
        return False

    def _run(self) -> None:
        if self._begin_anew():
            return
        for guest in self.pod.spec.ephemeral_containers:
            if not self.seen.attempts.get(guest.name) and guest.name not in self.seen.busy:
                self._start(guest)
        self.gate_closed = False
        done = initialised(self.pod, self.seen)
        for container in self.pod.spec.init_containers:
            attempt = self.seen.latest(container.name)
            sidecar = is_sidecar(container)
            if done and not sidecar:
                continue
            self._drive(container, attempt, init=not sidecar)
            if not done and not self._passed(container, attempt):
                return
        for container in self.pod.spec.containers or ():
            self._drive(container, self.seen.latest(container.name))

    def _begin_anew(self) -> bool:
        """Kill what was started before all containers had to begin anew; True while something of it runs."""
        outdated = [
            (container, attempts[-1])
            for container in (*self.pod.spec.init_containers, *(self.pod.spec.containers or ()))
            if (attempts := self.seen.attempts.get(container.name))
            and attempts[-1].running
            and self.seen.outdated(attempts[-1])
        ]
        for container, attempt in outdated:
            message = f"Container {container.name} will be restarted with all others of the pod"
            self._stop(container, attempt, self.now, message, kill=True)
        return bool(outdated)

    def _passed(self, container: Container, attempt: Attempt | None) -> bool:
        if is_sidecar(container):
            return self.seen.started(container)
        return attempt is not None and not attempt.running and not attempt.failed

    def _drive(self, container: Container, attempt: Attempt | None, *, init: bool = False) -> None:
        """Decide over one container whose turn it is."""
        if container.name in self.seen.busy:
            self.gate_closed = True
        elif attempt is None:
            self._start_first(container)
        elif attempt.running:
            self.gate_closed = self.gate_closed or self.seen.in_hook(attempt)
            self._check_running(container, attempt)
        elif init and not attempt.failed:
            # Initialisation is repeated only after a failure.
            return
        elif self.seen.restarts(self.pod, container, attempt):
            self._restart(container, attempt)

    def _start_first(self, container: Container) -> None:
        attempts = self.seen.attempts.get(container.name)
        if attempts and restarts_all(container, attempts[-1].state.exit_code) and self.seen.outdated(attempts[-1]):
            # What makes all others begin anew does not escape its back-off by that.
            self._restart(container, attempts[-1])
        else:
            self._start(container)

    def _check_running(self, container: Container, attempt: Attempt) -> None:
        if attempt.image_hash != image_hash(container.image):
            message = f"Container {container.name} definition changed, will be restarted"
            self._stop(container, attempt, self.now + grace_period(self.pod), message, replace=True)
            return
        results = self.seen.probes.get(attempt.state.id, ProbeResults())
        tail = ", will be restarted" if restartable(self.pod, container) else ""
        for failed, probe, name in (
            (results.liveness is False, container.liveness_probe, "liveness"),
            (results.startup is False, container.startup_probe, "startup"),
        ):
            if failed and probe is not None:
                message = f"Container {container.name} failed {name} probe{tail}"
                self._stop(container, attempt, self.now + grace_period(self.pod, probe), message)
                return

    def _restart(self, container: Container, attempt: Attempt) -> None:
        ended = attempt.state.finished_at
        changed = attempt.image_hash != image_hash(container.image)
        held = None if changed else held_until(self.seen.backoffs.get(container.name), ended, self.policy)
        if held is not None and held > self.now:
            entry = self.seen.backoffs[container.name]
            meta = self.pod.metadata
            text = (
                f"back-off {go_duration(entry.delay)} restarting failed container={container.name} "
                f"pod={meta.name}_{meta.namespace}({meta.uid})"
            )
            self.waiting[container.name] = Waiting("CrashLoopBackOff", text)
            self._wake(held)
            return
        if attempt.state.reason == "StartError":
            self.waiting.setdefault(container.name, Waiting("RunContainerError", attempt.state.message))
        self._start(container, ended=ended)

    def _start(self, container: Container, *, ended: float | None = None) -> None:
        if self.gate_closed or not self._due(container.name):
            return
        attempts = self.seen.attempts.get(container.name)
        number = attempts[-1].number + 1 if attempts else 0
        self.actions.append(Start(container, number, ended))
        self.gate_closed = True

    def _due(self, key: str) -> bool:
        retry = self.seen.retry_at.get(key)
        if retry is None or retry <= self.now:
            return True
        self._wake(retry)
        return False

    # -- the way down --------------------------------------------------------------------------------------------

    def _end(self, *, deadline: float, delete: bool) -> None:
        sidecars = [container for container in self.pod.spec.init_containers if is_sidecar(container)]
        others = [container for container in self._containers() if not is_sidecar(container)]
        # What ended is not started again, so it is reported as ended.
        self.waiting = {name: why for name, why in self.waiting.items() if not self.seen.attempts.get(name)}
        if self.seen.busy:
            # A start or a set-up under way ends first; what it leaves is then stopped like the rest.
            return
        blocked = self._stop_all(others, deadline)
        for container in reversed(sidecars):
            blocked = self._stop_all([container], deadline, held=blocked) or blocked
        if not blocked and (delete or self.seen.sandbox is not None) and self._due(TEARDOWN):
            self.actions.append(TearDown(delete=delete))

    def _stop_all(self, containers: list[Container], deadline: float, *, held: bool = False) -> bool:
        """Stop those that run; True while one does."""
        message = "Stopping container {}"
        running = [container for container in containers if self._stop_running(container, deadline, message, held)]
        return bool(running)

    def _stop_running(self, container: Container, deadline: float, message: str, held: bool = False) -> bool:
        attempts = self.seen.attempts.get(container.name)
        if not attempts or not attempts[-1].running:
            return False
        self._stop(container, attempts[-1], deadline, message.format(container.name), held=held)
        return True

    def _stop(
        self,
        container: Container,
        attempt: Attempt,
        deadline: float,
        message: str,
        *,
        held: bool = False,
        kill: bool = False,
        replace: bool = False,
    ) -> None:
        under_way = self.seen.stopping.get(attempt.state.id)
        if under_way is None or under_way.deadline > deadline or (under_way.held and not held):
            self.actions.append(Stop(container, attempt.state.id, deadline, message, held, kill, replace))

    # -- the rest ------------------------------------------------------------------------------------------------

    def _forget_old(self) -> None:
        for container in self._containers():
            for attempt in self.seen.attempts.get(container.name, ())[:-KEPT_ATTEMPTS]:
                self.actions.append(Remove(container, attempt.state.id))

    def _containers(self) -> tuple[Container, ...]:
        return self.pod.spec.every_container

    def _wake(self, moment: float) -> None:
        if self.wake_at is None or moment < self.wake_at:
            self.wake_at = moment


def compile_pod(pod: Pod, seen: Observed, now: float, *, policy: BackOffPolicy = KUBELET_POLICY) -> Plan:
    """Return the next steps of one pod; `now` in seconds since the epoch."""
    if TEARDOWN in seen.busy:
        return Plan(waiting=dict(seen.errors))
    return _Planner(pod, seen, now, policy).plan()


def grace_period(pod: Pod, probe: Probe | None = None) -> float:
    """Return the seconds between asking a container to end and killing it; a failed probe may have its own."""
    if probe is not None and probe.termination_grace_period_seconds is not None:
        return float(max(1, probe.termination_grace_period_seconds))
    if pod.metadata.deletion_grace_period_seconds is not None:
        return float(max(1, pod.metadata.deletion_grace_period_seconds))
    seconds = pod.spec.termination_grace_period_seconds
    return float(DEFAULT_GRACE if seconds is None else max(1, seconds))
