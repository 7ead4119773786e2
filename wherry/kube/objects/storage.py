"""Persistent volumes and claims (v1), storage classes (storage.k8s.io/v1) and resource quotas (v1)."""

from __future__ import annotations

import msgspec

from wherry.kube.objects.base import Condition, KubeObject, LabelSelector, Model, ObjectReference, Quantity
from wherry.kube.objects.pods import HostPathVolume, NodeSelector


class VolumeResourceRequirements(Model):
    """How much storage is asked for (``requests["storage"]``)."""

    requests: dict[str, Quantity] = msgspec.field(default_factory=dict)


class TypedObjectReference(Model):
    """What a claim wants its volume to be filled from."""

    api_group: str = ""
    kind: str = ""
    name: str = ""


class PersistentVolumeClaimSpec(Model):
    """What is asked for, and the volume that was found for it."""

    access_modes: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    resources: VolumeResourceRequirements = VolumeResourceRequirements()
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str | None = None
    data_source: TypedObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None


class PersistentVolumeClaimStatus(Model):
    """``phase`` is Pending, Bound or Lost."""

    phase: str = ""
    access_modes: tuple[str, ...] = ()
    capacity: dict[str, Quantity] = msgspec.field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()


class PersistentVolumeClaim(KubeObject):
    """A request for storage."""

    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class LocalVolumeSource(Model):
    """A directory of one node; the volume's node affinity says which."""

    path: str = ""


class VolumeNodeAffinity(Model):
    """The nodes from which a volume can be reached."""

    required: NodeSelector | None = None


class PersistentVolumeSpec(Model):
    """What a volume offers, where it lies, and for which claim."""

    capacity: dict[str, Quantity] = msgspec.field(default_factory=dict)
    access_modes: tuple[str, ...] = ()
    claim_ref: ObjectReference | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    volume_mode: str | None = None
    mount_options: tuple[str, ...] = ()
    node_affinity: VolumeNodeAffinity | None = None
    host_path: HostPathVolume | None = None
    local: LocalVolumeSource | None = None


class PersistentVolumeStatus(Model):
    """``phase`` is Pending, Available, Bound, Released or Failed."""

    phase: str = ""
    message: str = ""
    reason: str = ""


class PersistentVolume(KubeObject):
    """A piece of storage."""

    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class TopologyLabelRequirement(Model):
    """A node label and the values it may have."""

    key: str = ""
    values: tuple[str, ...] = ()


class TopologySelectorTerm(Model):
    """Requirements that must hold together."""

    match_label_expressions: tuple[TopologyLabelRequirement, ...] = ()


class StorageClass(KubeObject):
    """How volumes of a class are made."""

    provisioner: str = ""
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    reclaim_policy: str | None = None
    mount_options: tuple[str, ...] = ()
    volume_binding_mode: str | None = None
    allow_volume_expansion: bool | None = None
    allowed_topologies: tuple[TopologySelectorTerm, ...] = ()


class ScopedResourceRequirement(Model):
    """One scope of a quota with an operator and values."""

    scope_name: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class ScopeSelector(Model):
    """Scopes of which an object must match every one."""

    match_expressions: tuple[ScopedResourceRequirement, ...] = ()


class ResourceQuotaSpec(Model):
    """What a namespace may use."""

    hard: dict[str, Quantity] = msgspec.field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    scope_selector: ScopeSelector | None = None


class ResourceQuotaStatus(Model):
    """The limits in force and what is used of them."""

    hard: dict[str, Quantity] = msgspec.field(default_factory=dict)
    used: dict[str, Quantity] = msgspec.field(default_factory=dict)


class ResourceQuota(KubeObject):
    """Limits of a namespace."""

    spec: ResourceQuotaSpec = ResourceQuotaSpec()
    status: ResourceQuotaStatus = ResourceQuotaStatus()
