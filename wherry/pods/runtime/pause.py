"""The process that holds the pid namespace of a pod whose containers see one another's processes.

It is process 1 there: it does nothing but take in orphans (with SIGCHLD ignored the kernel reaps them), and everything
else in the namespace ends with it. It has no capabilities, and the root directory of an ordinary container: what a
container finds below /proc/1/root is no more than its own root shows. It ends with the pod's last program.
"""

from __future__ import annotations

import os
import signal

import msgspec
from msgspec import Struct

from wherry.pods.model import ContainerSpec, Security, Termination
from wherry.pods.runtime import launch, outcome
from wherry.pods.runtime.processes import start_time
from wherry.pods.runtime.programs import Programs


class Pause(Struct, frozen=True):
    """Process ids and start times of process 1 and of bwrap's outer process, which is to be waited for."""

    pid: int = 0
    pid_start: int = 0
    monitor: int = 0

    @property
    def alive(self) -> bool:
        """Whether the namespace is still there."""
        return self.pid != 0 and start_time(self.pid) == self.pid_start


def start(spec: ContainerSpec, *, programs: Programs) -> Pause:
    """Make the namespace for the pod of a container. Raises `launch.LaunchError`, OSError."""
    own = msgspec.structs.replace(
        spec,
        env={},
        cwd="",
        mounts=(),
        rootfs=None,
        security=Security(drop_capabilities=("ALL",), read_only_root=True),
        termination=Termination(),
        tty=False,
        host_pid=False,
        share_pids=False,
        target="",
    )
    reader, told = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        process, _ = launch.start(
            own,
            (programs.env, "--ignore-signal=CHLD", programs.sleep, "infinity"),
            programs=programs,
            stdin=null,
            stdout=null,
            stderr=null,
            info=told,
        )
        os.close(told)
        told = -1
        # It is waited for by `end`, or by init if another process than the present one does that.
        process.returncode = 0
        data = b""
        while piece := os.read(reader, 4096):  # some milliseconds, as starting any process takes
            data += piece
            if outcome.parse_info(data):
                break
        pid = outcome.parse_info(data)
        if not pid:
            os.waitpid(process.pid, 0)
            raise launch.LaunchError("the pod's shared process namespace cannot be made")
        return Pause(pid, start_time(pid), process.pid)
    finally:
        for fd in (reader, null, told):
            if fd >= 0:
                os.close(fd)


def end(pause: Pause) -> None:
    """End the namespace with all that runs in it; one that has ended is no error."""
    try:
        if pause.alive:
            os.kill(pause.pid, signal.SIGKILL)
        os.waitpid(pause.monitor, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # it is gone, or another process reaps it
