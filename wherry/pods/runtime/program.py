"""A container that runs a program.

The program must outlive this process, so nothing it needs lives here: its streams are held by itself or by a keeper
(see `streams`), and its exit code is written by bwrap's outer process to a file. A restarted runtime opens the same
streams and waits for the same process.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import msgspec

from wherry.pods.model import ContainerState
from wherry.pods.runtime import keeper, launch, logs, outcome
from wherry.pods.runtime.loop import READ, Loop, Timer
from wherry.pods.runtime.pause import Pause
from wherry.pods.runtime.processes import start_time
from wherry.pods.runtime.programs import Programs
from wherry.pods.runtime.records import Record, Records
from wherry.pods.runtime.streams import Streams

_SIGNAL = re.compile(r"(SIG[A-Z0-9]+?)((?:[+-][0-9]+)?)", re.ASCII)


class Program:
    """One program container, from its start or adoption to its exit."""

    def __init__(self, loop: Loop, records: Records, record: Record, changed: Callable[[ContainerState], None]) -> None:
        self._loop = loop
        self._records = records
        self._changed = changed
        self._record = record
        self._log = logs.ContainerLog(record.spec.log_path, keep_open=True)
        self._streams = Streams(loop, partial(records.path, record.spec.id), self._log, tty=record.spec.tty)
        self._info = b""
        self._monitor = -1
        self._child = -1
        self._stop_at: float | None = None
        self._kill_timer: Timer | None = None
        self._doomed = False

    @property
    def state(self) -> ContainerState:
        """The newest state."""
        return self._record.state

    @property
    def pause(self) -> Pause:
        """What holds the pid namespace that it shares with its pod."""
        return self._record.pause

    def start(self, programs: Programs, *, target: int = 0, shared: Callable[[], Pause] | None = None) -> None:
        """Start the program; a failure makes it exited with reason StartError.

        ``target`` is the process whose pid namespace it is to be in; 0: one of its own, or the one that ``shared``
        finds or makes for its pod.
        """
        spec = self._record.spec
        self._records.save(self._record)
        with ExitStack() as opened:
            try:
                ends = self._streams.open(opened, stdin=spec.stdin, programs=programs)
                self._record = msgspec.structs.replace(
                    self._record, keeper=ends.keeper, keeper_start=start_time(ends.keeper) if ends.keeper else 0
                )
                self._records.save(self._record)
                status = os.open(
                    self._records.path(spec.id, ".status"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600
                )
                opened.callback(os.close, status)
                ready, told = _pipe()
                opened.callback(os.close, told)
                if shared is not None and not target:
                    self._record = msgspec.structs.replace(self._record, pause=shared())
                    self._records.save(self._record)
                    target = self._record.pause.pid
                joined = os.open(f"/proc/{target}/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if target else None
                if joined is not None:
                    opened.callback(os.close, joined)
                self._loop.watch(ready, READ, lambda _: self._set_up(ready))
                process, notes = launch.start(
                    spec,
                    spec.argv or (),
                    programs=programs,
                    stdin=ends.stdin,
                    stdout=ends.stdout,
                    stderr=ends.stderr,
                    status=status,
                    info=told,
                    pid_namespace=joined,
                )
            except (launch.LaunchError, OSError) as error:
                self._finish(outcome.Outcome(outcome.START_FAILED, "StartError", str(error)))
                return
        # From here on the process is waited for through its pidfd; Popen must not do it as well.
        process.returncode = 0
        self._record = msgspec.structs.replace(
            self._record,
            monitor=process.pid,
            monitor_start=start_time(process.pid),
            state=msgspec.structs.replace(self.state, user=launch.identity(spec), notes=(*spec.notes, *notes)),
        )
        self._records.save(self._record)
        self._watch_monitor(process.pid)

    def adopt(self) -> bool:
        """Take over a program that an earlier runtime process started, or report its end.

        False: that process died before it had started the program. Nobody was told of it, so it is forgotten; whoever
        wanted it asks again.
        """
        monitor = self._record.monitor or self._find_monitor()
        began = start_time(monitor) if monitor else 0
        if not began or (self._record.monitor_start and began != self._record.monitor_start):
            if not monitor and not self._status().pid:
                self._end_keeper()
                return False
            self._conclude()
            return True
        self._streams.adopt(self._record.keeper)
        self._record = msgspec.structs.replace(self._record, monitor=monitor, monitor_start=began)
        self._watch_monitor(monitor)
        self._await_set_up()
        self._records.save(self._record)
        if self._record.kill_at:
            # The signal may have been sent already; sent twice it asks for the same.
            self._end_at(self._record.kill_at - time.time())
            self._signal(self._stop_signal)
        return True

    def stop(self, grace: float) -> None:
        """Its stop signal, then SIGKILL after ``grace`` seconds; a later call may only bring the SIGKILL nearer."""
        if self.state.phase == "exited":
            return
        deadline, first = time.monotonic() + grace, self._stop_at is None
        if self._stop_at is None or deadline < self._stop_at:
            self._end_at(grace)
            # The next runtime process keeps to it.
            self._record = msgspec.structs.replace(self._record, kill_at=time.time() + grace)
            self._records.save(self._record)
        if first and grace > 0:
            self._signal(self._stop_signal)

    def _end_at(self, grace: float) -> None:
        """Have the program killed after ``grace`` seconds."""
        self._stop_at = time.monotonic() + grace
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._kill_timer = self._loop.later(max(0.0, grace), self._kill)

    def _set_up(self, ready: int) -> None:
        """bwrap has made the namespaces and says which process the program will be, or it ended."""
        data = os.read(ready, 4096)
        self._info += data
        pid = outcome.parse_info(self._info)
        if data and not pid:
            return  # it writes in pieces
        self._loop.forget(ready)
        os.close(ready)
        if self.state.phase == "exited" or not pid or self._child >= 0:
            return
        self._born(pid)

    def _await_set_up(self, pause: float = 0.005) -> None:
        """Learn the program's process from bwrap's status, whose other notice went to an earlier runtime process.

        Setting up takes milliseconds; until it is done there is nothing to wait on but the file.
        """
        if self.state.phase == "exited" or self._child >= 0:
            return
        pid = self._status().pid
        if pid:
            self._born(pid)
        else:
            self._loop.later(pause, partial(self._await_set_up, pause * 2))

    def _born(self, pid: int) -> None:
        self._child = _pidfd(pid)
        self._record = msgspec.structs.replace(self._record, state=msgspec.structs.replace(self.state, pid=pid))
        self._records.save(self._record)
        if self._doomed:
            self._signal(signal.SIGKILL)
        elif self._stop_at is not None:
            self._signal(self._stop_signal)
        self._changed(self.state)

    def _watch_monitor(self, pid: int) -> None:
        self._monitor = _pidfd(pid)
        if self._monitor < 0:
            self._loop.soon(self._conclude)
        else:
            self._loop.watch(self._monitor, READ, lambda _: self._conclude())

    def _conclude(self) -> None:
        """bwrap's outer process has ended (or was gone at adoption)."""
        if self._record.monitor:
            try:
                os.waitpid(self._record.monitor, os.WNOHANG)
            except (ChildProcessError, OverflowError):
                pass  # adopted: somebody else's child
        status = self._status()
        if status.exit_code is None and self._child >= 0:
            # Only bwrap's outer process was killed: the program must not live on unseen.
            self._signal(signal.SIGKILL)
        if self._joined and self.state.pid:
            # What a container leaves in a pid namespace that is not its own ends with it all the same.
            _kill_session(self.state.pid)
        self._streams.drain()
        self._finish(outcome.judge(status, output=self._streams.head))

    def _finish(self, end: outcome.Outcome) -> None:
        self._streams.close()
        self._log.close()
        self._end_keeper()
        for fd in (self._monitor, self._child):
            if fd >= 0:
                self._loop.forget(fd)
                os.close(fd)
        self._monitor = self._child = -1
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        message = end.message or self._last_words(end.exit_code)
        self._record = msgspec.structs.replace(
            self._record,
            monitor=0,
            keeper=0,
            state=msgspec.structs.replace(
                self.state,
                phase="exited",
                pid=0,
                finished_at=time.time(),
                exit_code=end.exit_code,
                reason=end.reason,
                message=message,
            ),
        )
        self._records.save(self._record)
        self._changed(self.state)

    def _end_keeper(self) -> None:
        if self._record.keeper and start_time(self._record.keeper) == self._record.keeper_start:
            keeper.end(self._record.keeper)

    def _last_words(self, exit_code: int) -> str:
        last_words = self._record.spec.termination
        text = ""
        if last_words.file:
            try:
                with open(last_words.file, "rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - outcome.MESSAGE_LIMIT))
                    text = file.read(outcome.MESSAGE_LIMIT).decode("utf-8", "replace")
            except OSError:
                return ""  # the pod's directory was removed while it ended
        if not text and exit_code and last_words.from_logs:
            text = logs.tail(self._record.spec.log_path, outcome.LOG_MESSAGE_LIMIT, outcome.LOG_MESSAGE_LINES)
        return text

    def _status(self) -> outcome.Status:
        try:
            with open(self._records.path(self._record.spec.id, ".status"), encoding="utf-8") as file:
                return outcome.parse_status(file.read())
        except FileNotFoundError:
            return outcome.Status()

    def _find_monitor(self) -> int:
        """The bwrap process of a program whose start was cut short by our own death; 0 when there is none.

        It alone holds the status file open, from the moment it exists to its end.
        """
        try:
            status = os.stat(self._records.path(self._record.spec.id, ".status"))
        except FileNotFoundError:
            return 0
        return next((int(name) for name in os.listdir("/proc") if name.isdigit() and _holds(name, status)), 0)

    def _kill(self) -> None:
        self._kill_timer = None
        self._doomed = True
        # While bwrap is setting up nobody is killed: its inner process would outlive the outer one. `_set_up` does it.
        self._signal(signal.SIGKILL)

    @property
    def _stop_signal(self) -> int:
        return signal_number(self._record.spec.stop_signal)

    def _signal(self, number: int) -> None:
        if self._child < 0:
            return
        # Without a pid namespace of its own the session is what belongs to the container.
        in_session = number == signal.SIGKILL and self._joined and self.state.pid and _kill_session(self.state.pid)
        if not in_session:
            _send(self._child, number)

    @property
    def _joined(self) -> bool:
        """Whether it is in a pid namespace of others."""
        spec = self._record.spec
        return spec.host_pid or spec.share_pids or bool(spec.target)


def _pipe() -> tuple[int, int]:
    """Both ends of a pipe; whoever gets the second one is not killed by writing to it when we are gone.

    It is open for reading too (Linux lets a pipe be opened anew by its descriptor).
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        return reader, os.open(f"/proc/self/fd/{writer}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(writer)


def _kill_session(leader: int) -> bool:
    """Kill the processes of a session that stayed in its first group; False when there is no such group (yet)."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _holds(process: str, file: os.stat_result) -> bool:
    """Tell whether a process has a file open."""
    try:
        return any(os.path.samestat(os.stat(entry.path), file) for entry in os.scandir(f"/proc/{process}/fd"))
    except OSError:
        return False  # it has ended, or is another user's


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def signal_number(name: str) -> int:
    """The number of a signal by the name Kubernetes gives it (SIGUSR1, SIGRTMIN+3); SIGTERM for an unknown one."""
    found = _SIGNAL.fullmatch(name)
    base = signal.Signals.__members__.get(found[1]) if found is not None else None
    if found is None or base is None:
        return signal.SIGTERM
    return base + int(found[2] or 0)


def _send(pidfd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return  # it has just ended
