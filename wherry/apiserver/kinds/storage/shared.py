"""What claims, volumes and classes share: access modes, sizes, the class of an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.model import FieldError, Object, forbidden, invalid, required, unsupported
from wherry.apiserver.kinds.podspec.containers import check_quantity
from wherry.apiserver.kinds.quantity import parse

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_BETA_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_SHORT_MODES = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)
_VOLUME_MODES = ("Block", "Filesystem")


def check_access_modes(errors: list[FieldError], modes: Sequence[str], path: str) -> None:
    """At least one known mode; ReadWriteOncePod stands alone."""
    if not modes:
        errors.append(required(path, "at least 1 access mode is required"))
    for mode in modes:
        if mode not in _MODES:
            errors.append(unsupported(path, mode, _MODES))
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        errors.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))


def check_volume_mode(errors: list[FieldError], mode: Any, path: str) -> None:
    """Filesystem or Block, or none."""
    if mode is not None and mode not in _VOLUME_MODES:
        errors.append(unsupported(path, mode, _VOLUME_MODES))


def check_size(errors: list[FieldError], value: Any, path: str) -> None:
    """A quantity of bytes above zero."""
    before = len(errors)
    check_quantity(errors, value, path)
    if len(errors) == before and parse(value) <= 0:
        errors.append(invalid(path, value, "must be greater than zero"))


def check_class_name(errors: list[FieldError], name: Any, path: str) -> None:
    """The name of a storage class, or none."""
    if name:
        errors.extend(invalid(path, name, text) for text in names.dns_subdomain(name))


def short_modes(modes: Sequence[str] | None) -> str:
    """Access modes as `kubectl get` shows them: `RWO,RWX`."""
    return ",".join(short for mode, short in _SHORT_MODES if mode in (modes or ()))


def class_of(obj: Object) -> str:
    """The class of a claim or volume, by its annotation of old or by its spec."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(BETA_CLASS) or (obj.get("spec") or {}).get("storageClassName") or "")


def is_default(storage_class: Object) -> bool:
    """Whether a class is marked as the one that claims without a class get."""
    annotations = (storage_class.get("metadata") or {}).get("annotations") or {}
    return "true" in (annotations.get(DEFAULT_CLASS), annotations.get(_BETA_DEFAULT_CLASS))


def shown_phase(obj: Object) -> str:
    """The phase, or that the object is on its way out."""
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase", ""))


def size_warnings(amounts: Object | None, path: str) -> list[str]:
    """What kubectl prints about an amount of bytes with a fraction."""
    value = (amounts or {}).get("storage")
    if value is None or parse(value) % 10**9 == 0:
        return []
    return [f'{path}[storage]: fractional byte value "{value}" is invalid, must be an integer']


def annotation_warnings(obj: Object) -> list[str]:
    """What kubectl prints about the annotation that named the class before there was a field."""
    if BETA_CLASS not in (obj["metadata"].get("annotations") or {}):
        return []
    return [f'metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead']
