"""The row of persistent volume claims."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.admission.limits import check_claim_limits
from wherry.apiserver.kinds.common import keep_spec, keep_status, status
from wherry.apiserver.kinds.golang import difference
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
)
from wherry.apiserver.kinds.podspec.containers import check_quantity
from wherry.apiserver.kinds.podspec.scheduling import check_label_selector
from wherry.apiserver.kinds.quantity import parse
from wherry.apiserver.kinds.storage import shared

PROTECTION = "kubernetes.io/pvc-protection"
_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_NO_RESIZE = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


def default_claim_spec(spec: Object) -> None:
    """Defaults of a claim's spec, also inside of templates."""
    spec.setdefault("volumeMode", "Filesystem")


def _default(obj: Object) -> None:
    default_claim_spec(obj.setdefault("spec", {}))
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _prepare_create(obj: Object, ctx: Context) -> None:
    obj["status"] = {"phase": "Pending"}


def _default_class(ctx: Context) -> str | None:
    """The default class; of several the youngest, as the admission plugin of that name takes it."""
    marked = [item["metadata"] for item in ctx.list("storage.k8s.io", "storageclasses", "") if shared.is_default(item)]  # type: ignore[arg-type]  # only read
    if not marked:
        return None
    youngest = max(metadata["creationTimestamp"] for metadata in marked)
    return min(str(metadata["name"]) for metadata in marked if metadata["creationTimestamp"] == youngest)


def _admit_create(obj: Object, ctx: Context) -> None:
    metadata, spec = obj["metadata"], obj["spec"]
    finalizers = metadata.get("finalizers") or []
    if PROTECTION not in finalizers:
        metadata["finalizers"] = [*finalizers, PROTECTION]
    if spec.get("storageClassName") is None and not shared.class_of(obj):
        name = _default_class(ctx)
        if name is not None:
            spec["storageClassName"] = name


def _size(obj: Object) -> Any:
    return ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage")


def _admit_update(new: Object, old: Object, ctx: Context) -> None:
    """Growth needs a class that allows it (PersistentVolumeClaimResize admission)."""
    wanted, given = _size(new), _size(old)
    if (old.get("status") or {}).get("phase") != "Bound" or wanted is None or given is None:
        return
    if parse(wanted) <= parse(given):
        return
    check_claim_limits(new, ctx)
    found = ctx.get("storage.k8s.io", "storageclasses", "", shared.class_of(new)) if shared.class_of(new) else None
    if found is None or not found.get("allowVolumeExpansion"):
        raise PERSISTENT_VOLUME_CLAIMS.refuse(new["metadata"].get("name", ""), _NO_RESIZE)


def _check_source(errors: list[FieldError], source: Object | None, path: str) -> None:
    if source is None:
        return
    for key in ("name", "kind"):
        if not source.get(key):
            errors.append(required(f"{path}.{key}"))
    if not source.get("apiGroup") and source.get("kind") not in ("", None, "PersistentVolumeClaim"):
        text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid(path, source["kind"], text))


def check_claim_spec(errors: list[FieldError], spec: Object, path: str) -> None:
    """Findings about a claim's spec, also inside of templates."""
    if not spec.get("accessModes"):
        shared.check_access_modes(errors, (), f"{path}.accessModes")
    check_label_selector(errors, spec.get("selector"), f"{path}.selector")
    if spec.get("accessModes"):
        shared.check_access_modes(errors, spec["accessModes"], f"{path}.accessModes")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        errors.append(required(f"{path}.resources[storage]"))
    else:
        shared.check_size(errors, size, f"{path}.resources[storage]")
    shared.check_class_name(errors, spec.get("storageClassName"), f"{path}.storageClassName")
    shared.check_volume_mode(errors, spec.get("volumeMode"), f"{path}.volumeMode")
    _check_source(errors, spec.get("dataSource"), f"{path}.dataSource")
    _check_source(errors, spec.get("dataSourceRef"), f"{path}.dataSourceRef")


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_claim_spec(errors, obj["spec"], "spec")
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors = _validate(new)
    before, after = deepcopy(old["spec"]), deepcopy(new["spec"])
    if not before.get("volumeName"):
        # The name of the volume may be given once.
        _copy(before, after, "volumeName")
        if before.get("storageClassName") is None and not shared.class_of(old):
            _copy(before, after, "storageClassName")
    if (new.get("status") or {}).get("phase") == "Bound":
        _copy(before, after, "volumeAttributesClassName")
        wanted, given = _size(new), _size(old)
        if wanted is not None and given is not None:
            after["resources"]["requests"]["storage"] = given
            current = ((old.get("status") or {}).get("capacity") or {}).get("storage")
            if current is not None and parse(wanted) < parse(given) and parse(wanted) <= parse(current):
                text = "field can not be less than status.capacity"
                errors.append(forbidden("spec.resources.requests.storage", text))
    if before != after:
        diff = difference("PersistentVolumeClaimSpec", before, after)
        errors.append(forbidden("spec", f"{_IMMUTABLE}\n{diff}"))
    if new["spec"].get("volumeMode") != old["spec"].get("volumeMode"):
        errors.append(invalid("spec.volumeMode", new["spec"].get("volumeMode"), "field is immutable"))
    return errors


def _copy(target: Object, source: Object, key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    capacity = (new.get("status") or {}).get("capacity") or {}
    for name in sorted(capacity):
        check_quantity(errors, capacity[name], f"status.capacity[{name}]")
    return errors


def _warnings(obj: Object) -> list[str]:
    requests = (obj["spec"].get("resources") or {}).get("requests")
    return shared.annotation_warnings(obj) + shared.size_warnings(requests, "spec.resources.requests")


def _update_warnings(new: Object, old: Object) -> list[str]:
    return _warnings(new)


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec, current = obj["spec"], obj.get("status") or {}
    bound = bool(spec.get("volumeName"))
    return [
        printing.name_of(obj),
        shared.shown_phase(obj),
        spec.get("volumeName", ""),
        (current.get("capacity") or {}).get("storage", "0") if bound else "",
        shared.short_modes(current.get("accessModes")) if bound else "",
        shared.class_of(obj),
        spec.get("volumeAttributesClassName") or printing.UNSET,
        printing.age(obj, now),
        spec.get("volumeMode") or printing.UNSET,
    ]


PERSISTENT_VOLUME_CLAIMS = Resource(
    group="",
    version="v1",
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    namespaced=True,
    short_names=("pvc",),
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    admit_create=_admit_create,
    check_create=check_claim_limits,
    admit_update=_admit_update,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("Status", description=".status.phase"),
        Column("Volume", description=".spec.volumeName"),
        Column("Capacity", description=".status.capacity"),
        Column("Access Modes", description=".status.accessModes"),
        Column("StorageClass", description="StorageClass of the pvc"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
        AGE_COLUMN,
        Column("VolumeMode", description=".spec.volumeMode", priority=1),
    ),
    cells=_cells,
    warnings=_warnings,
    update_warnings=_update_warnings,
    subresources=(status("PersistentVolumeClaim", prepare=keep_spec, validate=_validate_status),),
)
