"""Writing a volume's files so that a reader sees either all of the old ones or all of the new ones.

The layout is the one containers expect of Kubernetes: the files live in a time-stamped directory, `..data` is a symlink
to it that is exchanged in one rename, and every top-level name is a symlink through `..data`:

    ..2026_11_22_16_03_05.123456789/tls.crt
    ..data  -> ..2026_11_22_16_03_05.123456789
    tls.crt -> ..data/tls.crt

Killed at any instruction, the old state stays whole; what is left over is removed by the next write.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from wherry.pods.volumes import ownership
from wherry.pods.volumes.payload import File, Payload

_DATA = "..data"
_NEXT = "..data_tmp"


def write(root: Path, files: Payload, *, group: int | None = None) -> bool:
    """Make the volume at `root` hold exactly `files`; False when it did already. Raises OSError.

    A `group` may read them all.
    """
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    if group is not None:
        files = {path: File(file.data, file.mode | ownership.READ_ONLY_FILE) for path, file in files.items()}
        _give(root, group)
    current = _current(root)
    changed = current is None or not _holds(root / current, files)
    if changed:
        stamp = _stamp()
        _fill(root / stamp, files, group)
        following = root / _NEXT
        following.unlink(missing_ok=True)
        following.symlink_to(stamp)
        following.rename(root / _DATA)
        current = stamp
    _link_names(root, {path.split("/", 1)[0] for path in files})
    _sweep(root, keep=str(current))
    return changed


def _current(root: Path) -> str | None:
    try:
        return os.readlink(root / _DATA)
    except FileNotFoundError:
        return None


def _stamp() -> str:
    nanoseconds = time.time_ns()
    return time.strftime("..%Y_%m_%d_%H_%M_%S", time.gmtime(nanoseconds // 10**9)) + f".{nanoseconds % 10**9:09}"


def _holds(directory: Path, files: Payload) -> bool:
    found: set[str] = set()
    for parent, _, names in os.walk(directory):
        for name in names:
            full = Path(parent, name)
            relative = full.relative_to(directory).as_posix()
            wanted = files.get(relative)
            if wanted is None or full.stat().st_mode & 0o7777 != wanted.mode or full.read_bytes() != wanted.data:
                return False
            found.add(relative)
    return found == files.keys()


def _give(directory: Path, group: int) -> None:
    os.chown(directory, -1, group)
    directory.chmod(0o755 | ownership.DIRECTORY)


def _fill(directory: Path, files: Payload, group: int | None) -> None:
    directory.mkdir(mode=0o755)
    if group is not None:
        _give(directory, group)
    for path, file in files.items():
        target = directory / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.write_bytes(file.data)
        # Set apart from creation, which the process's umask would narrow.
        target.chmod(file.mode)


def _link_names(root: Path, names: set[str]) -> None:
    # A directory is where another volume is mounted, see `nested`.
    existing = {entry.name for entry in root.iterdir() if not entry.name.startswith("..") and entry.is_symlink()}
    for name in names - existing:
        (root / name).symlink_to(f"{_DATA}/{name}")
    for name in existing - names:
        (root / name).unlink()


def _sweep(root: Path, *, keep: str) -> None:
    for entry in root.iterdir():
        if entry.name.startswith("..") and entry.name not in (_DATA, keep):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
