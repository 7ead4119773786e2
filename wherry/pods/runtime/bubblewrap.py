"""The bubblewrap command line of a container (pure, apart from looking at the tree that becomes its root).

The container gets: the host's root read-only on a private tmpfs, private /tmp, /run and /dev, its own pid, ipc and uts
namespaces, its mounts, and the capabilities containerd gives by default changed by the securityContext. The network
namespace is joined before bubblewrap starts. As on any runtime the program is process 1 of its pid namespace.

User ids: where the machine's ids are available (root outside of a user namespace) ``setpriv`` switches to the wanted
user inside the container. Where only one id exists (ordinary user), and for an image with its own root directory, a
nested user namespace shows the wanted id while the kernel goes on using the one there is; a note says so.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from msgspec import Struct

from wherry.pods.model import ContainerSpec, Mount, Security, User
from wherry.pods.runtime.programs import Programs
from wherry.pods.runtime.view import PRIVATE, Tree, resolve, shadows, within

DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""What containerd leaves a container with when the manifest says nothing."""

_SWITCH_USER = frozenset({"SETUID", "SETGID", "SETPCAP"})
"""What setpriv itself needs; it gives them up again."""


class Command(Struct, frozen=True):
    """``argv`` follows the bwrap program; ``options`` go to it NUL-separated through ``--args``."""

    options: tuple[str, ...]
    argv: tuple[str, ...]
    notes: tuple[str, ...] = ()


def capabilities(security: Security) -> frozenset[str] | None:
    """The capabilities (without ``CAP_``) the container may have; None: all there are."""
    if security.privileged:
        return None
    added = {name.upper().removeprefix("CAP_") for name in security.add_capabilities}
    dropped = {name.upper().removeprefix("CAP_") for name in security.drop_capabilities}
    if "ALL" in added:
        return None
    return (frozenset() if "ALL" in dropped else DEFAULT_CAPABILITIES - dropped) | added


def identity(spec: ContainerSpec, *, all_ids: bool) -> User:
    """As whom the program of ``spec`` sees itself run; see `build` for ``all_ids``."""
    security = spec.security
    group = security.run_as_group or 0
    others = security.groups if all_ids and not spec.rootfs else ()
    return User(security.run_as_user or 0, group, tuple(sorted({group, *others})))


def build(
    spec: ContainerSpec,
    argv: Sequence[str],
    *,
    programs: Programs,
    tree: Tree,
    mounts: Sequence[Mount],
    all_ids: bool,
    follow_parent: bool = False,
    writable_root: bool = False,
    pid_namespace: int | None = None,
) -> Command:
    """The command that runs ``argv`` as the container ``spec``.

    ``mounts`` are the spec's with sub paths already joined and sources existing, ``tree`` is the container's future
    root (``spec.rootfs`` or the host's), ``all_ids`` says whether other user ids than our own can be taken,
    ``follow_parent`` is for commands beside a stand-in: they end with their caller and keep its terminal;
    ``writable_root`` says that ``spec.rootfs`` is the container's own copy; ``pid_namespace`` is the descriptor of one
    to be in instead of one of its own.
    Raises `view.LinkLoop`.
    """
    options = ["--unshare-uts"]
    if not spec.host_ipc:
        options.append("--unshare-ipc")
    user, command, notes = _identity(spec, argv, programs=programs, all_ids=all_ids)
    if pid_namespace is not None and "--unshare-user" in user:
        # The kernel shows the processes of a namespace only to the user namespace that it belongs to.
        pid_namespace = None
        notes = (*notes, "it does not see the processes of other containers, as it runs as its user in name only")
    own_pids = not spec.host_pid and pid_namespace is None
    if own_pids:
        options.append("--unshare-pid")
    elif pid_namespace is not None:
        options += ["--pidns", str(pid_namespace)]
    if spec.hostname:
        options += ["--hostname", spec.hostname]
    leader = _terminal_leader(spec, programs, tree) if spec.tty and not follow_parent else ""
    if leader:
        command = (leader, "-c", *command)
    elif spec.tty and not follow_parent:
        notes = (*notes, "the image has no setsid: keys typed at its terminal interrupt nothing")
    if follow_parent:
        options.append("--die-with-parent")
    else:
        options += [] if leader else ["--new-session"]
        options += ["--as-pid-1"] if own_pids else []
    if writable_root:
        options += _image_files(spec, tree=tree, mounts=mounts)
    else:
        options += _files(spec, programs=programs, tree=tree, mounts=mounts)
    options += user
    return Command(options=tuple(options), argv=command, notes=notes)


def _files(spec: ContainerSpec, *, programs: Programs, tree: Tree, mounts: Sequence[Mount]) -> list[str]:
    root = spec.rootfs.rstrip("/") if spec.rootfs else ""
    made = list(PRIVATE)
    placed: list[tuple[str, Mount]] = []
    for mount in sorted(mounts, key=lambda mount: posixpath.normpath(mount.target).count("/")):
        target = resolve(mount.target, tree, made=made)
        placed.append((target, mount))
        made.append(target)
    cwd = resolve(spec.cwd or "/", tree, made=made)
    targets = [target for target, _ in placed]
    shadowed = shadows([*targets, cwd], tree)
    options: list[str] = []
    for name in tree.entries("/"):
        options += _entry("/" + name, root, tree, shadowed)
    for directory in shadowed:
        options += ["--tmpfs", directory]
        for name in tree.entries(directory):
            options += _entry(f"{directory}/{name}", root, tree, shadowed)
    options += ["--dev-bind", "/dev", "/dev"] if spec.security.privileged else ["--dev", "/dev"]
    options += ["--proc", "/proc", "--ro-bind-try", "/sys", "/sys"]
    scratch = ["/tmp", *(["/var/tmp"] if tree.kind("/var/tmp") == "directory" else ())]
    for private in scratch:
        options += ["--perms", "1777", "--tmpfs", private]
    scratch.append("/run")
    options += ["--tmpfs", "/run"]
    if not root:
        for directory in programs.hidden:
            covered = any(within(directory, private) for private in PRIVATE)
            if not covered and tree.kind(directory) == "directory":
                options += ["--tmpfs", directory]
    for target, mount in placed:
        options += _bind(spec, target, mount)
    inside = any(within(cwd, target) or within(target, cwd) for target in (*targets, *PRIVATE))
    if cwd != "/" and tree.kind(cwd) is None and not inside:
        options += ["--dir", cwd]
    if spec.security.read_only_root:
        for directory in ("/", *shadowed, *(place for place in scratch if place not in targets)):
            options += ["--remount-ro", directory]
    return [*options, "--chdir", cwd]


def _image_files(spec: ContainerSpec, *, tree: Tree, mounts: Sequence[Mount]) -> list[str]:
    """An image's own root, writable: what is missing in it is made in it."""
    root = spec.rootfs or "/"
    made = ["/dev", "/proc", "/sys"]
    options = ["--bind", root, "/"]
    options += ["--dev-bind", "/dev", "/dev"] if spec.security.privileged else ["--dev", "/dev"]
    options += ["--proc", "/proc", "--ro-bind-try", "/sys", "/sys"]
    if tree.kind("/tmp") is None:
        options += ["--perms", "1777", "--dir", "/tmp"]
    for mount in sorted(mounts, key=lambda mount: posixpath.normpath(mount.target).count("/")):
        target = resolve(mount.target, tree, made=made)
        options += _parents(target, tree, made)
        options += _bind(spec, target, mount)
        made.append(target)
    cwd = resolve(spec.cwd or "/", tree, made=made)
    options += _parents(f"{cwd}/.", tree, made)
    if spec.security.read_only_root:
        options += ["--remount-ro", "/"]
    return [*options, "--chdir", cwd]


def _parents(path: str, tree: Tree, made: Sequence[str]) -> list[str]:
    """Make the directories above a path that the image lacks; bwrap would make them for their owner alone."""
    options: list[str] = []
    parent = posixpath.dirname(path)
    while parent != "/" and tree.kind(parent) is None and not any(within(parent, one) for one in made):
        options = ["--perms", "0755", "--dir", parent, *options]
        parent = posixpath.dirname(parent)
    return options


def _bind(spec: ContainerSpec, target: str, mount: Mount) -> list[str]:
    if mount.read_only:
        return ["--ro-bind", mount.source, target]
    return ["--dev-bind" if spec.security.privileged else "--bind", mount.source, target]


def _terminal_leader(spec: ContainerSpec, programs: Programs, tree: Tree) -> str:
    """The program that makes a command the leader of a session on its terminal, as only it itself can; maybe none."""
    if not spec.rootfs:
        return programs.setsid
    for path in ("/usr/bin/setsid", "/bin/setsid"):
        if tree.kind(resolve(path, tree)) == "file":
            return path
    return ""


def _entry(path: str, root: str, tree: Tree, shadowed: Sequence[str]) -> list[str]:
    """How one entry of ``/`` or of a shadowed directory appears."""
    if path in PRIVATE or path in shadowed:
        return []
    kind = tree.kind(path)
    if kind is None:
        return []
    if kind == "link":
        return ["--symlink", tree.target(path), path]
    return ["--ro-bind-try", root + path, path]


def _identity(
    spec: ContainerSpec, argv: Sequence[str], *, programs: Programs, all_ids: bool
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Options, final argv and notes for user, groups and capabilities."""
    security = spec.security
    user = security.run_as_user or 0
    group = security.run_as_group if security.run_as_group is not None else 0
    allowed = capabilities(security)
    command = tuple(argv)
    if user == 0 and group == 0 and not security.groups:
        return _capability_options(allowed), command, ()
    if all_ids and not spec.rootfs:
        groups = ",".join(str(number) for number in security.groups)
        switch = [programs.setpriv, f"--reuid={user}", f"--regid={group}"]
        switch.append(f"--groups={groups}" if groups else "--clear-groups")
        switch.append("--inh-caps=-all")
        if allowed is not None:
            kept = "".join(f",+{name.lower()}" for name in sorted(allowed))
            switch.append(f"--bounding-set=-all{kept}")
        return (
            _capability_options(None if allowed is None else allowed | _SWITCH_USER),
            (*switch, "--", *command),
            (),
        )
    notes = [f"runs as user {user} and group {group} in name only: they are mapped to the runtime's own user"]
    if security.groups:
        notes.append("supplementary groups are not available here")
    options = ["--unshare-user", "--uid", str(user), "--gid", str(group)]
    return options, command, tuple(notes)


def _capability_options(allowed: frozenset[str] | None) -> list[str]:
    if allowed is None:
        return []
    options = ["--cap-drop", "ALL"]
    for name in sorted(allowed):
        options += ["--cap-add", f"CAP_{name}"]
    return options
