"""Entering a node of a running sandbox from the host, through the namespaces of one of its processes."""

from __future__ import annotations

import os

from wherry.kernel.netns import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS, setns
from wherry.sandbox.control import ControlError, Reply


def enter_node(reply: Reply, node: str) -> None:
    """Move this process into a node. Raises ControlError where there is no such node, or it is stopped."""
    known = {status.name: status for status in reply.nodes}
    if node not in known:
        raise ControlError(f"there is no node {node!r}; nodes: {', '.join(known) or 'none'}")
    pid = next((p.pid for p in reply.processes if p.name in (f"agent-{node}", f"runtime-{node}") and p.pid), 0)
    if not known[node].running or not pid:
        raise ControlError(f"node {node} is not running; start it by `wherry node start {node}`")
    try:
        _enter(pid)
    except FileNotFoundError as error:
        raise ControlError(f"node {node}: its process ended just now; try again") from error
    except PermissionError as error:
        raise ControlError(f"node {node}: {error.strerror}; the sandbox belongs to another user") from error


def _enter(pid: int) -> None:
    kinds = {"user": CLONE_NEWUSER, "mnt": CLONE_NEWNS, "net": CLONE_NEWNET, "uts": CLONE_NEWUTS}
    files = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}
    own_user = os.stat("/proc/self/ns/user")
    there = os.fstat(files["user"])
    here = os.getcwd()
    for kind, flag in kinds.items():
        # Joining the user namespace one is in already is refused.
        if kind != "user" or (own_user.st_dev, own_user.st_ino) != (there.st_dev, there.st_ino):
            setns(files[kind], flag)
        os.close(files[kind])
    os.chdir(here)
