"""Processes that do nothing but hold a descriptor, so that it outlives the runtime process.

A program reads the end of its input as soon as nobody holds the writing side, and is hung up when nobody holds the
master of its terminal. Neither can be reopened by name, or held by the program itself: then its input could never
end. So a program container with ``stdin`` or ``tty`` has a keeper beside it, a ``sleep`` whose standard input is that
descriptor. Whoever needs it takes a duplicate (pidfd_getfd(2)); ending the keeper of a pipe ends the input.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess

from wherry.pods.runtime.launch import MARK
from wherry.pods.runtime.programs import Programs

_PIDFD_GETFD = 438  # the same on every architecture
_HELD = 0
"""The keeper's descriptor: its standard input."""

_libc = ctypes.CDLL(None, use_errno=True)


def start(fd: int, *, programs: Programs) -> int:
    """Start a process that holds ``fd``; returns its process id. Raises OSError."""
    process = subprocess.Popen(
        [programs.sleep, "infinity"],
        stdin=fd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # By its mark it is found after a crash, as everything else of the node.
        env={name: os.environ[name] for name in (MARK,) if name in os.environ},
        cwd="/",
        # An interrupt typed at the terminal of a server in the foreground is not meant for it.
        start_new_session=True,
    )
    # It is waited for by `end`, or by init if another process than the present one does that.
    process.returncode = 0
    return process.pid


def duplicate(pid: int) -> int:
    """A duplicate of what the keeper holds. Raises OSError, `ProcessLookupError` when it has ended."""
    pidfd = os.pidfd_open(pid)
    try:
        fd: int = _libc.syscall(_PIDFD_GETFD, pidfd, _HELD, 0)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot take over a program's input: {os.strerror(code)}")
        return fd
    finally:
        os.close(pidfd)


def end(pid: int) -> None:
    """End a keeper; one that has ended is no error. A parent also reaps it, for which a killed ``sleep`` is quick."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # it is gone, or another process reaps it
