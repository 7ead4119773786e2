"""From a volume that names a claim, or has one of its own, to a path of the node. Pure.

A claim leads to the volume it is bound to; hostPath and local volumes are paths of the node. Messages as the kubelet
has them (kubelet: desired state of world populator; plugins host-path and local-volume).
"""

from __future__ import annotations

from wherry.kube.objects import HostPathVolume, Pod, Volume
from wherry.kube.objects.storage import PersistentVolume, PersistentVolumeClaim
from wherry.pods.sources import Sources, claim_name
from wherry.pods.volumes.payload import MountError


class ClaimError(MountError):
    """The claim leads nowhere yet."""

    def __init__(self, pod: Pod, volume: Volume, claim: str, why: str) -> None:
        name = volume.name
        super().__init__(
            f"Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], "
            f"failed to process volumes=[{name}]: error processing PVC {pod.namespace}/{claim}: {why}"
        )


def persistent_volume(pod: Pod, volume: Volume, sources: Sources) -> PersistentVolume:
    """Return the volume behind the pod's claim. Raises `ClaimError`."""
    name = claim_name(pod, volume)
    if name is None:
        raise MountError(f"volume {volume.name} names no claim")
    claim = sources.claims.get(name)
    if claim is None:
        missing = f'failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found'
        raise ClaimError(pod, volume, name, missing)
    if claim.deleting:
        raise ClaimError(pod, volume, name, "PVC is being deleted")
    if volume.ephemeral is not None and not _owned(claim, pod):
        why = f"PVC {pod.namespace}/{name} was not created for pod {pod.namespace}/{pod.name} (pod is not owner)"
        raise ClaimError(pod, volume, name, why)
    if claim.status.phase != "Bound" or not claim.spec.volume_name:
        raise ClaimError(pod, volume, name, "PVC is not bound")
    found = sources.volumes.get(claim.spec.volume_name)
    if found is None:
        missing = f'failed to fetch PV {claim.spec.volume_name} from API server: persistentvolumes "'
        raise ClaimError(pod, volume, name, f'{missing}{claim.spec.volume_name}" not found')
    holder = found.spec.claim_ref
    if holder is None or holder.uid != claim.uid:
        why = f"PVC {pod.namespace}/{name} is bound to PV {found.name}, but PV doesn't refer to it"
        raise ClaimError(pod, volume, name, why)
    return found


def node_path(found: PersistentVolume) -> HostPathVolume:
    """Return where the volume lies on the node. Raises `MountError` for one that lies elsewhere."""
    if found.spec.volume_mode == "Block":
        raise MountError(f'volume "{found.name}" is a block device, which containers cannot be given here')
    if found.spec.host_path is not None:
        return found.spec.host_path
    if found.spec.local is not None:
        return HostPathVolume(path=found.spec.local.path)
    raise MountError(f'volume "{found.name}" is none of this node: only hostPath and local volumes are supported here')


def _owned(claim: PersistentVolumeClaim, pod: Pod) -> bool:
    owner = claim.metadata.controller
    return owner is not None and owner.uid == pod.uid
