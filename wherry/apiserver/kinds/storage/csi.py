"""The rows of storage drivers: charts create them; nothing here acts on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import keep_spec, keep_status, status
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

_GROUP = "storage.k8s.io"
_IMMUTABLE = "field is immutable"
_MODES = ("Ephemeral", "Persistent")
_FS_GROUP = ("File", "None", "ReadWriteOnceWithFSType")


# --- drivers ----------------------------------------------------------------------------------------------------------


def _default_driver(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for key, value in (
        ("attachRequired", True),
        ("podInfoOnMount", False),
        ("storageCapacity", False),
        ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ("requiresRepublish", False),
        ("seLinuxMount", False),
    ):
        spec.setdefault(key, value)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _validate_driver(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    name, spec = obj["metadata"].get("name", ""), obj["spec"]
    if len(name) > 63:
        errors.append(invalid("metadata.name", name, "must be no more than 63 characters"))
    for index, mode in enumerate(spec.get("volumeLifecycleModes") or ()):
        if mode not in _MODES:
            errors.append(unsupported(f"spec.volumeLifecycleModes[{index}]", mode, _MODES))
    if spec.get("fsGroupPolicy") not in _FS_GROUP:
        errors.append(unsupported("spec.fsGroupPolicy", spec.get("fsGroupPolicy"), _FS_GROUP))
    return errors


def _update_driver(new: Object, old: Object) -> list[FieldError]:
    errors = _validate_driver(new)
    for key in ("attachRequired", "volumeLifecycleModes"):
        if new["spec"].get(key) != old["spec"].get(key):
            errors.append(invalid(f"spec.{key}", new["spec"].get(key), _IMMUTABLE))
    return errors


def _driver_cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj["spec"]
    requests = ",".join(one.get("audience", "") for one in spec.get("tokenRequests") or ())
    return [
        printing.name_of(obj),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        requests or printing.UNSET,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ("Persistent",)),
        printing.age(obj, now),
    ]


CSI_DRIVERS = Resource(
    group=_GROUP,
    version="v1",
    kind="CSIDriver",
    plural="csidrivers",
    singular="csidriver",
    namespaced=False,
    default=_default_driver,
    validate=_validate_driver,
    validate_update=_update_driver,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("AttachRequired", "boolean", description=".spec.attachRequired"),
        Column("PodInfoOnMount", "boolean", description=".spec.podInfoOnMount"),
        Column("StorageCapacity", "boolean", description=".spec.storageCapacity"),
        Column("TokenRequests", description=".spec.tokenRequests"),
        Column("RequiresRepublish", "boolean", description=".spec.requiresRepublish"),
        Column("Modes", description=".spec.volumeLifecycleModes"),
        AGE_COLUMN,
    ),
    cells=_driver_cells,
)


# --- drivers of a node ------------------------------------------------------------------------------------------------


def _default_node(obj: Object) -> None:
    obj.setdefault("spec", {})


def _validate_node(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, driver in enumerate(obj["spec"].get("drivers") or ()):
        for key in ("name", "nodeID"):
            if not driver.get(key):
                errors.append(required(f"spec.drivers[{index}].{key}"))
    return errors


def _update_node(new: Object, old: Object) -> list[FieldError]:
    return _validate_node(new)


def _node_cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), len(obj["spec"].get("drivers") or ()), printing.age(obj, now)]


CSI_NODES = Resource(
    group=_GROUP,
    version="v1",
    kind="CSINode",
    plural="csinodes",
    singular="csinode",
    namespaced=False,
    default=_default_node,
    validate=_validate_node,
    validate_update=_update_node,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("Drivers", "integer", description=".spec.drivers"),
        AGE_COLUMN,
    ),
    cells=_node_cells,
)


# --- capacities -------------------------------------------------------------------------------------------------------


def _validate_capacity(obj: Object) -> list[FieldError]:
    name = obj.get("storageClassName", "")
    return [invalid("storageClassName", name, text) for text in names.dns_subdomain(name)]


def _update_capacity(new: Object, old: Object) -> list[FieldError]:
    errors = _validate_capacity(new)
    for key in ("nodeTopology", "storageClassName"):
        if new.get(key) != old.get(key):
            errors.append(invalid(key, new.get(key), _IMMUTABLE))
    return errors


def _capacity_cells(obj: Object, now: datetime) -> list[Any]:
    amount = obj.get("capacity") or printing.UNSET
    return [printing.name_of(obj), obj.get("storageClassName", ""), amount, printing.age(obj, now)]


CSI_STORAGE_CAPACITIES = Resource(
    group=_GROUP,
    version="v1",
    kind="CSIStorageCapacity",
    plural="csistoragecapacities",
    singular="csistoragecapacity",
    namespaced=True,
    validate=_validate_capacity,
    validate_update=_update_capacity,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("StorageClassName", description=".storageClassName"),
        Column("Capacity", description=".capacity"),
        AGE_COLUMN,
    ),
    cells=_capacity_cells,
)


# --- attachments ------------------------------------------------------------------------------------------------------


def _default_attachment(obj: Object) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {}).setdefault("attached", False)


def _new_attachment(obj: Object, ctx: Context) -> None:
    obj["status"] = {"attached": False}


def _validate_attachment(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    for key in ("attacher", "nodeName"):
        if not spec.get(key):
            errors.append(required(f"spec.{key}"))
    source = spec.get("source") or {}
    if not source.get("persistentVolumeName") and source.get("inlineVolumeSpec") is None:
        text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        errors.append(required("spec.source", text))
    elif source.get("persistentVolumeName") and source.get("inlineVolumeSpec") is not None:
        text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        errors.append(forbidden("spec.source", text))
    return errors


def _update_attachment(new: Object, old: Object) -> list[FieldError]:
    errors = _validate_attachment(new)
    if new["spec"] != old["spec"]:
        errors.append(invalid("spec", new["spec"], _IMMUTABLE))
    return errors


def _attachment_cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj["spec"]
    return [
        printing.name_of(obj),
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        bool((obj.get("status") or {}).get("attached")),
        printing.age(obj, now),
    ]


VOLUME_ATTACHMENTS = Resource(
    group=_GROUP,
    version="v1",
    kind="VolumeAttachment",
    plural="volumeattachments",
    singular="volumeattachment",
    namespaced=False,
    default=_default_attachment,
    prepare_create=_new_attachment,
    prepare_update=keep_status,
    validate=_validate_attachment,
    validate_update=_update_attachment,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("Attacher", "string", "name", ".spec.attacher"),
        Column("PV", description=".spec.source"),
        Column("Node", description=".spec.nodeName"),
        Column("Attached", "boolean", description=".status.attached"),
        AGE_COLUMN,
    ),
    cells=_attachment_cells,
    subresources=(status("VolumeAttachment", prepare=keep_spec),),
)
