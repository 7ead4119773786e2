"""Starting the containers of one pod: what keeps one from starting, what is said about it, and the postStart hook.

Reasons and events are the kubelet's. Nothing is pulled, so the image's part of them is about what the image table, the
built-in images and the reference itself say: what they have is present, and of a stand-in nothing is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wherry.kube.objects import Container, EphemeralContainer, Pod
from wherry.pods.backoff import BackOff, raised
from wherry.pods.compile import Start, Stop, grace_period
from wherry.pods.containers import ImageError, container_spec
from wherry.pods.context import Context
from wherry.pods.env import ConfigError, environment
from wherry.pods.hooks import HookFailed, run_hook
from wherry.pods.imagename import reference_error
from wherry.pods.model import ContainerSpec, ContainerState
from wherry.pods.record import Record
from wherry.pods.runtime.client import RuntimeRefused, RuntimeUnavailable, UnknownContainer
from wherry.pods.sandbox.model import Sandbox
from wherry.pods.state import Stopping, Waiting, container_id, parse_id
from wherry.pods.volumes.payload import MountError

if TYPE_CHECKING:
    from wherry.pods.actions import PodActions
    from wherry.pods.worker import PodWorker

_POST_START_LIMIT = 3600.0
"""Seconds after which a postStart hook that hangs counts as failed; Kubernetes sets no limit of its own."""
_UNTIL_BACK_OFF = 1.0
"""Seconds for which a container says ErrImagePull before it says ImagePullBackOff."""


class ImageRefused(Exception):
    """The image cannot be used: the reason the container waits, and the events to be told before `Error: REASON`."""

    def __init__(self, reason: str, message: str, *events: tuple[str, str, str]) -> None:
        super().__init__(message)
        self.reason = reason
        self.events = events


class Starter:
    """The starts of one pod's containers."""

    def __init__(self, context: Context, worker: PodWorker, actions: PodActions) -> None:
        self._context = context
        self._worker = worker
        self._actions = actions
        self._said: set[str] = set()

    @property
    def _pod(self) -> Pod:
        return self._worker.pod

    @property
    def _record(self) -> Record:
        return self._worker.record

    async def start(self, action: Start) -> None:
        """Start a container once."""
        record, context, container = self._record, self._context, action.container
        sandbox = record.sandbox
        if sandbox is None:
            return
        try:
            spec = self._aimed(container, self._spec(action, sandbox))
            if spec.argv is not None:
                await self._actions.need_volumes()
        except ConfigError as error:
            self._refuse(container, Waiting("CreateContainerConfigError", str(error)), f"Error: {error}")
            return
        except MountError as error:
            self._refuse(container, Waiting("CreateContainerError", str(error)), f"Error: {error}")
            return
        except ImageRefused as refused:
            self._refuse_image(container, refused)
            return
        async with context.slots:
            try:
                state = await context.runtime.start(spec)
            except (RuntimeUnavailable, RuntimeRefused, UnknownContainer) as error:
                self._refuse(container, Waiting("CreateContainerError", str(error)), f"Error: {error}")
                return
        record.succeeded(container.name)
        record.pulls.pop(container.name, None)
        if action.ended is not None:
            self._raise_back_off(action, action.ended)
        self._started(container, spec, state)
        self._worker.notice(state)

    def _raise_back_off(self, action: Start, ended: float) -> None:
        record, name = self._record, action.container.name
        attempts = record.attempts.get(name, ())
        present = parse_id(container_id(self._pod, action.container, action.attempt))
        if attempts and present is not None and attempts[-1].image_hash != present.image_hash:
            # A container with another definition begins without a past.
            record.backoffs.pop(name, None)
            return
        entry = raised(record.backoffs.get(name), ended, self._context.clock(), self._context.settings.backoff)
        record.backoffs[name] = entry

    def _spec(self, action: Start, sandbox: Sandbox) -> ContainerSpec:
        context, pod, container = self._context, self._pod, action.container
        self._check_reference(container)
        variables = environment(
            pod,
            container,
            sources=context.references.sources(pod.uid),
            services=context.services.list(),
            facts=self._actions.facts(),
            read_file=self._actions.volumes.read,
        )
        volumes = self._actions.volumes
        try:
            return container_spec(
                pod,
                container,
                action.attempt,
                node=context.settings.node_name,
                table=context.settings.images,
                variables=variables,
                sandbox=sandbox,
                volumes={volume.name: volumes.path(volume) for volume in pod.spec.volumes},
                log_path=self._actions.log_path(container.name, action.attempt),
                termination_file=volumes.termination_file(container.name, action.attempt),
                behaviour=self._worker.behaving.behaviour,
            )
        except ImageError as error:
            raise self._absent(container, str(error)) from error

    def _aimed(self, container: Container, spec: ContainerSpec) -> ContainerSpec:
        """Have an ephemeral container see the processes of its target."""
        if not isinstance(container, EphemeralContainer) or not container.target_container_name or spec.argv is None:
            return spec
        name = container.target_container_name
        attempts = self._record.attempts.get(name, ())
        if not attempts or not attempts[-1].running or attempts[-1].state.stand_in:
            note = f"container {name} has no processes to be seen: it is a stand-in or does not run"
            return msgspec.structs.replace(spec, notes=(*spec.notes, note))
        return msgspec.structs.replace(spec, target=attempts[-1].state.id)

    # -- images --------------------------------------------------------------------------------------------------

    def _check_reference(self, container: Container) -> None:
        wrong = reference_error(container.image)
        if wrong:
            image = container.image
            text = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {wrong}'
            raise ImageRefused("InvalidImageName", text, ("Warning", "InspectFailed", text))

    def _absent(self, container: Container, why: str) -> ImageRefused:
        """An image with nothing to run: as a pull that fails, and is tried again ever more seldom."""
        now, image = self._context.clock(), container.image
        if container.image_pull_policy == "Never":
            text = f'Container image "{image}" is not present with pull policy of Never'
            return ImageRefused("ErrImageNeverPull", text, ("Warning", "ErrImageNeverPull", text))
        entry = self._record.pulls.get(container.name)
        if entry is not None and now < entry.updated + entry.delay:
            text = f'Back-off pulling image "{image}"'
            return ImageRefused("ImagePullBackOff", f"{text}: ErrImagePull: {why}", ("Normal", "BackOff", text))
        policy = self._context.settings.backoff
        delay = policy.base if entry is None else min(entry.delay * 2, policy.maximum)
        self._record.pulls[container.name] = BackOff(delay, now)
        return ImageRefused(
            "ErrImagePull",
            why,
            ("Normal", "Pulling", f'Pulling image "{image}"'),
            ("Warning", "Failed", f'Failed to pull image "{image}": {why}'),
        )

    def _refuse_image(self, container: Container, refused: ImageRefused) -> None:
        record, now = self._record, self._context.clock()
        for type_, reason, message in refused.events:
            self._context.event(self._pod, type_, reason, message, container=container)
        self._refuse(container, Waiting(refused.reason, str(refused)), f"Error: {refused.reason}")
        pull = record.pulls.get(container.name)
        if refused.reason == "ErrImagePull":
            record.retry_at[container.name] = now + _UNTIL_BACK_OFF
        elif pull is not None and refused.reason == "ImagePullBackOff":
            record.retry_at[container.name] = pull.updated + pull.delay

    def _refuse(self, container: Container, why: Waiting, message: str) -> None:
        self._record.failed(container.name, self._context.clock(), why)
        self._context.event(self._pod, "Warning", "Failed", message, container=container)

    # -- after the start -----------------------------------------------------------------------------------------

    def _started(self, container: Container, spec: ContainerSpec, state: ContainerState) -> None:
        context, pod = self._context, self._pod
        if spec.argv is not None:
            present = f'Container image "{container.image}" already present on machine and can be accessed by the pod'
            context.event(pod, "Normal", "Pulled", present, container=container)
        context.event(pod, "Normal", "Created", "Container created", container=container)
        # A stand-in fails at its start only, when a port it should answer on is taken.
        if state.phase == "exited" and (state.reason == "StartError" or (state.stand_in and state.exit_code)):
            self.could_not_start(container, state)
            return
        stand_in = f" as a stand-in: no program is known for image {container.image}" if spec.argv is None else ""
        context.event(pod, "Normal", "Started", f"Container started{stand_in}", container=container)
        for note in state.notes:
            context.event(pod, "Warning", "NotHonoured", note, container=container)
        hook = container.lifecycle.post_start if container.lifecycle is not None else None
        if hook is not None and state.phase == "running":
            self._record.hooks.add(state.id)
            self._worker.spawn(self._post_start(container, state), f"postStart of {container.name}")

    def could_not_start(self, container: Container, state: ContainerState) -> None:
        """Tell, once, that a program could not be started; the runtime may find that out after its first answer."""
        if state.id not in self._said:
            self._said.add(state.id)
            self._context.event(self._pod, "Warning", "Failed", f"Error: {state.message}", container=container)

    async def _post_start(self, container: Container, state: ContainerState) -> None:
        """Run the hook; a container whose hook fails is killed, and restarted as its policy says."""
        hook = container.lifecycle.post_start if container.lifecycle is not None else None
        if hook is None:
            return
        pod, record = self._pod, self._record
        try:
            await run_hook(
                hook,
                pod=pod,
                container=container,
                address=self._actions.address,
                stand_in=state.stand_in,
                run_command=self._actions.command_runner(state.id),
                timeout=_POST_START_LIMIT,
            )
        except HookFailed as error:
            # The text may hold what a server answered, so it is not told to all who may read events.
            self._context.event(pod, "Warning", "FailedPostStartHook", "PostStartHook failed", container=container)
            record.errors[container.name] = Waiting("PostStartHookError", str(error))
            deadline = self._context.clock() + grace_period(pod)
            if state.id not in record.stopping:
                record.stopping[state.id] = Stopping(deadline)
                # Until it has ended it counts as one whose hook has not succeeded.
                order = Stop(container, state.id, deadline, "FailedPostStartHook")
                await self._actions.stopper.stop(order, first=True)
        else:
            record.hooks.discard(state.id)
        finally:
            self._worker.wake()
