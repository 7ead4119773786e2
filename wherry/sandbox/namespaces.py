"""The namespaces of a sandbox: for an ordinary user a user namespace, then mount and network namespaces.

They are made by a short-lived child and held by file descriptors; processes join them after the fork. The host's own
namespaces are never changed: the mount namespace is private, with a fresh /run.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from wherry.kernel import netns
from wherry.sandbox.layout import NETNS_DIR, RUN_DIR


class NamespaceError(Exception):
    """The kernel refused a namespace; the message says which, and what would allow it."""


@dataclass(frozen=True)
class Namespaces:
    """Open descriptors of the sandbox's namespaces; ``user`` is None for root."""

    user: int | None
    mount: int
    network: int

    def enter(self) -> None:
        """Move this single-threaded process into the sandbox, to its root network namespace."""
        if self.user is not None:
            netns.setns(self.user, netns.CLONE_NEWUSER)
        netns.setns(self.mount, netns.CLONE_NEWNS)
        netns.setns(self.network, netns.CLONE_NEWNET)

    def enter_node(self, node: str) -> None:
        """Move this process into a node: its network namespace, and a host name of its own."""
        self.enter()
        netns.enter(NETNS_DIR / node)
        netns.unshare(netns.CLONE_NEWUTS)
        # The kernel takes 64 bytes at most; a node's name may be longer.
        socket.sethostname(node[:64])


def create() -> Namespaces:
    """Make the namespaces of a new sandbox. Raises NamespaceError."""
    rootless = os.geteuid() != 0
    ready, ready_w = os.pipe2(os.O_CLOEXEC)
    release, release_w = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        # The parent's end must not stay open here, or the child would wait for its own death.
        os.close(release_w)
        _hold(rootless, ready_w, release)
    os.close(ready_w)
    os.close(release)
    try:
        with os.fdopen(ready, "rb") as pipe:
            said = pipe.read().decode()
        if said != "ok":
            raise NamespaceError(said or "the process that makes namespaces died")
        files = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt", "net")}
    finally:
        os.close(release_w)
        os.waitpid(pid, 0)
    user: int | None = files["user"]
    if not rootless:
        os.close(files["user"])
        user = None
    return Namespaces(user, files["mnt"], files["net"])


def _hold(rootless: bool, ready: int, release: int) -> None:
    """Be in new namespaces until the parent has opened them."""
    code = 1
    try:
        try:
            if rootless:
                netns.enter_user_namespace()
            netns.unshare(netns.CLONE_NEWNS | netns.CLONE_NEWNET)
            netns.mount("none", "/", flags=netns.MS_REC | netns.MS_PRIVATE)
            netns.mount("tmpfs", "/run", "tmpfs", netns.MS_NOSUID | netns.MS_NODEV, "mode=755")
            NETNS_DIR.mkdir()
            RUN_DIR.mkdir()
            netns.loopback_up()
        except OSError as error:
            os.write(ready, _explain(error, rootless).encode())
        else:
            os.write(ready, b"ok")
            os.close(ready)
            os.read(release, 1)
            code = 0
    finally:
        os._exit(code)


def _explain(error: OSError, rootless: bool) -> str:
    words = f"namespaces cannot be made: {error.strerror}"
    if rootless and _sysctl("/proc/sys/user/max_user_namespaces") == "0":
        return f"{words}; user namespaces are off (sysctl user.max_user_namespaces=0): turn them on, or run as root"
    if rootless and _sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            f"{words}; AppArmor restricts user namespaces "
            "(sysctl kernel.apparmor_restrict_unprivileged_userns=1): set it to 0, or run as root"
        )
    return f"{words}; " + ("run as root, or allow user namespaces" if rootless else "more privileges are needed")


def _sysctl(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except FileNotFoundError:
        return ""
