"""Places inside a volume for others that are mounted below it.

A volume may be read-only for its containers, so nobody could make them later. As the kubelet's, whose volumes make
them too (pkg/volume/util/nested_volumes.go).
"""

from __future__ import annotations

import posixpath
from pathlib import Path

from wherry.kube.objects import Pod


def places(pod: Pod, volume: str) -> tuple[str, ...]:
    """The relative paths inside a volume at which containers see other volumes. Pure."""
    found: dict[str, None] = {}
    for container in pod.spec.every_container:
        targets = sorted(
            posixpath.normpath(mount.mount_path)
            for mount in container.volume_mounts
            if mount.name != volume and not mount.sub_path and not mount.sub_path_expr
        )
        for mount in container.volume_mounts:
            if mount.name != volume or mount.sub_path or mount.sub_path_expr:
                continue
            above = posixpath.normpath(mount.mount_path).rstrip("/") + "/"
            last = ""
            for target in targets:
                if target.startswith(above) and not (last and target.startswith(last)):
                    last = f"{target}/"
                    found[target[len(above) :]] = None
    return tuple(found)


def make(root: Path, pod: Pod, volume: str) -> None:
    """Make those places in the volume at ``root``. Raises OSError."""
    for place in places(pod, volume):
        (root / place).mkdir(mode=0o755, parents=True, exist_ok=True)
