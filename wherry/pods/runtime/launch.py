"""Turning a ContainerSpec into a running bubblewrap process (the edge around `bubblewrap.build`)."""

from __future__ import annotations

import os
import posixpath
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from wherry.kernel import netns
from wherry.pods.model import DEFAULT_PATH, ContainerSpec, Mount, User
from wherry.pods.runtime import bubblewrap, lookup, rootfs
from wherry.pods.runtime.programs import Programs
from wherry.pods.runtime.view import DiskTree, LinkLoop, within

MARK = "WHERRY_SANDBOX"
"""Set in the environment of a sandbox's processes."""
LOADER = "LD_"
"""Variables for the container's dynamic loader, which bwrap itself must not obey."""


class LaunchError(Exception):
    """The container cannot be started; the text goes into its status."""


def environment(spec: ContainerSpec) -> dict[str, str]:
    """The spec's environment over what every container has."""
    home = "/root" if not spec.security.run_as_user else "/"
    terminal = {"TERM": "xterm"} if spec.tty else {}
    return {"PATH": DEFAULT_PATH, "HOSTNAME": spec.hostname or spec.pod, "HOME": home, **terminal, **spec.env}


def all_ids_available(uid_map: str) -> bool:
    """Whether other users' ids exist here, from the text of /proc/self/uid_map (user_namespaces(7))."""
    return sum(int(line.split()[2]) for line in uid_map.splitlines() if line.strip()) > 1


def has_all_ids() -> bool:
    """Whether this process can take, and give files to, other users than its own."""
    return all_ids_available(Path("/proc/self/uid_map").read_text())


def identity(spec: ContainerSpec) -> User:
    """As whom the program of ``spec`` sees itself run on this machine."""
    return bubblewrap.identity(spec, all_ids=has_all_ids())


def prepare_mounts(spec: ContainerSpec) -> tuple[Mount, ...]:
    """The spec's mounts with sub paths joined and made, and the termination message file. Raises `LaunchError`."""
    mounts = [_prepared(mount) for mount in spec.mounts]
    last_words = spec.termination
    if last_words.file and last_words.path:
        try:
            os.makedirs(os.path.dirname(last_words.file), exist_ok=True)
            with open(last_words.file, "ab") as file:
                os.fchmod(file.fileno(), 0o666)  # written by whatever user the container runs as
        except OSError as error:
            raise LaunchError(f"termination message file: {error}") from error
        mounts.append(Mount(source=last_words.file, target=last_words.path))
    return tuple(mounts)


def start(
    spec: ContainerSpec,
    argv: Sequence[str],
    *,
    programs: Programs,
    stdin: int,
    stdout: int,
    stderr: int,
    status: int | None = None,
    info: int | None = None,
    prefix: Sequence[str] = (),
    follow_parent: bool = False,
    extra_env: Mapping[str, str] | None = None,
    pid_namespace: int | None = None,
) -> tuple[subprocess.Popen[bytes], tuple[str, ...]]:
    """Start ``argv`` in a new set of namespaces beside the pod's network; returns the bwrap process and notes.

    ``status`` and ``info`` are descriptors for bwrap's JSON status (the exit code among it) and for its process id.
    ``prefix`` is a command that runs bwrap in its turn. ``follow_parent`` makes the command end with the calling thread
    and stay in its terminal session. The thread visits the pod's network namespace. An image's directory is shown
    through a writable copy. ``pid_namespace`` is the descriptor of a pid namespace to be in instead of one of its own.
    Raises `LaunchError`.
    """

    def go(writable: str | None = None) -> tuple[subprocess.Popen[bytes], tuple[str, ...]]:
        return _start(
            spec,
            argv,
            programs=programs,
            streams=(stdin, stdout, stderr),
            told=(("--json-status-fd", status), ("--info-fd", info)),
            prefix=prefix,
            follow_parent=follow_parent,
            extra_env=extra_env,
            pid_namespace=pid_namespace,
            writable=writable,
        )

    if not spec.rootfs:
        return go()
    directory = spec.rootfs
    try:
        return netns.run_in(netns.THIS_THREAD, lambda: go(rootfs.make_writable(directory)))
    except OSError as error:
        raise LaunchError(f"rootfs {directory}: {(error.strerror or str(error)).lower()}") from error


def _start(
    spec: ContainerSpec,
    argv: Sequence[str],
    *,
    programs: Programs,
    streams: tuple[int, int, int],
    told: tuple[tuple[str, int | None], ...],
    prefix: Sequence[str],
    follow_parent: bool,
    extra_env: Mapping[str, str] | None,
    pid_namespace: int | None,
    writable: str | None,
) -> tuple[subprocess.Popen[bytes], tuple[str, ...]]:
    """``writable`` says why the image's directory cannot be written to; empty when it can, None without one."""
    mounts = prepare_mounts(spec)
    tree = DiskTree(spec.rootfs or "/")
    environ = {**(extra_env or {}), **environment(spec)}
    try:
        gone = lookup.missing(argv[0], path=environ["PATH"], cwd=spec.cwd, tree=tree, mounts=mounts) if argv else ""
        if gone:
            raise LaunchError(gone)
        command = bubblewrap.build(
            spec,
            argv,
            programs=programs,
            tree=tree,
            mounts=mounts,
            all_ids=has_all_ids(),
            follow_parent=follow_parent,
            writable_root=writable == "",
            pid_namespace=pid_namespace,
        )
    except (LinkLoop, OSError) as error:
        raise LaunchError(str(error)) from error
    loader = [word for name in environ if name.startswith(LOADER) for word in ("--setenv", name, environ[name])]
    # bwrap itself carries the mark of whoever runs this node, by which it is found after a crash; the program does not.
    marks = {name: os.environ[name] for name in (MARK,) if name in os.environ}
    unmark = [word for name in marks for word in ("--unsetenv", name)]
    options = _in_memory("\0".join([*command.options, *unmark, *loader, ""]).encode())
    inherited = [options] if pid_namespace is None else [options, pid_namespace]
    line = [*prefix, programs.bwrap]
    for flag, fd in told:
        if fd is not None:
            line += [flag, str(fd)]
            inherited.append(fd)
    line += ["--args", str(options), "--", *command.argv]
    try:
        process = netns.spawn_in(
            spec.netns or netns.THIS_THREAD,
            line,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            env=marks | {name: value for name, value in environ.items() if not name.startswith(LOADER)},
            pass_fds=inherited,
            cwd="/",
        )
    except (OSError, ValueError) as error:
        raise LaunchError(f"cannot start the container: {error}") from error
    finally:
        os.close(options)
    notes = (f"the image's root directory is read-only: {writable}",) if writable else ()
    return process, (*command.notes, *notes)


def _in_memory(data: bytes) -> int:
    """A descriptor from which ``data`` can be read."""
    fd = os.memfd_create("bwrap-args", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _prepared(mount: Mount) -> Mount:
    if not mount.sub_path:
        if not os.path.lexists(mount.source):
            raise LaunchError(f"mount {mount.target}: {mount.source} does not exist")
        return mount
    if mount.sub_path.startswith("/") or ".." in mount.sub_path.split("/"):
        raise LaunchError(f"mount {mount.target}: subPath {mount.sub_path!r} must be relative and stay inside")
    volume = os.path.realpath(mount.source)
    source = os.path.realpath(posixpath.join(volume, mount.sub_path))
    if not within(source, volume):
        raise LaunchError(f"mount {mount.target}: subPath {mount.sub_path!r} leads out of its volume")
    try:
        if not os.path.exists(source):
            os.makedirs(source)
    except OSError as error:
        raise LaunchError(f"mount {mount.target}: cannot make subPath {mount.sub_path!r}: {error}") from error
    return Mount(source=source, target=mount.target, read_only=mount.read_only)
