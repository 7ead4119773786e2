"""From the security contexts of a pod and a container to what the runtime is told. Pure.

Sources: Kubernetes documentation, "Configure a Security Context for a Pod or Container"; messages as the kubelet's.
Privileges never grow by running a program here (`no_new_privs` is always set), so `allowPrivilegeEscalation: false`
holds for every container. No system call filter and no AppArmor profile is applied: the default ones are accepted,
profiles of the node's own are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.kube.objects import Container, Pod
from wherry.kube.objects.containers import AppArmorProfile, SeccompProfile
from wherry.pods.env import ConfigError
from wherry.pods.images import Decision
from wherry.pods.model import Security


def security(pod: Pod, container: Container, decision: Decision) -> Security:
    """Return user, groups and capabilities; the container's own settings win. Raises `ConfigError`."""
    own, of_pod = container.security_context, pod.spec.security_context
    both = [context for context in (own, of_pod) if context is not None]
    user = next((one.run_as_user for one in both if one.run_as_user is not None), None)
    group = next((one.run_as_group for one in both if one.run_as_group is not None), None)
    if next((one.run_as_non_root for one in both if one.run_as_non_root is not None), False):
        _check_non_root(pod, container, user, decision)
    for one in both:
        _check_profiles(one.seccomp_profile, one.app_armor_profile)
    if user is None and decision.user is not None:
        user = decision.user
        group = decision.group if group is None else group
    groups: tuple[int, ...] = ()
    if of_pod is not None:
        groups = (*of_pod.supplemental_groups, *((of_pod.fs_group,) if of_pod.fs_group is not None else ()))
    capabilities = own.capabilities if own is not None else None
    return Security(
        run_as_user=user,
        run_as_group=group,
        groups=tuple(dict.fromkeys(groups)),
        privileged=bool(own is not None and own.privileged),
        add_capabilities=capabilities.add if capabilities is not None else (),
        drop_capabilities=capabilities.drop if capabilities is not None else (),
        read_only_root=bool(own is not None and own.read_only_root_filesystem),
    )


def not_honoured(pod: Pod, container: Container) -> Iterator[str]:
    """Yield what the manifest asks for and nothing here does, one sentence each."""
    spec = pod.spec
    if spec.host_users is False:
        yield "hostUsers: false has no effect: the pod has no user namespace of its own"
    if spec.security_context is not None and any(
        one.name.replace("/", ".") == "kernel.shm_rmid_forced" for one in spec.security_context.sysctls
    ):
        yield "sysctl kernel.shm_rmid_forced has no effect: every container has shared memory of its own"
    for mount in container.volume_mounts:
        if mount.mount_propagation not in ("", "None"):
            yield (
                f"mountPropagation {mount.mount_propagation} of {mount.mount_path} has no effect: "
                "what is mounted later on one side is not seen on the other"
            )


def _check_non_root(pod: Pod, container: Container, user: int | None, decision: Decision) -> None:
    meta = pod.metadata
    where = f'pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {container.name}'
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy ({where})")
    # A stand-in is no program that could run as anybody, and nothing is known of the image it stands for.
    if user is None and decision.argv is not None and not decision.user:
        raise ConfigError(f"container has runAsNonRoot and image will run as root ({where})")


def _check_profiles(seccomp: SeccompProfile | None, app_armor: AppArmorProfile | None) -> None:
    for name, profile in (("seccomp", seccomp), ("AppArmor", app_armor)):
        if profile is not None and profile.type == "Localhost":
            raise ConfigError(
                f'{name} profile "{profile.localhost_profile}" cannot be applied: '
                "only RuntimeDefault and Unconfined are known here"
            )
