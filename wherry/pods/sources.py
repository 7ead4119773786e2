"""Which config maps and secrets a pod refers to, and the ones found: what env and volumes are computed from. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from wherry.kube.objects import ConfigMap, Container, Pod, Secret, Volume


class Reference(NamedTuple):
    """One object of the pod's namespace."""

    kind: Literal["ConfigMap", "Secret"]
    name: str


class Sources(msgspec.Struct, frozen=True):
    """The objects found, by name; one that does not exist is not in here."""

    config_maps: dict[str, ConfigMap] = {}
    secrets: dict[str, Secret] = {}


def pod_references(pod: Pod) -> frozenset[Reference]:
    """Return every config map and secret that a container's environment or a volume of the pod names."""
    found: set[Reference] = set()
    for container in (*pod.spec.init_containers, *(pod.spec.containers or ())):
        found.update(_container_references(container))
    for volume in pod.spec.volumes:
        found.update(_volume_references(volume))
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
