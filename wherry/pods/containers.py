"""From a container of a pod to what the runtime is told to start. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from wherry.kube.objects import Container, Pod, Probe
from wherry.kube.objects.base import IntOrString
from wherry.kube.objects.containers import LifecycleHandler, VolumeMount
from wherry.pods.env import ConfigError
from wherry.pods.expand import expand, expand_all
from wherry.pods.images import Decision, ImageEntry, decide, stand_in_ports
from wherry.pods.model import Behaviour, ContainerSpec, Mount, Port, Security, Termination
from wherry.pods.probes.ask import PortError, port_number
from wherry.pods.sandbox.model import Sandbox
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
    mounts = tuple(_mount(mount, volumes, variables) for mount in container.volume_mounts)
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
        security=_as_image_says(_security(pod, container), decision),
        termination=Termination(
            path=container.termination_message_path or Termination().path,
            file=str(termination_file) if decision.argv is not None else "",
            from_logs=container.termination_message_policy == "FallbackToLogsOnError",
        ),
        stdin=container.stdin,
        stdin_once=container.stdin and container.stdin_once,
        tty=container.tty,
        host_pid=pod.spec.host_pid,
    )


def runs_program(pod: Pod, container: Container, table: tuple[ImageEntry, ...]) -> bool:
    """Tell whether the container runs a program, and so needs its volumes on the disk."""
    run, _ = run_of(pod, container)
    decision = decide(container.image, command=container.command, args=container.args, table=table, run=run)
    return decision.argv is not None


def _as_image_says(security: Security, decision: Decision) -> Security:
    """The image's user and group where the manifest names none."""
    if security.run_as_user is not None or decision.user is None:
        return security
    group = security.run_as_group if security.run_as_group is not None else decision.group
    return msgspec.structs.replace(security, run_as_user=decision.user, run_as_group=group)


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


def _mount(mount: VolumeMount, volumes: Mapping[str, Path], env: Mapping[str, str]) -> Mount:
    source = volumes.get(mount.name)
    if source is None:
        raise ConfigError(f'volume "{mount.name}" of mount {mount.mount_path} is not a volume of the pod')
    sub_path = mount.sub_path
    if mount.sub_path_expr:
        missing: list[str] = []

        def lookup(name: str) -> str | None:
            value = env.get(name)
            if value is None:
                missing.append(name)
            return value

        sub_path = expand(mount.sub_path_expr, lookup)
        if missing:
            raise ConfigError(f'failed to expand subPathExpr of mount {mount.mount_path}: no variable "{missing[0]}"')
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise ConfigError(f"subPath {sub_path!r} must be a relative path without '..'")
    return Mount(source=str(source), target=mount.mount_path, read_only=mount.read_only, sub_path=sub_path)


def _security(pod: Pod, container: Container) -> Security:
    own = container.security_context
    of_pod = pod.spec.security_context
    user = own.run_as_user if own is not None and own.run_as_user is not None else None
    group = own.run_as_group if own is not None and own.run_as_group is not None else None
    non_root = own.run_as_non_root if own is not None else None
    groups: tuple[int, ...] = ()
    if of_pod is not None:
        user = of_pod.run_as_user if user is None else user
        group = of_pod.run_as_group if group is None else group
        non_root = of_pod.run_as_non_root if non_root is None else non_root
        groups = (*of_pod.supplemental_groups, *((of_pod.fs_group,) if of_pod.fs_group is not None else ()))
    if non_root and user == 0:
        meta = pod.metadata
        where = f'pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {container.name}'
        raise ConfigError(f"container's runAsUser breaks non-root policy ({where})")
    capabilities = own.capabilities if own is not None else None
    return Security(
        run_as_user=user,
        run_as_group=group,
        groups=groups,
        privileged=bool(own is not None and own.privileged),
        add_capabilities=capabilities.add if capabilities is not None else (),
        drop_capabilities=capabilities.drop if capabilities is not None else (),
        read_only_root=bool(own is not None and own.read_only_root_filesystem),
    )
