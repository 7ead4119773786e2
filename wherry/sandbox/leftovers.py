"""Finding and ending the processes of a sandbox from outside it, whether or not its supervisor lives."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wherry.sandbox.layout import MARKER, NETNS_DIR, RUN_DIR


def marked(directory: Path) -> list[int]:
    """Processes that carry the sandbox's marker in their environment, this one excepted."""
    entry = f"{MARKER}={directory}".encode()

    def ours(process: Path) -> bool:
        return entry in (process / "environ").read_bytes().split(b"\0")

    return _find(ours)


@contextmanager
def networks(pids: Collection[int]) -> Iterator[set[tuple[int, int]]]:
    """Give the network namespaces of these processes and of the nodes and pods they see, this process's own excepted.

    They are held until the end of the block: the kernel gives the number of one that is gone to the next one made,
    which may be anybody's.
    """
    with ExitStack() as held:
        found = set()
        for pid in pids:
            process = Path("/proc") / str(pid)
            pods = (process / "root" / RUN_DIR.relative_to("/")).glob("*/netns/*")
            nodes = (process / "root" / NETNS_DIR.relative_to("/")).glob("*")
            for path in (process / "ns/net", *nodes, *pods):
                try:
                    namespace = held.enter_context(path.open("rb", buffering=0))
                except OSError:
                    # It ended meanwhile, or the namespace was just removed: nothing of it is left to be found.
                    continue
                status = os.fstat(namespace.fileno())
                found.add((status.st_dev, status.st_ino))
        own = os.stat("/proc/self/ns/net")
        yield found - {(own.st_dev, own.st_ino)}


def in_networks(identities: Collection[tuple[int, int]]) -> list[int]:
    """Processes that are in one of these network namespaces (device and inode numbers)."""

    def ours(process: Path) -> bool:
        status = os.stat(process / "ns/net")
        return (status.st_dev, status.st_ino) in identities

    return _find(ours)


def end(find: Callable[[], list[int]], *, rounds: int = 20) -> list[int]:
    """Kill what ``find`` finds until it finds nothing, and return what is left after ``rounds``.

    A process may fork between being seen and being killed, so one round is not enough.
    """
    for _ in range(rounds):
        found = find()
        if not found:
            return []
        for pid in found:
            _kill(pid)
    return find()


def _kill(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        # Wait for the end itself: a dying process is still in /proc and still holds its namespaces.
        select.select([pidfd], [], [], 5)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def _find(ours: Callable[[Path], bool]) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if ours(process) and _alive(process):
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            # It ended meanwhile, or it is another user's: in both cases not ours.
            continue
    return found


def _alive(process: Path) -> bool:
    """Say whether it is more than a zombie, whose parent alone can remove it."""
    return (process / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
