"""From a container of a pod to what the runtime is told to start. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from wherry.kube.objects import Container, Pod, Probe
from wherry.kube.objects.base import IntOrString
from wherry.kube.objects.containers import LifecycleHandler
from wherry.pods.expand import expand, expand_all
from wherry.pods.images import Decision, ImageEntry, decide, stand_in_ports
from wherry.pods.model import Behaviour, ContainerSpec, Port, Termination
from wherry.pods.mounts import container_mount
from wherry.pods.probes.ask import PortError, port_number
from wherry.pods.restarts import is_sidecar
from wherry.pods.sandbox.model import Sandbox
from wherry.pods.security import not_honoured, security
from wherry.pods.standins import run_of
from wherry.pods.state import container_id


class ImageError(Exception):
    """The image has nothing to run; the text becomes the message of `ErrImagePull`."""


def container_spec(
    pod: Pod,
    container: Container,
    attempt: int,
    *,
    node: str,
    table: tuple[ImageEntry, ...],
    variables: Mapping[str, str],
    sandbox: Sandbox,
    volumes: Mapping[str, Path],
    log_path: Path,
    termination_file: Path,
    behaviour: Callable[[Container, tuple[Port, ...]], Behaviour],
) -> ContainerSpec:
    """Return what to start. Raises `ConfigError`, and `ImageError` where the image has nothing to run.

    ``behaviour`` is asked how a stand-in with these ports is to behave.
    """
    command = expand_all(container.command, variables)
    args = expand_all(container.args, variables)
    run, _ = run_of(pod, container)
    decision = decide(container.image, command=command, args=args, table=table, run=run)
    if decision.error:
        raise ImageError(decision.error)
    ports = _ports(container, decision) if decision.argv is None else ()
    mounts = tuple(container_mount(pod, mount, volumes, variables) for mount in container.volume_mounts)
    return ContainerSpec(
        id=container_id(pod, container, attempt),
        pod_uid=pod.uid,
        namespace=pod.namespace,
        pod=pod.name,
        name=container.name,
        image=container.image,
        node=node,
        log_path=str(log_path),
        netns=sandbox.netns,
        argv=decision.argv,
        wanted_argv=decision.wanted_argv,
        env={**decision.env, "HOSTNAME": sandbox.hostname, **variables},
        cwd=expand(container.working_dir, variables.get) or decision.cwd,
        hostname=sandbox.hostname,
        mounts=(*decision.mounts, *sandbox.files, *mounts),
        rootfs=decision.rootfs,
        ports=ports,
        behaviour=behaviour(container, ports) if ports else Behaviour(),
        ends=_ends(pod, container, decision),
        security=security(pod, container, decision),
        termination=Termination(
            path=container.termination_message_path or Termination().path,
            file=str(termination_file) if decision.argv is not None else "",
            from_logs=container.termination_message_policy == "FallbackToLogsOnError",
        ),
        stdin=container.stdin,
        stdin_once=container.stdin and container.stdin_once,
        tty=container.tty,
        host_pid=pod.spec.host_pid,
        share_pids=pod.spec.share_process_namespace and decision.argv is not None,
        stop_signal=(container.lifecycle.stop_signal or "") if container.lifecycle is not None else "",
        host_ipc=pod.spec.host_ipc,
        notes=tuple(not_honoured(pod, container)) if decision.argv is not None else (),
    )


def runs_program(pod: Pod, container: Container, table: tuple[ImageEntry, ...]) -> bool:
    """Tell whether the container runs a program, and so needs its volumes on the disk."""
    run, _ = run_of(pod, container)
    decision = decide(container.image, command=container.command, args=container.args, table=table, run=run)
    return decision.argv is not None


def _ends(pod: Pod, container: Container, decision: Decision) -> bool:
    """Whether a stand-in is for something that ends and is waited for: an init container, or the work of a Job.

    A container of a Job that declares ports serves, as stand-ins do.
    """
    if decision.argv is not None or decision.silent or is_sidecar(container):
        return False
    if any(container.name == each.name for each in pod.spec.init_containers):
        return True
    owner = pod.metadata.controller
    return owner is not None and owner.kind == "Job" and not container.ports


def _ports(container: Container, decision: Decision) -> tuple[Port, ...]:
    probed: list[int] = []
    for wanted in _asked_ports(container):
        try:
            probed.append(port_number(wanted, container))
        except PortError:
            # The probe will say so itself; there is nothing to listen on.
            continue
    return stand_in_ports(decision, [(port.container_port, port.protocol) for port in container.ports], probed)


def _asked_ports(container: Container) -> Iterator[IntOrString]:
    hooks = container.lifecycle
    actions: tuple[Probe | LifecycleHandler | None, ...] = (
        container.startup_probe,
        container.readiness_probe,
        container.liveness_probe,
        hooks.post_start if hooks is not None else None,
        hooks.pre_stop if hooks is not None else None,
    )
    for action in actions:
        if action is None:
            continue
        if action.http_get is not None and not action.http_get.host:
            yield action.http_get.port
        if action.tcp_socket is not None and not action.tcp_socket.host:
            yield action.tcp_socket.port
        if isinstance(action, Probe) and action.grpc is not None:
            yield action.grpc.port
