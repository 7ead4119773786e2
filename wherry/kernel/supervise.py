"""Child processes that are kept running: started, restarted with back-off, stopped, reaped.

Guarantees:

* A child that ends, for whatever reason, is started again: at once if it ran for ten seconds, else after a delay that
  doubles from 0.1 s to 10 s. A child that was stopped stays stopped.
* Children are forked from this process, which may have imported their modules already; they share those pages and start
  in milliseconds. So this process never starts a thread and runs no event loop of its own.
* Children do not die with this process: a cluster outlives its supervisor, and whoever removes it ends what is left.
* Orphans of children become children of this process and are reaped.

The one loop serves signals, timers and requests; a request handler runs to its end before anything else happens.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

log = logging.getLogger(__name__)

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 10.0
_SETTLED = 10.0
#: A log larger than this is put aside as `<name>.log.1` when its process starts.
_LOG_LIMIT = 16 << 20


class SuperviseError(Exception):
    """No such process, or one of that name is there already."""


@dataclass(frozen=True)
class Process:
    """What to run: ``main`` is called in the forked child, after ``enter`` has moved it where it belongs."""

    name: str
    main: Callable[[], None]
    log: Path
    enter: Callable[[], None] = lambda: None


class ProcessStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A process as `wherry status` shows it; times in seconds, pid 0 while it is not running."""

    name: str
    pid: int
    restarts: int
    uptime: float
    last_exit: str


@dataclass
class _Child:
    process: Process
    pid: int = 0
    started: float = 0.0
    restarts: int = 0
    delay: float = _FIRST_DELAY
    due: float | None = None
    last_exit: str = ""


class Supervisor:
    """Keeps processes running until stop_all(); the one owner of SIGCHLD in its process."""

    def __init__(self) -> None:
        self._children: dict[str, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._own_files: set[int] = set()
        self._ending = False
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._previous = {n: signal.signal(n, lambda *_: None) for n in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)}
        self._own_files |= {read, write}
        self._selector.register(read, selectors.EVENT_READ, lambda: self._signals(read))

    def keep(self, file: int) -> None:
        """Keep an open file to this process: children close their copy."""
        self._own_files.add(file)

    def listen(self, file: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``file`` can be read. Children do not inherit it."""
        self.keep(file)
        self._selector.register(file, selectors.EVENT_READ, callback)

    def release(self, file: int) -> None:
        """Forget a file given to keep(), which must be done before it is closed."""
        self._own_files.discard(file)

    def start(self, process: Process) -> None:
        """Start a process and keep it running. Raises SuperviseError where the name is taken."""
        if process.name in self._children:
            raise SuperviseError(f"process {process.name} is there already")
        child = self._children[process.name] = _Child(process)
        self._fork(child)

    def kill(self, name: str) -> None:
        """End a process at once and forget it, as a power cut would. Raises SuperviseError where there is none."""
        child = self._children.pop(name, None)
        if child is None:
            raise SuperviseError(f"no process {name}")
        if child.pid:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)

    def status(self) -> list[ProcessStatus]:
        """Every process in the order of its start."""
        now = time.monotonic()
        return [
            ProcessStatus(
                name, child.pid, child.restarts, round(now - child.started, 1) if child.pid else 0.0, child.last_exit
            )
            for name, child in self._children.items()
        ]

    def call(self, enter: Callable[[], None], function: Callable[[], object]) -> None:
        """Run ``function`` in a forked child that called ``enter`` first, and wait for it.

        The way to change a namespace from outside it. Raises SuperviseError with the child's own words on failure.
        """
        self.begin(enter, function)()

    def begin(self, enter: Callable[[], None], function: Callable[[], object]) -> Callable[[], None]:
        """Start what call() does and return a function that waits for its end."""
        read, write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                enter()
                function()
            except BaseException as error:
                code = 1
                os.write(write, (str(error) or repr(error)).encode()[:4000])
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(write)

        def wait() -> None:
            with os.fdopen(read, "rb") as pipe:
                said = pipe.read().decode(errors="replace")
            _, status = os.waitpid(pid, 0)
            if status:
                raise SuperviseError(said or f"a helper process ended with {_describe(status)}")

        return wait

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or end(); children go on running, see stop_all()."""
        while not self._ending:
            now = time.monotonic()
            for child in list(self._children.values()):
                if child.due is not None and child.due <= now:
                    child.due = None
                    child.restarts += 1
                    self._fork(child)
            waits = [child.due for child in self._children.values() if child.due is not None]
            timeout = max(0.0, min(waits) - time.monotonic()) if waits else None
            for key, _ in self._selector.select(timeout):
                key.data()

    def end(self) -> None:
        """Make run() return after the current callback."""
        self._ending = True

    def stop_all(self, grace: float) -> None:
        """Ask every process to end, in reverse order of start, and kill what is left after ``grace`` seconds."""
        children = [child for child in reversed(self._children.values()) if child.pid]
        self._children.clear()
        for child in children:
            os.kill(child.pid, signal.SIGTERM if grace > 0 else signal.SIGKILL)
        deadline = time.monotonic() + grace
        for child in children:
            # A pidfd, unlike waitpid, can be waited on with a deadline.
            pidfd = os.pidfd_open(child.pid)
            with selectors.DefaultSelector() as waiting:
                waiting.register(pidfd, selectors.EVENT_READ)
                if not waiting.select(max(0.0, deadline - time.monotonic())):
                    os.kill(child.pid, signal.SIGKILL)
            os.close(pidfd)
            os.waitpid(child.pid, 0)

    def _signals(self, file: int) -> None:
        received = os.read(file, 512)
        if signal.SIGTERM in received or signal.SIGINT in received:
            self.end()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children.values():
                if child.pid == pid:
                    self._ended(child, status)

    def _ended(self, child: _Child, status: int) -> None:
        ran = time.monotonic() - child.started
        child.pid = 0
        child.last_exit = _describe(status)
        if ran > _SETTLED:
            child.delay = _FIRST_DELAY
            delay = 0.0
        else:
            delay = child.delay
            child.delay = min(child.delay * 2, _LONGEST_DELAY)
        child.due = time.monotonic() + delay
        log.warning(
            "%s ended (%s) after %.1f s; starting it again in %.1f s", child.process.name, child.last_exit, ran, delay
        )

    def _fork(self, child: _Child) -> None:
        process = child.process
        if process.log.exists() and process.log.stat().st_size > _LOG_LIMIT:
            process.log.replace(process.log.with_name(process.log.name + ".1"))
        output = os.open(process.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # What a child's collector does not look through stays on pages that all share.
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            self._become(process, output)
        os.close(output)
        child.pid = pid
        child.started = time.monotonic()

    def _become(self, process: Process, output: int) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            # Its own group: Ctrl-C in a terminal reaches the supervisor alone, which then ends the rest in order.
            os.setpgid(0, 0)
            self._selector.close()
            for file in self._own_files:
                os.close(file)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (output, 1), (output, 2)):
                os.dup2(source, target)
            # Whatever the parent had put in their place, the child writes to its log, line by line.
            sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
            name = f"wherry:{process.name}"
            _prctl(_PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]))
            process.enter()
            process.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _prctl(option: int, argument: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
