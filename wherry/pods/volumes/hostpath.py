"""hostPath volumes: checking, and where asked making, the path of the node that is mounted."""

from __future__ import annotations

import stat
from pathlib import Path

from wherry.kube.objects import HostPathVolume
from wherry.pods.volumes.payload import MountError

_CHECKS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def only_checks(volume: HostPathVolume) -> bool:
    """Tell whether the type asks for something that is there already."""
    return volume.type in _CHECKS


def prepare(volume: HostPathVolume) -> Path:
    """Return the path to mount, after making what a `...OrCreate` type asks for. Raises `MountError`."""
    path = Path(volume.path)
    kind = volume.type.removesuffix("OrCreate")
    try:
        # Container runtimes make a missing directory for the type that checks nothing.
        if volume.type in ("", "DirectoryOrCreate") and not path.exists():
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif volume.type == "FileOrCreate" and not path.exists():
            path.touch(mode=0o644)
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except OSError as error:
        raise MountError(f"hostPath {path}: {error.strerror}") from error
    if kind:
        if kind not in _CHECKS:
            raise MountError(f"{volume.type} is an invalid volume type")
        check, name = _CHECKS[kind]
        if not check(mode):
            raise MountError(f"hostPath type check failed: {path} is not {name}")
    return path
