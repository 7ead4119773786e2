"""Which objects a pod refers to, and the ones found: what env and volumes are computed from. Pure.

Config maps, secrets and claims are named by the pod itself; a claim names the volume it is bound to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from wherry.kube.objects import ConfigMap, Container, Pod, Secret, Volume
from wherry.kube.objects.storage import PersistentVolume, PersistentVolumeClaim


class Reference(NamedTuple):
    """One object of the pod's namespace; a PersistentVolume is in none."""

    kind: Literal["ConfigMap", "Secret", "PersistentVolumeClaim", "PersistentVolume"]
    name: str


class Sources(msgspec.Struct, frozen=True):
    """The objects found, by name; one that does not exist is not in here."""

    config_maps: dict[str, ConfigMap] = {}
    secrets: dict[str, Secret] = {}
    claims: dict[str, PersistentVolumeClaim] = {}
    volumes: dict[str, PersistentVolume] = {}


def claim_name(pod: Pod, volume: Volume) -> str | None:
    """Return the claim a volume stands for, None for a volume of another kind."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return f"{pod.name}-{volume.name}" if volume.ephemeral is not None else None


_NOTHING = Sources()


def pod_references(pod: Pod, known: Sources = _NOTHING) -> frozenset[Reference]:
    """Return every object that a container's environment or a volume of the pod names.

    What a claim refers to is known once the claim is among the `known` objects.
    """
    found: set[Reference] = set()
    for container in pod.spec.every_container:
        found.update(_container_references(container))
    for volume in pod.spec.volumes:
        found.update(_volume_references(volume))
        name = claim_name(pod, volume)
        if name is not None:
            found.add(Reference("PersistentVolumeClaim", name))
            claim = known.claims.get(name)
            if claim is not None and claim.spec.volume_name:
                found.add(Reference("PersistentVolume", claim.spec.volume_name))
    return frozenset(found)


def _container_references(container: Container) -> Iterator[Reference]:
    for source in container.env_from:
        if source.config_map_ref is not None:
            yield Reference("ConfigMap", source.config_map_ref.name)
        if source.secret_ref is not None:
            yield Reference("Secret", source.secret_ref.name)
    for variable in container.env:
        if variable.value_from is None:
            continue
        if variable.value_from.config_map_key_ref is not None:
            yield Reference("ConfigMap", variable.value_from.config_map_key_ref.name)
        if variable.value_from.secret_key_ref is not None:
            yield Reference("Secret", variable.value_from.secret_key_ref.name)


def _volume_references(volume: Volume) -> Iterator[Reference]:
    if volume.config_map is not None:
        yield Reference("ConfigMap", volume.config_map.name)
    if volume.secret is not None:
        yield Reference("Secret", volume.secret.secret_name)
    if volume.projected is not None:
        for source in volume.projected.sources or ():
            if source.config_map is not None:
                yield Reference("ConfigMap", source.config_map.name)
            if source.secret is not None:
                yield Reference("Secret", source.secret.name)
