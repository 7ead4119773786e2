"""The row of persistent volumes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import IMMUTABLE, keep_spec, keep_status, status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    forbidden,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.scheduling import check_affinity
from wherry.apiserver.kinds.storage import shared

PROTECTION = "kubernetes.io/pv-protection"

# In the order in which they are looked at: the second one that is given is refused.
_SOURCE_WORDS = (
    "hostPath gcePersistentDisk awsElasticBlockStore glusterfs flocker nfs rbd quobyte cephfs iscsi cinder fc "
    "flexVolume azureFile vsphereVolume photonPersistentDisk portworxVolume azureDisk scaleIO local storageos csi"
)
_SOURCES = _SOURCE_WORDS.split()
_POLICIES = ("Delete", "Recycle", "Retain")
_HOST_PATH_TYPES = ("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")
_AFFINITY = "requiredDuringSchedulingIgnoredDuringExecution"
_RECYCLE = (
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
    "Instead, the recommended approach is to use dynamic provisioning."
)


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if (path := spec.get("hostPath")) is not None:
        path.setdefault("type", "")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _prepare_create(obj: Object, ctx: Context) -> None:
    obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": printing.format_time(ctx.now())}


def _prepare_status(new: Object, old: Object, ctx: Context) -> None:
    """Keep the spec, and note when the phase changed unless the writer says so itself (KEP-3762)."""
    keep_spec(new, old, ctx)
    current, before = new.setdefault("status", {}), old.get("status") or {}
    said = current.get("lastPhaseTransitionTime")
    if current.get("phase") != before.get("phase") and said in (None, before.get("lastPhaseTransitionTime")):
        current["lastPhaseTransitionTime"] = printing.format_time(ctx.now())


def _admit_create(obj: Object, ctx: Context) -> None:
    metadata = obj["metadata"]
    finalizers = metadata.get("finalizers") or []
    if PROTECTION not in finalizers:
        metadata["finalizers"] = [*finalizers, PROTECTION]


def _check_path(errors: list[FieldError], path: str, where: str) -> None:
    if not path:
        errors.append(required(where))
    elif ".." in path.split("/"):
        errors.append(invalid(where, path, "must not contain '..'"))


def _check_source(errors: list[FieldError], spec: Object) -> None:
    given = [name for name in _SOURCES if spec.get(name) is not None]
    if not given:
        errors.append(required("spec", "must specify a volume type"))
    for name in given[1:]:
        errors.append(forbidden(f"spec.{name}", "may not specify more than 1 volume type"))
    if (host := spec.get("hostPath")) is not None:
        _check_path(errors, host.get("path", ""), "spec.hostPath.path")
        if host.get("type", "") not in _HOST_PATH_TYPES:
            errors.append(unsupported("spec.hostPath.type", host["type"], _HOST_PATH_TYPES))
    if given[:1] == ["local"]:
        _check_path(errors, spec["local"].get("path", ""), "spec.local.path")
        if not (spec.get("nodeAffinity") or {}).get("required"):
            errors.append(required("metadata.annotations", "Local volume requires node affinity"))
    if (spec.get("hostPath") or {}).get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden("spec.persistentVolumeReclaimPolicy", text))


def _check_affinity(errors: list[FieldError], affinity: Object | None) -> None:
    if affinity is None:
        return
    if affinity.get("required") is None:
        errors.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        return
    found: list[FieldError] = []
    check_affinity(found, {"nodeAffinity": {_AFFINITY: affinity["required"]}}, "spec")
    for error in found:
        field = error.field.replace(_AFFINITY, "required")
        errors.append(FieldError(error.type, field, error.value, error.detail))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    shared.check_access_modes(errors, spec.get("accessModes") or (), "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        errors.append(required("spec.capacity"))
    elif set(capacity) != {"storage"}:
        errors.append(unsupported("spec.capacity", capacity, ("storage",)))
    for name in sorted(capacity):
        shared.check_size(errors, capacity[name], f"spec.capacity[{name}]")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _POLICIES:
        errors.append(unsupported("spec.persistentVolumeReclaimPolicy", policy, _POLICIES))
    _check_affinity(errors, spec.get("nodeAffinity"))
    _check_source(errors, spec)
    shared.check_class_name(errors, spec.get("storageClassName"), "spec.storageClassName")
    shared.check_volume_mode(errors, spec.get("volumeMode"), "spec.volumeMode")
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors = _validate(new)
    after, before = new["spec"], old["spec"]
    if any(after.get(name) != before.get(name) for name in _SOURCES):
        errors.append(
            forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    if after.get("volumeMode") != before.get("volumeMode"):
        errors.append(invalid("spec.volumeMode", after.get("volumeMode"), IMMUTABLE))
    if before.get("nodeAffinity") is not None and after.get("nodeAffinity") != before["nodeAffinity"]:
        errors.append(invalid("spec.nodeAffinity", after.get("nodeAffinity"), IMMUTABLE))
    return errors


def _warnings(obj: Object) -> list[str]:
    spec = obj["spec"]
    found = shared.annotation_warnings(obj)
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        found.append(_RECYCLE)
    return found + shared.size_warnings(spec.get("capacity"), "spec.capacity")


def _update_warnings(new: Object, old: Object) -> list[str]:
    return _warnings(new)


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec, current = obj["spec"], obj.get("status") or {}
    claim = spec.get("claimRef")
    return [
        printing.name_of(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        shared.short_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        shared.shown_phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        shared.class_of(obj),
        spec.get("volumeAttributesClassName") or printing.UNSET,
        current.get("reason", ""),
        printing.age(obj, now),
        spec.get("volumeMode") or printing.UNSET,
    ]


PERSISTENT_VOLUMES = Resource(
    group="",
    version="v1",
    kind="PersistentVolume",
    plural="persistentvolumes",
    singular="persistentvolume",
    namespaced=False,
    short_names=("pv",),
    name_errors=names.name_is_subdomain,
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    admit_create=_admit_create,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("Capacity", description=".spec.capacity"),
        Column("Access Modes", description=".spec.accessModes"),
        Column("Reclaim Policy", description=".spec.persistentVolumeReclaimPolicy"),
        Column("Status", description=".status.phase"),
        Column("Claim", description=".spec.claimRef"),
        Column("StorageClass", description="StorageClass of the pv"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
        Column("Reason", description=".status.reason"),
        AGE_COLUMN,
        Column("VolumeMode", description=".spec.volumeMode", priority=1),
    ),
    cells=_cells,
    warnings=_warnings,
    update_warnings=_update_warnings,
    subresources=(status("PersistentVolume", prepare=_prepare_status),),
)
