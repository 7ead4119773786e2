"""`wherry down`: end a sandbox and remove every trace of it, also after a crash."""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Collection

from wherry.sandbox import control, leftovers
from wherry.sandbox.control import ControlError, Request, Unreachable
from wherry.sandbox.layout import Layout


class DownError(Exception):
    """Something of the sandbox could not be removed; the message says what."""


def down(layout: Layout) -> bool:
    """Remove a sandbox; False where there was none. Raises DownError.

    The supervisor ends its processes. Whatever is left, if it is gone or does not answer, is found by the marker in its
    environment or by its network namespace; the namespaces, with all links, routes, rules and mounts, go with the last
    process.
    """
    processes = leftovers.marked(layout.directory)
    if not layout.directory.is_dir() and not processes:
        return False
    # Programs of containers are found by the namespaces they are in, which must be known before these are gone.
    with leftovers.networks(processes) as networks:
        if layout.directory.is_dir():
            try:
                reply = control.ask(layout.control, Request("down"), timeout=5)
            except Unreachable:
                pass  # nobody to ask: what follows does not need the supervisor
            except ControlError:
                pass  # it hangs or is of another version: it carries the marker too and is ended below
            else:
                _wait_for_end(reply.pid, seconds=10)
        end_processes(layout, networks)
    try:
        shutil.rmtree(layout.directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DownError(f"sandbox {layout.name!r}: {error.filename}: {error.strerror}") from error
    return True


def end_processes(layout: Layout, networks: Collection[tuple[int, int]]) -> None:
    """Kill every process of a sandbox: the marked ones, and those in its network namespaces. Raises DownError."""
    left = leftovers.end(lambda: [*leftovers.marked(layout.directory), *leftovers.in_networks(networks)])
    if left:
        raise DownError(f"sandbox {layout.name!r}: processes {left} do not end")


def _wait_for_end(pid: int, *, seconds: float) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([pidfd], [], [], seconds)
    finally:
        os.close(pidfd)
