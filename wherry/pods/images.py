"""What the containers of an image run (pure): the image table, built-in images, stand-ins; first match wins.

No image is ever pulled. An image either names a program of this machine (image table, bare userlands such as busybox)
or is stood in for. Its reference is compared in every spelling, so that a table may say ``nginx``, ``nginx:1.27``,
``docker.io/library/nginx`` or ``docker.io/library/nginx:1.27``, whichever the manifest says. An image that some
registry mirrors keeps its last parts (``mirror.gcr.io/library/debian``), which the built-in patterns go by.

A pod may decide for itself, by the annotation ``wherry.dev/run`` (or ``wherry.dev/run.CONTAINER`` for one of its
containers): ``stand-in`` is stood in for whatever the table says; ``process`` runs its own command as a program of
this machine where neither table nor built-in images know one. It counts when a container is started.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import msgspec
from msgspec import Struct

from wherry.pods.model import Mount, Port

Run = Literal["", "process", "stand-in"]


class Bind(Struct, frozen=True, forbid_unknown_fields=True):
    """A file or directory of the host that the container sees, read-only."""

    source: str
    target: str


class ImageEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the image table."""

    match: str
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str = ""
    """Working directory where the container names none."""
    user: str = ""
    """``uid`` or ``uid:gid`` where the securityContext names none."""
    rootfs: str | None = None
    """An unpacked image tree, shown as ``/``; every container writes to a copy of its own."""
    binds: tuple[Bind, ...] = ()


class Decision(Struct, frozen=True):
    """What a container runs. Exactly one of: ``argv`` (a program), neither (a stand-in), ``error`` (nothing)."""

    argv: tuple[str, ...] | None = None
    wanted_argv: tuple[str, ...] = ()
    """For a stand-in: what the manifest asked to run."""
    silent: bool = False
    """A stand-in for a program that answers nothing (pause)."""
    env: dict[str, str] = {}
    """The image's environment; the container's own wins."""
    cwd: str = ""
    """The image's working directory; the container's own wins."""
    user: int | None = None
    group: int | None = None
    rootfs: str | None = None
    mounts: tuple[Mount, ...] = ()
    error: str = ""
    """Why nothing can be run (reason ErrImagePull of a container that waits)."""


class _Builtin(Struct, frozen=True):
    patterns: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    rename: dict[str, str] = {}


_CURL = ("sh", "-c", 'command -v -- "$1" >/dev/null 2>&1 || set -- curl "$@"; exec "$@"', "curl")
"""As the image's own entry point: arguments that name no program are arguments of curl."""

_USERLANDS = (
    _Builtin(patterns=("*/busybox", "*/alpine"), cmd=("sh",)),
    _Builtin(
        patterns=(
            "*/library/debian",
            "*/library/ubuntu",
            "*/library/bash",
            "*/library/buildpack-deps",
            "*/library/fedora",
            "*/library/rockylinux",
            "*/library/almalinux",
            "*/library/amazonlinux",
            "*/library/archlinux",
            "registry.access.redhat.com/ubi?/*",
        ),
        cmd=("bash",),
    ),
    _Builtin(patterns=("*/curlimages/curl", "*/curl/curl", "*/alpine/curl"), entrypoint=_CURL, cmd=("curl",)),
    _Builtin(patterns=("*/nicolaka/netshoot",), cmd=("bash",)),
    _Builtin(patterns=("*/library/python",), cmd=("python3",), rename={"python": "python3"}),
    _Builtin(patterns=("*/library/perl",), cmd=("perl", "-de0")),
    # These serve something of their own unless they are told what to run: then a stand-in serves it.
    _Builtin(patterns=("*/network-multitool", "*/jessie-dnsutils", "*/dnsutils")),
)
"""Images that are nothing but well-known programs, which the host has too."""

_PAUSE = ("*/pause", "*/mirrored-pause")
_PACKAGED = ("docker.io/wherry/*", "*klipper-helm", "*traefik*")
"""Whole names, or last parts of names: ``traefik/whoami`` is no Traefik."""


def spellings(image: str) -> tuple[str, ...]:
    """The reference as given and without its tag; and, with tag and without, as long and as short as it may be."""
    name, _, digest = image.partition("@")
    short, tag = _split(name)
    full = _full(image)
    familiar = full.removeprefix("docker.io/").removeprefix("library/")
    suffix = f"@{digest}" if digest else f":{tag or 'latest'}"
    return tuple(dict.fromkeys((image, short, full, full + suffix, familiar, familiar + suffix)))


def _split(name: str) -> tuple[str, str]:
    """Repository and tag; a colon before the last slash belongs to a registry's port."""
    head, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    return head + slash + base, tag


def _full(image: str) -> str:
    """Registry and repository without tag and digest, by Docker's rules for what may be left out."""
    short, _ = _split(image.partition("@")[0])
    first, slash, _ = short.partition("/")
    if not slash:
        return f"docker.io/library/{short}"
    if "." in first or ":" in first or first == "localhost":
        return short
    return f"docker.io/{short}"


def decide(
    image: str, *, command: Sequence[str], args: Sequence[str], table: Iterable[ImageEntry], run: Run = ""
) -> Decision:
    """What a container with this image, ``command`` and ``args`` (both already expanded) runs."""
    if run == "stand-in":
        return Decision(wanted_argv=(*command, *args), silent=_is_pause(image))
    known = _known(image, command, args, table)
    if known is not None and (known.argv is not None or known.error):
        return known
    if run == "process":
        if command:
            return Decision(argv=(*command, *args))
        return Decision(
            error=f"wherry.dev/run asks for a process, but no program is known for image {image}: give the container "
            "a command, or the image an entry in the image table"
        )
    return known or Decision(wanted_argv=(*command, *args))


def _known(image: str, command: Sequence[str], args: Sequence[str], table: Iterable[ImageEntry]) -> Decision | None:
    """What table and built-in images say; None: nothing."""
    names = spellings(image)
    for entry in table:
        if any(fnmatchcase(name, entry.match) for name in names):
            return _from_entry(entry, command, args)
    if _is_pause(image):
        return Decision(wanted_argv=(*command, *args), silent=True)
    full = _full(image)
    for pattern in _PACKAGED:
        if fnmatchcase(full if "/" in pattern else full.rpartition("/")[2], pattern):
            return Decision(error=f"image {image} is not there yet: this version has no program for {pattern}")
    for builtin in _USERLANDS:
        if any(fnmatchcase(full, pattern) for pattern in builtin.patterns):
            argv = _argv(builtin.entrypoint, builtin.cmd, command, args)
            return Decision(argv=(builtin.rename.get(argv[0], argv[0]), *argv[1:])) if argv else None
    return None


def _is_pause(image: str) -> bool:
    return any(fnmatchcase(_full(image), pattern) for pattern in _PAUSE)


def stand_in_ports(
    decision: Decision, declared: Iterable[tuple[int, str]], probed: Iterable[int] = ()
) -> tuple[Port, ...]:
    """The ports a stand-in opens: every declared (number, protocol) and the TCP ports that probes ask."""
    if decision.silent:
        return ()
    ports: dict[tuple[int, str], Port] = {}
    for number, protocol in declared:
        kind = (protocol or "TCP").upper()
        ports[number, kind] = msgspec.convert({"number": number, "protocol": kind}, Port)
    for number in probed:
        ports.setdefault((number, "TCP"), Port(number, optional=True))
    return tuple(ports.values())


def _from_entry(entry: ImageEntry, command: Sequence[str], args: Sequence[str]) -> Decision:
    argv = _argv(entry.entrypoint, entry.cmd, command, args)
    if not argv:
        return Decision(
            error=f"image table entry {entry.match!r} has no entrypoint and the container no command: give one of them"
        )
    mounts = tuple(Mount(source=bind.source, target=bind.target, read_only=True) for bind in entry.binds)
    user, _, group = entry.user.partition(":")
    return Decision(
        argv=argv,
        env=entry.env,
        cwd=entry.cwd,
        user=int(user) if user else None,
        group=int(group) if group else None,
        rootfs=entry.rootfs,
        mounts=mounts,
    )


def _argv(
    entrypoint: Sequence[str], cmd: Sequence[str], command: Sequence[str], args: Sequence[str]
) -> tuple[str, ...]:
    """Kubernetes' table: command replaces the entry point and drops the image's cmd, args replace cmd."""
    if command:
        return (*command, *args)
    return (*entrypoint, *(args or cmd))
