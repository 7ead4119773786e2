"""Network namespaces, and the few namespace and mount system calls that Python 3.11 does not offer.

A network namespace belongs to a *thread*. Everything here keeps one promise: a thread that this module moved is
either brought home before the call returns or never runs anything else. Three ways to work in another namespace:

* ``with entered(path):`` moves the calling thread there and back; for a few system calls without an ``await``
  between them (opening a socket, starting a process). Sockets and processes keep the namespace they were born in.
* ``run_in(path, fn)`` runs ``fn`` in a short-lived worker thread, for anything longer.
* ``enter(path)`` moves the calling thread for good, for a process that belongs to one namespace.

Namespaces are named by a path: a file that a namespace is bind-mounted on (``/run/netns/NAME``), or
``/proc/PID/ns/net``. See namespaces(7), network_namespaces(7), setns(2), mount(2).
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MS_SLAVE: Final = 0x80000

MNT_DETACH: Final = 0x2

THIS_THREAD: Final = "/proc/thread-self/ns/net"
"""The calling thread's network namespace, as a path."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_IFREQ_FLAGS: Final = struct.Struct("16sH14x")


def _check(result: int, *, path: str | None = None) -> None:
    """Turn a failed system call into OSError."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces, `flags` being CLONE_NEW*. Raises OSError; see unshare(2)."""
    _check(_libc.unshare(flags))


def setns(fd: int, flags: int = CLONE_NEWNET) -> None:
    """Move the calling thread into the namespace that `fd` refers to. Raises OSError; see setns(2)."""
    _check(_libc.setns(fd, flags))


def mount(source: str, target: str | os.PathLike[str], fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError naming the target."""
    where = os.fspath(target)
    result = _libc.mount(os.fsencode(source), os.fsencode(where), fstype.encode() or None, flags, data.encode() or None)
    _check(result, path=where)


def umount(target: str | os.PathLike[str], flags: int = 0) -> None:
    """umount2(2). Raises OSError naming the target."""
    where = os.fspath(target)
    _check(_libc.umount2(os.fsencode(where), flags), path=where)


def in_user_namespace() -> bool:
    """Say whether this process is in a user namespace other than the initial one.

    Only the initial namespace maps all 2^32 - 1 ids onto themselves (user_namespaces(7)).
    """
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def enter_user_namespace() -> None:
    """Move this single-threaded process into a new user namespace where it is root (a one-id map).

    No other id exists there: chown and setgroups to one fail. Raises OSError where the machine forbids user
    namespaces to ordinary users.
    """
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    # Without this the kernel refuses the group map to an unprivileged writer.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1\n")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1\n")


def current() -> int:
    """Open the calling thread's network namespace; the caller closes the descriptor."""
    return os.open(THIS_THREAD, os.O_RDONLY | os.O_CLOEXEC)


def identity(path: str | os.PathLike[str] = THIS_THREAD) -> tuple[int, int]:
    """Return what tells one network namespace from another: its device and inode numbers."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def enter(path: str | os.PathLike[str]) -> None:
    """Move the calling thread into the namespace at `path` for good."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd)
    finally:
        os.close(fd)


@contextmanager
def entered(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Run the block with the calling thread in the namespace at `path` (None: stay), then bring it home.

    The block must not await: another task would run in the wrong namespace.
    """
    if path is None:
        yield
        return
    home = current()
    try:
        enter(path)
        try:
            yield
        finally:
            # Cannot fail with a valid descriptor and the right that the way out needed; if it did, the raised
            # OSError is the only safe outcome.
            setns(home)
    finally:
        os.close(home)


def run_in(path: str | os.PathLike[str], fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `fn` in a worker thread inside the namespace at `path`; return its result or raise its exception.

    Blocks the caller. Do not start processes that ask for a parent-death signal in it: that signal is sent when
    the starting *thread* ends.
    """

    def work() -> T:
        enter(path)
        return fn(*args, **kwargs)

    return _in_thread(work)


def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, which ends with it, and hand over what came out."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    worker = threading.Thread(target=run, name="netns", daemon=True)
    worker.start()
    worker.join()
    if failure:
        raise failure[0]
    return outcome[0]


def spawn_in(path: str | os.PathLike[str], argv: Sequence[str], **popen: Any) -> "subprocess.Popen[bytes]":
    """Start a process inside the namespace at `path`.

    The calling thread goes there and back around the spawn, so no code runs between fork and exec (which would
    cost 20 ms with a large parent) and the process's parent is the calling thread, whose end a parent-death signal
    reports. Takes the arguments of subprocess.Popen.
    """
    with entered(path):
        return subprocess.Popen(argv, **popen)


def create(path: str | os.PathLike[str], *, loopback: bool = True) -> None:
    """Make a network namespace and keep it by a bind mount on `path` (parents are made); `lo` is set up.

    Raises FileExistsError when the path exists. Leaves nothing behind on failure.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))

    def make() -> None:
        unshare(CLONE_NEWNET)
        if loopback:
            loopback_up()
        mount(THIS_THREAD, target, flags=MS_BIND)

    try:
        _in_thread(make)
    except BaseException:
        target.unlink()
        raise


def remove(path: str | os.PathLike[str]) -> None:
    """Unmount and unlink a namespace file; the namespace goes with its last process and socket.

    A path that is not there, or a plain file that lost its mount in a crash, is no error.
    """
    try:
        # Detached, as a process that still holds the mount must not keep the name alive.
        umount(path, MNT_DETACH)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL says: not a mount point
            raise
    Path(path).unlink(missing_ok=True)


def loopback_up() -> None:
    """Set `lo` of the calling thread's namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = _IFREQ_FLAGS.pack(b"lo", 0)
        _, flags = _IFREQ_FLAGS.unpack(fcntl.ioctl(handle, _SIOCGIFFLAGS, request))
        fcntl.ioctl(handle, _SIOCSIFFLAGS, _IFREQ_FLAGS.pack(b"lo", flags | _IFF_UP))
