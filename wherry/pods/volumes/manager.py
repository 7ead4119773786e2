"""The volumes of one pod on this node's disk.

    <root>/<pod uid>/volumes/<volume>/        emptyDir; configMap, secret, downwardAPI and projected
    <memory>/<pod uid>/<volume>/              emptyDir with `medium: Memory`; with a size limit a tmpfs of that size
    <root>/<pod uid>/containers/<container>/  termination messages

`check` computes without writing, for pods of stand-ins that have nobody to read the files; `write` brings the disk up
to date and is called again after every change of what the files come from.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from wherry.kernel import netns
from wherry.kube import quantity
from wherry.kube.client import Client
from wherry.kube.objects import EmptyDirVolume, Pod, Volume
from wherry.pods.fields import NodeFacts
from wherry.pods.images import ImageEntry, decide
from wherry.pods.sources import Sources, claim_name
from wherry.pods.volumes import atomic, claims, hostpath, nested, ownership
from wherry.pods.volumes.payload import MountError, Payload, has_payload, payload, token_projections
from wherry.pods.volumes.tokens import Tokens

_LONGEST_ENV_FILE = 64 * 1024


class PodVolumes:
    """The volumes of one pod. `paths` is complete once `write` has returned."""

    def __init__(
        self, client: Client, pod_uid: str, *, root: Path, memory: Path, images: tuple[ImageEntry, ...] = ()
    ) -> None:
        self._root = root / pod_uid
        self._images = images
        self._elsewhere: dict[str, Path] = {}
        self._memory = memory / pod_uid
        self._tokens = Tokens(client)
        self.written = False

    @property
    def renew_at(self) -> float | None:
        """When a token has to be renewed, in seconds since the epoch."""
        return self._tokens.renew_at if self.written else None

    def path(self, volume: Volume) -> Path:
        """Return where a volume is found on the node; that of a claim or an image is known after `check` or `write`."""
        if volume.host_path is not None:
            return Path(volume.host_path.path)
        if volume.name in self._elsewhere:
            return self._elsewhere[volume.name]
        if volume.empty_dir is not None and volume.empty_dir.medium == "Memory":
            return self._memory / volume.name
        return self._root / "volumes" / volume.name

    def read(self, volume: str, path: str) -> str | None:
        """Return the text of a file in an emptyDir, None where there is none. Raises `MountError`.

        A link is not followed: it may lead anywhere on the node.
        """
        for root in (self._root / "volumes" / volume, self._memory / volume):
            try:
                with open_beneath(root, path) as file:
                    return file.read(_LONGEST_ENV_FILE).decode()
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise MountError(f'file "{path}" of volume "{volume}": {error}') from error
        return None

    def termination_file(self, container: str, attempt: int) -> Path:
        """Return the file that holds what a container says before it ends."""
        return self._root / "containers" / container / str(attempt)

    def check(self, pod: Pod, *, sources: Sources, facts: NodeFacts) -> None:
        """Find out whether every volume could be set up, tokens aside. Raises `MountError`."""
        for volume in pod.spec.volumes:
            try:
                if has_payload(volume):
                    tokens = dict.fromkeys(token_projections(volume), "")
                    payload(volume, pod=pod, sources=sources, facts=facts, tokens=tokens)
                elif claim_name(pod, volume) is not None:
                    source = claims.node_path(claims.persistent_volume(pod, volume, sources))
                    self._elsewhere[volume.name] = Path(source.path)
                elif volume.image is not None:
                    self._elsewhere[volume.name] = self._image(volume.image.reference)
                elif volume.host_path is not None and hostpath.only_checks(volume.host_path):
                    hostpath.prepare(volume.host_path)
                else:
                    _refuse_unsupported(volume)
            except MountError as error:
                raise _named(volume, error) from error

    async def write(self, pod: Pod, *, sources: Sources, facts: NodeFacts) -> None:
        """Set up or update every volume. Raises `MountError` naming the first that cannot be."""
        for volume in pod.spec.volumes:
            try:
                await self._write_one(volume, pod, sources, facts)
            except MountError as error:
                raise _named(volume, error) from error
            except OSError as error:
                raise _named(volume, MountError(f"{error.filename}: {error.strerror}")) from error
        self.written = True

    async def _write_one(self, volume: Volume, pod: Pod, sources: Sources, facts: NodeFacts) -> None:
        if has_payload(volume):
            tokens = {wanted: await self._tokens.get(pod, wanted) for wanted in token_projections(volume)}
            files: Payload = payload(volume, pod=pod, sources=sources, facts=facts, tokens=tokens)
            atomic.write(self.path(volume), files, group=ownership.group_of(pod))
            nested.make(self.path(volume), pod, volume.name)
        elif volume.host_path is not None:
            hostpath.prepare(volume.host_path)
        elif claim_name(pod, volume) is not None:
            self._prepare_claimed(volume, pod, sources)
        elif volume.empty_dir is not None:
            make_empty(self.path(volume), volume.empty_dir, ownership.group_of(pod))
        elif volume.image is not None:
            self._elsewhere[volume.name] = self._image(volume.image.reference)
        else:
            _refuse_unsupported(volume)

    def _prepare_claimed(self, volume: Volume, pod: Pod, sources: Sources) -> None:
        found = claims.persistent_volume(pod, volume, sources)
        source = claims.node_path(found)
        path = self._elsewhere[volume.name] = Path(source.path)
        existed = path.exists()
        if found.spec.local is not None:
            if not existed:
                raise MountError(f'path "{path}" does not exist')
            group, context = ownership.group_of(pod), pod.spec.security_context
            if group is not None and context is not None:
                ownership.give(path, group, always=context.fs_group_change_policy != "OnRootMismatch")
            return
        hostpath.prepare(source)
        if not existed and source.type == "DirectoryOrCreate":
            # New storage is for whatever user its first pod runs as.
            path.chmod(0o777)

    def _image(self, reference: str) -> Path:
        """The tree that the image table has for an image."""
        root = decide(reference, command=(), args=(), table=self._images).rootfs
        if root is None:
            raise MountError(
                f'image "{reference}" has no files here, as nothing is pulled: give it a rootfs in the image table'
            )
        return Path(root)

    def remove(self) -> None:
        """Remove every file of the pod; may take long for large emptyDirs, so call it in a thread."""
        for path in (self._root, self._memory):
            remove_tree(path)


def open_beneath(root: Path, path: str) -> BinaryIO:
    """Open a file for reading by its relative path, following no link on the way. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(root, flags | os.O_DIRECTORY)
    *directories, name = (part for part in path.split("/") if part not in ("", "."))
    try:
        for part in directories:
            if part == "..":
                raise FileNotFoundError(errno.ENOENT, "leads out of the volume", path)
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        # A pipe without a writer must not hold the agent.
        return os.fdopen(os.open(name, flags | os.O_NONBLOCK, dir_fd=at), "rb")
    finally:
        os.close(at)


def remove_tree(path: Path) -> None:
    """Remove the folder of a pod, after unmounting what is mounted in it; a missing one is no error. Raises OSError."""
    if not path.exists():
        return
    for entry in path.iterdir():
        if entry.is_mount():
            netns.umount(entry, netns.MNT_DETACH)
    shutil.rmtree(path)


def make_empty(path: Path, source: EmptyDirVolume, group: int | None) -> None:
    """Make an empty directory that every container may write to, unless it is there already. Raises OSError."""
    if path.exists():
        return
    path.mkdir(parents=True)
    if source.medium == "Memory" and source.size_limit is not None:
        size = quantity.whole(source.size_limit)
        netns.mount("tmpfs", path, fstype="tmpfs", data=f"size={size},mode=0777")
    # Any user a container runs as may write here; set apart from creation because of the umask.
    path.chmod(0o777)
    if group is not None:
        ownership.give(path, group, always=True)


def _named(volume: Volume, error: MountError) -> MountError:
    if isinstance(error, claims.ClaimError):
        return error
    return MountError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}')


def _refuse_unsupported(volume: Volume) -> None:
    if volume.csi is not None:
        raise MountError(
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: "
            f"driver name {volume.csi.driver} not found in the list of registered CSI drivers"
        )
    if volume.empty_dir is None and volume.host_path is None:
        kind = "nfs" if volume.nfs is not None else "iscsi" if volume.iscsi is not None else "this kind"
        raise MountError(
            f"volumes of {kind} are not supported here: use emptyDir, configMap, secret, downwardAPI, projected, "
            "hostPath, image, or a claim for a hostPath or local volume"
        )
