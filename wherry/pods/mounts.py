"""From the volume mounts of a container to what the runtime mounts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wherry.kube.objects import Pod
from wherry.kube.objects.containers import VolumeMount
from wherry.pods.env import ConfigError
from wherry.pods.expand import expand
from wherry.pods.model import Mount
from wherry.pods.volumes.payload import has_payload


def container_mount(pod: Pod, mount: VolumeMount, volumes: Mapping[str, Path], variables: Mapping[str, str]) -> Mount:
    """Return one mount; `volumes` are paths of the node. Raises `ConfigError`.

    Files that come from objects are read-only for containers, as is everything mounted below a read-only one:
    `recursiveReadOnly` is always so here.
    """
    source = volumes.get(mount.name)
    if source is None:
        raise ConfigError(f'volume "{mount.name}" of mount {mount.mount_path} is not a volume of the pod')
    path = _sub_path(mount, variables)
    read_only = mount.read_only or mount.name in read_only_volumes(pod)
    return Mount(source=str(source), target=mount.mount_path, read_only=read_only, sub_path=path)


def read_only_volumes(pod: Pod) -> frozenset[str]:
    """Return the volumes that no container may write to, whatever its mount says."""
    return frozenset(
        volume.name
        for volume in pod.spec.volumes
        if has_payload(volume)
        or volume.image is not None
        or (volume.persistent_volume_claim is not None and volume.persistent_volume_claim.read_only)
    )


def _sub_path(mount: VolumeMount, variables: Mapping[str, str]) -> str:
    path = mount.sub_path
    if mount.sub_path_expr:
        missing: set[str] = set()

        def lookup(name: str) -> str | None:
            value = variables.get(name)
            if not value:
                missing.add(name)
            return value

        path = expand(mount.sub_path_expr, lookup)
        if missing:
            raise ConfigError(f"missing value for {', '.join(sorted(missing))}")
    if path.startswith("/"):
        raise ConfigError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")
    return path
