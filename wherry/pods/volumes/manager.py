"""The volumes of one pod on this node's disk.

    <root>/<pod uid>/volumes/<volume>/        emptyDir; configMap, secret, downwardAPI and projected
    <memory>/<pod uid>/<volume>/              emptyDir with `medium: Memory`
    <root>/<pod uid>/containers/<container>/  termination messages

`check` computes without writing, for pods of stand-ins that have nobody to read the files; `write` brings the disk up
to date and is called again after every change of what the files come from.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from wherry.kube.client import Client
from wherry.kube.objects import Pod, Volume
from wherry.pods.fields import NodeFacts
from wherry.pods.sources import Sources
from wherry.pods.volumes import atomic, hostpath
from wherry.pods.volumes.payload import MountError, Payload, has_payload, payload, token_projections
from wherry.pods.volumes.tokens import Tokens


class PodVolumes:
    """The volumes of one pod. `paths` is complete once `write` has returned."""

    def __init__(self, client: Client, pod_uid: str, *, root: Path, memory: Path) -> None:
        self._root = root / pod_uid
        self._memory = memory / pod_uid
        self._tokens = Tokens(client)
        self.written = False

    @property
    def renew_at(self) -> float | None:
        """When a token has to be renewed, in seconds since the epoch."""
        return self._tokens.renew_at if self.written else None

    def path(self, volume: Volume) -> Path:
        """Return where a volume is found on the node."""
        if volume.host_path is not None:
            return Path(volume.host_path.path)
        if volume.empty_dir is not None and volume.empty_dir.medium == "Memory":
            return self._memory / volume.name
        return self._root / "volumes" / volume.name

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
            atomic.write(self.path(volume), files)
        elif volume.host_path is not None:
            hostpath.prepare(volume.host_path)
        elif volume.empty_dir is not None:
            path = self.path(volume)
            if not path.exists():
                path.mkdir(parents=True)
                # Any user a container runs as may write here; set apart from creation because of the umask.
                path.chmod(0o777)
        else:
            _refuse_unsupported(volume)

    def remove(self) -> None:
        """Remove every file of the pod; may take long for large emptyDirs, so call it in a thread."""
        for path in (self._root, self._memory):
            if path.exists():
                shutil.rmtree(path)


def _named(volume: Volume, error: MountError) -> MountError:
    return MountError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}')


def _refuse_unsupported(volume: Volume) -> None:
    if volume.persistent_volume_claim is not None:
        claim = volume.persistent_volume_claim.claim_name
        raise MountError(f'persistentvolumeclaim "{claim}": persistent volumes are not supported here')
    if volume.empty_dir is None and volume.host_path is None:
        raise MountError(
            "this kind of volume is not supported (only emptyDir, configMap, secret, downwardAPI, projected, hostPath)"
        )
