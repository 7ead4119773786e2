"""fsGroup: a volume belongs to a group that every container of the pod is in.

Source: Kubernetes documentation, "Configure a Security Context for a Pod" (fsGroup, fsGroupChangePolicy). Where only
one id exists (ordinary users) there is no group to give: containers run as that one user, who owns the files.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wherry.kernel import netns
from wherry.kube.objects import Pod

_FILE = 0o660
READ_ONLY_FILE = 0o440
DIRECTORY = stat.S_ISGID | 0o110


def group_of(pod: Pod) -> int | None:
    """Return the group that volumes are given, None where the pod has none or there are no other groups here."""
    context = pod.spec.security_context
    if context is None or context.fs_group is None or netns.in_user_namespace():
        return None
    return context.fs_group


def give(path: Path, group: int, *, always: bool) -> None:
    """Let a group read and write everything below `path`; without `always` only if `path` itself is not so yet.

    Raises OSError.
    """
    status = path.stat()
    if not always and status.st_gid == group and status.st_mode & DIRECTORY == DIRECTORY:
        return
    for directory, _, names in os.walk(path):
        _give(Path(directory), group, _FILE | DIRECTORY)
        for name in names:
            _give(Path(directory, name), group, _FILE)


def _give(path: Path, group: int, bits: int) -> None:
    os.lchown(path, -1, group)
    status = path.lstat()
    if not stat.S_ISLNK(status.st_mode):
        path.chmod(stat.S_IMODE(status.st_mode) | bits)
