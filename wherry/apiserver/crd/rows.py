"""From a CustomResourceDefinition to the rows it stands for, one per served version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds.common import check_scale, keep_status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    STATUS_VERBS,
    Column,
    Context,
    Object,
    Resource,
    Subresource,
)
from wherry.apiserver.kinds.printing import since
from wherry.apiserver.schema.custom import CustomSchema

_AUTOSCALING = "autoscaling"
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
# In the order in which discovery shows them.


def rows(definition: Object) -> list[tuple[Resource, CustomSchema]]:
    """The served versions of a definition whose names were accepted."""
    spec = definition["spec"]
    names = definition.get("status", {}).get("acceptedNames") or spec["names"]
    return [_row(spec, names, version) for version in spec["versions"] if version.get("served")]


def _row(spec: Object, names: Object, version: Object) -> tuple[Resource, CustomSchema]:
    parts = version.get("subresources") or {}
    has_status, scale = "status" in parts, parts.get("scale")
    schema = CustomSchema((version.get("schema") or {}).get("openAPIV3Schema"), scale=scale, has_status=has_status)
    columns = version.get("additionalPrinterColumns") or []
    fields = {one["jsonPath"].removeprefix("."): one["jsonPath"] for one in version.get("selectableFields") or ()}
    subresources: list[Subresource] = []
    if has_status:
        subresources.append(_status(names["kind"], schema))
    if scale is not None:
        subresources.append(_scale(scale))
    row = Resource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
        list_kind=names.get("listKind") or f"{names['kind']}List",
        verbs=_VERBS,
        free_finalizers=True,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(subresources),
        default=schema.default,
        prepare_create=_drop_status if has_status else _nothing,
        prepare_update=keep_status if has_status else _nothing_changes,
        validate=schema.validate,
        validate_update=schema.validate,
        generation=lambda new, old: _content(new, has_status) != _content(old, has_status),
        selectable_fields=lambda obj: _fields(obj, fields),
        field_labels=("metadata.name", "metadata.namespace", *fields),
        field_label_error="field label not supported: {label}",
        columns=(NAME_COLUMN, *(_column(one) for one in columns)) if columns else (NAME_COLUMN, AGE_COLUMN),
        cells=(lambda obj, now: _cells(obj, columns, now)) if columns else None,
        deprecation=_deprecation(spec["group"], names["kind"], version),
    )
    return row, schema


def _deprecation(group: str, kind: str, version: Object) -> str:
    if not version.get("deprecated"):
        return ""
    return version.get("deprecationWarning") or f"{group}/{version['name']} {kind} is deprecated"


def _nothing(obj: Object, ctx: Context) -> None:
    return None


def _nothing_changes(new: Object, old: Object, ctx: Context) -> None:
    return None


def _drop_status(obj: Object, ctx: Context) -> None:
    obj.pop("status", None)


def _status_only(new: Object, old: Object, ctx: Context) -> None:
    """A write of the status takes all but the status from what is there."""
    status = new.get("status")
    metadata = new["metadata"]
    new.clear()
    new.update(old)
    # managedFields apart, no metadata can be changed through the status of a custom resource.
    new["metadata"] = {**old["metadata"], "resourceVersion": metadata["resourceVersion"]}
    if status is None:
        new.pop("status", None)
    else:
        new["status"] = status


def _status(kind: str, schema: CustomSchema) -> Subresource:
    return Subresource(
        name="status",
        verbs=STATUS_VERBS,
        kind=kind,
        style="object",
        prepare_update=_status_only,
        validate_update=schema.validate_status,
    )


def _scale(paths: Mapping[str, str]) -> Subresource:
    def read(obj: Object) -> Object:
        metadata = obj["metadata"]
        kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        status: Object = {"replicas": look_up(obj, paths["statusReplicasPath"]) or 0}
        selector = look_up(obj, paths["labelSelectorPath"]) if paths.get("labelSelectorPath") else None
        if selector:
            status["selector"] = selector
        replicas = look_up(obj, paths["specReplicasPath"])
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {key: metadata[key] for key in kept if key in metadata},
            "spec": {"replicas": replicas} if replicas else {},
            "status": status,
        }

    def write(obj: Object, scale: Object) -> None:
        *way, last = paths["specReplicasPath"].strip(".").split(".")
        place = obj
        for name in way:
            place = place.setdefault(name, {})
        place[last] = scale.get("spec", {}).get("replicas", 0)

    return Subresource(
        name="scale",
        verbs=STATUS_VERBS,
        kind="Scale",
        style="scale",
        group=_AUTOSCALING,
        version="v1",
        read=read,
        write=write,
        validate=check_scale,
    )


def _content(obj: Object, has_status: bool) -> Object:
    left_out = ("metadata", "status") if has_status else ("metadata",)
    return {key: value for key, value in obj.items() if key not in left_out}


def look_up(obj: Any, path: str) -> Any:
    """The value at a simple JSON path (`.spec.replicas`), None where there is nothing."""
    for name in path.strip(".").split("."):
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def _fields(obj: Object, fields: Mapping[str, str]) -> dict[str, str]:
    metadata = obj.get("metadata") or {}
    found = {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}
    for label, path in fields.items():
        value = look_up(obj, path)
        found[label] = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _column(one: Object) -> Column:
    description = one.get("description") or f"Custom resource definition column (in JSONPath format): {one['jsonPath']}"
    return Column(one["name"], one["type"], one.get("format", ""), description, one.get("priority", 0))


def _cells(obj: Object, columns: list[Object], now: datetime) -> list[Any]:
    name = obj.get("metadata", {}).get("name", "")
    return [name, *(_cell(_select(obj, one["jsonPath"]), one["type"], now) for one in columns)]


def _select(obj: Object, path: str) -> Any:
    """The value of a printer column; paths beyond plain names need the full language."""
    if "[" not in path:
        return look_up(obj, path.replace("\\.", "\0")) if "\\." not in path else _escaped(obj, path)
    from wherry.apiserver.crd.jsonpath import first

    return first(obj, path)


def _escaped(obj: Any, path: str) -> Any:
    for name in path.replace("\\.", "\0").strip(".").split("."):
        obj = obj.get(name.replace("\0", ".")) if isinstance(obj, dict) else None
    return obj


_CASTS: dict[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "boolean": (bool,)}


def _cell(value: Any, type_: str, now: datetime) -> Any:
    if value is None:
        return None
    if type_ == "date":
        return since(value, now) if isinstance(value, str) else "<invalid>"
    if type_ == "string":
        return value if isinstance(value, str) else str(value)
    wanted = _CASTS.get(type_)
    if wanted is not None and isinstance(value, wanted) and (type_ == "boolean" or not isinstance(value, bool)):
        return value
    return None
