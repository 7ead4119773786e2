"""Running a command inside the namespaces of a running container.

Namespaces are per thread, so the usual way is a worker thread that joins them, gives up what the container may not do,
starts the command and ends; nothing runs between fork and exec. Two things only a process without other threads can
do, namely become the leader of a terminal session and join a user namespace: `main` is that process.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from wherry.kernel import netns

_SHARED = netns.CLONE_NEWNS | netns.CLONE_NEWUTS | netns.CLONE_NEWIPC | netns.CLONE_NEWPID | netns.CLONE_NEWNET
_CLONE_FS = 0x200
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


class Credentials(Struct, frozen=True):
    """What a running program may do, read from /proc."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: int
    """Those the program has or, as an ordinary user, could get."""
    own_user_namespace: bool
    """The program lives in a user namespace below ours."""


def credentials(pid: int) -> Credentials:
    """Of a process. Raises OSError when it is gone."""
    fields: dict[str, str] = {}
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            fields[name] = value
    uid = int(fields["Uid"].split()[1])
    ours, theirs = os.stat("/proc/self/ns/user"), os.stat(f"/proc/{pid}/ns/user")
    return Credentials(
        uid=uid,
        gid=int(fields["Gid"].split()[1]),
        groups=tuple(int(group) for group in fields["Groups"].split()),
        capabilities=int(fields["CapPrm" if uid == 0 else "CapBnd"], 16),
        own_user_namespace=ours.st_ino != theirs.st_ino,
    )


def open_terminal(pid: int) -> tuple[int, int]:
    """Both ends of a new terminal among those that process ``pid`` sees in its /dev/pts. Raises OSError."""
    master = os.open(f"/proc/{pid}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        os.close(master)
        raise


def spawn(pid: int, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, **popen: Any) -> subprocess.Popen[bytes]:
    """Start ``argv`` beside process ``pid``, with its namespaces, root, user and capabilities.

    Must be called in a thread that ends afterwards (it stays in the container). Raises OSError: no such process or
    program.
    """
    theirs = credentials(pid)
    pidfd = os.pidfd_open(pid)
    try:
        # A root directory of its own is what the kernel asks of a thread that joins a mount namespace.
        netns.unshare(_CLONE_FS)
        netns.setns(pidfd, _SHARED)
        if theirs.own_user_namespace:
            # Last: inside of it we have no rights any more over the pod's network namespace, which is not its own.
            netns.setns(pidfd, netns.CLONE_NEWUSER)
    finally:
        os.close(pidfd)
    if not theirs.own_user_namespace:
        _limit(theirs.capabilities)
    user: dict[str, Any] = {}
    if theirs.uid or theirs.gid:
        user = {"user": theirs.uid, "group": theirs.gid, "extra_groups": theirs.groups}
    if theirs.own_user_namespace:
        user = {}  # ids were mapped by joining; there is no other to switch to
    return subprocess.Popen(list(argv), env=dict(env), cwd=cwd, **user, **popen)


def _limit(allowed: int) -> None:
    """Drop from the calling thread's bounding set what is not in ``allowed``, and the way to more privileges."""
    capability = 0
    # The kernel answers 0 or 1 for a capability it knows, an error for the first it does not.
    while _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if not allowed >> capability & 1 and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot drop capability {capability}: {os.strerror(code)}")
        capability += 1
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def helper(*, tty: bool, pid: int | None = None, cwd: str = "/", env: Mapping[str, str]) -> list[str]:
    """The command line that, followed by a command, makes `main` run it.

    The environment is given to the process itself, where other users cannot read it; ``env`` only tells which of the
    variables that would act on Python itself belong to the command.
    """
    own = {name: env[name] for name in env if name.startswith("LD_") or name == "LC_CTYPE"}
    plan = {"tty": tty, "pid": pid, "cwd": cwd, "env": own}
    return [sys.executable, "-I", "-m", "wherry.pods.runtime.join", json.dumps(plan)]


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _lead_terminal() -> None:
    """Become the leader of a session whose terminal is standard input."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _begin_with_terminal() -> None:
    _die_with_parent()
    _lead_terminal()


def main() -> int:
    """Carry out a plan: take standard input as terminal, join the container if one is named, run the command."""
    plan = json.loads(sys.argv[1])
    argv = sys.argv[2:]
    env = {**os.environ}
    env.pop("LC_CTYPE", None)  # Python sets it in a C locale (PEP 538)
    env.update(plan["env"])
    try:
        if plan["pid"] is None:
            if plan["tty"]:
                _lead_terminal()
            os.execvpe(argv[0], argv, env)
        # The command itself leads the session: a shell must see its terminal's process group, which one made out here
        # has no number for in there. This process has one thread, so running Python between fork and exec is safe.
        begin = _begin_with_terminal if plan["tty"] else _die_with_parent
        process = spawn(plan["pid"], argv, env=env, cwd=plan["cwd"], preexec_fn=begin)
    except OSError as error:
        print(f"exec {argv[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    code = process.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
