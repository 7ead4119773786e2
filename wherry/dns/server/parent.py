"""The parent of a name server's processes: makes their channels, starts them, restarts what dies, passes signals on.

It has no thread and no event loop, holds no socket of the network, and does nothing while nothing happens. Both ends
of every channel stay open here, so that a front or the back comes back to the same channel: fronts answer for the
cluster while the back is away.

Its children are forked. Of what they need only what fronts import is imported here; a caller that has imported
`wherry.dns.server.back` too shares that with every back it starts.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time
import traceback

from wherry.dns.front.run import run as be_front
from wherry.dns.server.options import Options

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
#: Seconds after which a process that ends is started again at once.
_SETTLED = 10.0
#: Seconds that fronts have to end once the back is gone.
_LAST_WORDS = 2.0
_WAITED_FOR = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP})


def serve(options: Options) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code: 1 where the Corefile or an address cannot be had."""
    # Clients' connections and sockets towards upstreams: bounded elsewhere, and beyond what is usual.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return _Parent(options).run()


class _Child:
    """A process, and when to start it (``due``: monotonic seconds; None: it runs)."""

    def __init__(self, name: str, channel: tuple[socket.socket, socket.socket] | None = None) -> None:
        self.name = name
        self.channel = channel
        """A front's, with the back's end second; None for the back."""
        self.pid = 0
        self.started = 0.0
        self.delay = _FIRST_DELAY
        self.due: float | None = 0.0


class _Parent:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._back = _Child("dns-back")
        self._fronts = [
            _Child("dns-front", socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            for _ in range(options.front_count)
        ]
        self._served, self._serving = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Ends when we do, however that comes.
        self._lifeline, self._life = os.pipe2(os.O_CLOEXEC)
        self._has_served = False
        self._code: int | None = None
        self._stopping = False

    def run(self) -> int:
        # Signals are taken one at a time where nothing else happens; children start with none blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        try:
            while self._code is None:
                self._start_due()
                self._take(self._next_signal())
            self._end_fronts()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._code

    def _children(self) -> list[_Child]:
        return [self._back, *self._fronts]

    def _start_due(self) -> None:
        for child in self._children():
            if child.due is None or child.due > time.monotonic() or self._stopping:
                continue
            child.pid = self._fork(child)
            child.started = time.monotonic()
            child.due = None

    def _next_signal(self) -> int:
        due = min((child.due for child in self._children() if child.due is not None), default=None)
        if due is None or self._stopping:
            return signal.sigwaitinfo(_WAITED_FOR).si_signo
        found = signal.sigtimedwait(_WAITED_FOR, max(due - time.monotonic(), 0.0))
        return 0 if found is None else found.si_signo

    def _take(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number == signal.SIGUSR1 and self._back.pid:
            os.kill(self._back.pid, signal.SIGUSR1)

    def _stop(self) -> None:
        """End the back, which ends what fronts have under way; told twice, at once."""
        if not self._back.pid:
            self._code = 0
        else:
            os.kill(self._back.pid, signal.SIGKILL if self._stopping else signal.SIGTERM)
        self._stopping = True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = next((child for child in self._children() if child.pid == pid), None)
            if child is None:
                continue  # an orphan that became ours, as we may be a container's first process
            child.pid = 0
            if child is self._back:
                self._back_ended(os.waitstatus_to_exitcode(status))
            if self._code is None:
                self._schedule(child)

    def _back_ended(self, code: int) -> None:
        if self._stopping:
            self._code = 0
        elif not self._serves():
            # The first configuration cannot be had: trying again would not help, and whoever started us should know.
            self._code = code if code > 0 else 1
        else:
            print(f"[ERROR] the process that answers for fronts ended ({code}) and is started again", flush=True)

    def _serves(self) -> bool:
        """Whether a back has ever come to serve."""
        try:
            self._has_served = self._has_served or bool(os.read(self._served, 1))
        except BlockingIOError:
            return False
        return self._has_served

    def _schedule(self, child: _Child) -> None:
        now = time.monotonic()
        if now - child.started >= _SETTLED:
            child.delay = _FIRST_DELAY
            child.due = now
        else:
            child.due = now + child.delay
            child.delay = min(child.delay * 2, _LONGEST_DELAY)

    def _end_fronts(self) -> None:
        """Let fronts end by themselves, for a moment; the back has told them, if it could."""
        deadline = time.monotonic() + (_LAST_WORDS if self._has_served or self._serves() else 0.0)
        while True:
            for front in self._fronts:
                if front.pid and os.waitpid(front.pid, os.WNOHANG)[0]:
                    front.pid = 0
            left = deadline - time.monotonic()
            if left <= 0 or not any(front.pid for front in self._fronts):
                break
            signal.sigtimedwait({signal.SIGCHLD}, left)
        for front in self._fronts:
            if front.pid:
                os.kill(front.pid, signal.SIGKILL)
                os.waitpid(front.pid, 0)

    def _fork(self, child: _Child) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        # Pages of objects that the collector does not touch stay shared.
        gc.freeze()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            # Not in the terminal's group: Ctrl-C is for the parent, which passes it on.
            os.setpgid(0, 0)
            _call_ourselves(child.name)
            code = self._be_back() if child.channel is None else _be_front_on(child.channel[0].fileno())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _be_back(self) -> int:
        # Imported by the back alone: it is ten times what the parent is.
        from wherry.dns.server.back import main

        ends = []
        for front in self._fronts:
            assert front.channel is not None
            front.channel[0].close()
            ends.append(front.channel[1])
        os.close(self._life)
        # Until it can act on it: being told to reload must not end what just reads the Corefile anyway.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return main(self._options, ends, lambda: os.write(self._serving, b"+"), self._lifeline)


def _be_front_on(end: int) -> int:
    """Be a front that holds nothing but its channel and the standard streams."""
    last = max(map(int, os.listdir("/proc/self/fd")))
    os.closerange(3, end)
    os.closerange(end + 1, last + 1)
    be_front(end)
    return 0


def _call_ourselves(name: str) -> None:
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)
