"""The rows of config maps and secrets."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    forbidden,
    invalid,
    required,
    too_long,
)
from wherry.apiserver.schema.gojson import JsonError, loads

_MAX_BYTES = 1024 * 1024
_ONCE = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"
_ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"


def _decoded_size(value: str) -> int:
    """Bytes that a base64 text stands for."""
    return len(value) // 4 * 3 - value.count("=", -2)


def _check_immutable(new: Object, old: Object, keys: tuple[str, ...]) -> list[FieldError]:
    """Findings about changes of an object that was declared immutable."""
    errors: list[FieldError] = []
    if not old.get("immutable"):
        return errors
    if not new.get("immutable"):
        errors.append(forbidden("immutable", _ONCE))
    for key in keys:
        if (new.get(key) or {}) != (old.get(key) or {}):
            errors.append(forbidden(key, _ONCE))
    return errors


# --- config maps ------------------------------------------------------------------------------------------------------


def _validate_config_map(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    data: Mapping[str, str] = obj.get("data") or {}
    binary: Mapping[str, str] = obj.get("binaryData") or {}
    for key in sorted(data):
        errors.extend(invalid(f"data[{key}]", key, text) for text in names.config_key(key))
        if key in binary:
            errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in sorted(binary):
        errors.extend(invalid(f"binaryData[{key}]", key, text) for text in names.config_key(key))
    size = sum(len(value.encode()) for value in data.values()) + sum(map(_decoded_size, binary.values()))
    if size > _MAX_BYTES:
        errors.append(too_long("[]", _MAX_BYTES))
    return errors


def _update_config_map(new: Object, old: Object) -> list[FieldError]:
    return _check_immutable(new, old, ("data", "binaryData")) + _validate_config_map(new)


def _config_map_cells(obj: Object, now: datetime) -> list[Any]:
    count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return [printing.name_of(obj), count, printing.age(obj, now)]


CONFIG_MAPS = Resource(
    group="",
    version="v1",
    kind="ConfigMap",
    plural="configmaps",
    singular="configmap",
    namespaced=True,
    short_names=("cm",),
    validate=_validate_config_map,
    validate_update=_update_config_map,
    revalidates_metadata=True,
    columns=(NAME_COLUMN, Column("Data", description=".data"), AGE_COLUMN),
    cells=_config_map_cells,
)


# --- secrets ----------------------------------------------------------------------------------------------------------

# Keys that the data of a type must hold.
_TYPE_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON_TYPES = ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson")


def _default_secret(obj: Object) -> None:
    """The type, and stringData folded into data."""
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _check_type(errors: list[FieldError], obj: Object, data: Mapping[str, str]) -> None:
    kind = obj.get("type", "")
    if kind == "kubernetes.io/service-account-token":
        annotations = obj["metadata"].get("annotations") or {}
        if not annotations.get(_ACCOUNT_ANNOTATION):
            errors.append(required(f"metadata.annotations[{_ACCOUNT_ANNOTATION}]"))
    elif kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        errors.append(required("data[username]"))
        errors.append(required("data[password]"))
    for key in _TYPE_KEYS.get(kind, ()):
        path = f"data[{key}]"
        if key not in data:
            errors.append(required(path))
        elif kind in _JSON_TYPES:
            try:
                loads(base64.b64decode(data[key]))
            except JsonError as error:
                errors.append(invalid(path, _REDACTED, str(error)))


def _validate_secret(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    data: Mapping[str, str] = obj.get("data") or {}
    for key in sorted(data):
        errors.extend(invalid(f"data[{key}]", key, text) for text in names.config_key(key))
    if sum(map(_decoded_size, data.values())) > _MAX_BYTES:
        errors.append(too_long("data", _MAX_BYTES))
    _check_type(errors, obj, data)
    return errors


def _update_secret(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    if new.get("type") != old.get("type"):
        errors.append(invalid("type", new.get("type", ""), "field is immutable"))
    return errors + _check_immutable(new, old, ("data",)) + _validate_secret(new)


def _secret_cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), obj.get("type", ""), len(obj.get("data") or ()), printing.age(obj, now)]


def _secret_fields(obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    return {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "type": obj.get("type", ""),
    }


def _secret_warnings(obj: Object) -> list[str]:
    if obj.get("type") != "kubernetes.io/tls":
        return []
    for key, what in (("tls.crt", "certificate"), ("tls.key", "key")):
        if b"-----BEGIN " not in base64.b64decode((obj.get("data") or {}).get(key, "")):
            return [f"tls: failed to find any PEM data in {what} input"]
    return []


def _secret_update_warnings(new: Object, old: Object) -> list[str]:
    return _secret_warnings(new)


SECRETS = Resource(
    group="",
    version="v1",
    kind="Secret",
    plural="secrets",
    singular="secret",
    namespaced=True,
    default=_default_secret,
    validate=_validate_secret,
    validate_update=_update_secret,
    revalidates_metadata=True,
    selectable_fields=_secret_fields,
    field_labels=("metadata.name", "metadata.namespace", "type"),
    field_label_error="field label not supported: {label}",
    columns=(NAME_COLUMN, Column("Type", description=".type"), Column("Data", description=".data"), AGE_COLUMN),
    cells=_secret_cells,
    warnings=_secret_warnings,
    update_warnings=_secret_update_warnings,
)
