"""Checks of metadata that all kinds share, on create and on update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.model import FieldError, Object, forbidden, invalid, required, too_long

TOTAL_ANNOTATION_BYTES = 256 * 1024
IMMUTABLE = "field is immutable"
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})

NameErrors = Callable[[str, bool], list[str]]


def label_key_errors(labels: Mapping[str, Any] | None, path: str) -> list[FieldError]:
    """Findings about keys and values of a label map."""
    errors: list[FieldError] = []
    if labels:
        for key in sorted(labels):
            errors.extend(invalid(path, key, text) for text in names.qualified_name(key))
            errors.extend(invalid(path, labels[key], text) for text in names.label_value(labels[key]))
    return errors


def annotation_errors(annotations: Mapping[str, str] | None, path: str) -> list[FieldError]:
    """Findings about annotation keys and about the size of all of them."""
    errors: list[FieldError] = []
    if not annotations:
        return errors
    for key in sorted(annotations):
        errors.extend(invalid(path, key, text) for text in names.qualified_name(key.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > TOTAL_ANNOTATION_BYTES:
        errors.append(too_long(path, TOTAL_ANNOTATION_BYTES))
    return errors


def _owner_errors(owners: Sequence[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    controllers: list[Object] = []
    for owner in owners:
        api_version = owner.get("apiVersion", "")
        if not api_version.rpartition("/")[2]:
            errors.append(invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
        for key in ("kind", "name", "uid"):
            if not owner.get(key):
                errors.append(invalid(f"{path}.{key}", "", "must not be empty"))
        if api_version == "v1" and owner.get("kind") == "Event":
            errors.append(invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            controllers.append(owner)
            if len(controllers) > 1:
                first = controllers[0]
                text = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{first.get('kind')}/{first.get('name')} and {owner.get('kind')}/{owner.get('name')}"
                )
                errors.append(invalid(path, owners, text))
    return errors


def finalizer_name_errors(value: str, path: str) -> list[FieldError]:
    """Findings about one finalizer."""
    errors = [invalid(path, value, text) for text in names.qualified_name(value)]
    if "/" not in value and value not in _STANDARD_FINALIZERS:
        errors.append(invalid(path, value, "name is neither a standard finalizer name nor is it fully qualified"))
    return errors


def _finalizer_errors(finalizers: Sequence[str], path: str, free: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, value in enumerate(finalizers):
        where = f"{path}[{index}]"
        if free:
            errors.extend(invalid(where, value, text) for text in names.qualified_name(value))
        else:
            errors.extend(finalizer_name_errors(value, where))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid(path, list(finalizers), text))
    return errors


def object_errors(
    metadata: Object, *, namespaced: bool, name_errors: NameErrors, free_finalizers: bool = False
) -> list[FieldError]:
    """Findings about the metadata of an object as it would be stored; free finalizers need no domain."""
    errors: list[FieldError] = []
    prefix = metadata.get("generateName")
    if prefix:
        errors.extend(invalid("metadata.generateName", prefix, text) for text in name_errors(prefix, True))
    name = metadata.get("name")
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors.extend(invalid("metadata.name", name, text) for text in name_errors(name, False))
    namespace = metadata.get("namespace")
    if namespaced:
        if not namespace:
            errors.append(required("metadata.namespace"))
        else:
            errors.extend(invalid("metadata.namespace", namespace, text) for text in names.dns_label(namespace))
    elif namespace:
        errors.append(forbidden("metadata.namespace", "not allowed on this type"))
    generation = metadata.get("generation", 0)
    if generation < 0:
        errors.append(invalid("metadata.generation", generation, "must be greater than or equal to 0"))
    errors.extend(label_key_errors(metadata.get("labels"), "metadata.labels"))
    errors.extend(annotation_errors(metadata.get("annotations"), "metadata.annotations"))
    if owners := metadata.get("ownerReferences"):
        errors.extend(_owner_errors(owners, "metadata.ownerReferences"))
    if finalizers := metadata.get("finalizers"):
        errors.extend(_finalizer_errors(finalizers, "metadata.finalizers", free_finalizers))
    return errors


def inherit(new: Object, old: Object) -> None:
    """Carry over from the stored metadata what an update cannot change and may leave out."""
    if not new.get("uid") and "uid" in old:
        new["uid"] = old["uid"]
    if "creationTimestamp" in old:
        new["creationTimestamp"] = old["creationTimestamp"]
    if "deletionTimestamp" in old:
        new["deletionTimestamp"] = old["deletionTimestamp"]
    if "deletionGracePeriodSeconds" in old:
        new.setdefault("deletionGracePeriodSeconds", old["deletionGracePeriodSeconds"])
    if "generation" in old:
        new["generation"] = old["generation"]
    else:
        new.pop("generation", None)


def update_errors(new: Object, old: Object) -> list[FieldError]:
    """Findings about a change of metadata."""
    errors: list[FieldError] = []
    if "deletionTimestamp" in old:
        before = old.get("finalizers") or ()
        added = sorted({value for value in new.get("finalizers") or () if value not in before})
        if added:
            listed = ", ".join(f'"{value}"' for value in added)
            text = "no new finalizers can be added if the object is being deleted, found new finalizers "
            errors.append(forbidden("metadata.finalizers", f"{text}[]string{{{listed}}}"))
    if not new.get("resourceVersion"):
        errors.append(invalid("metadata.resourceVersion", "", "must be specified for an update"))
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if new.get(key) != old.get(key):
            errors.append(invalid(f"metadata.{key}", new.get(key), IMMUTABLE))
    errors.extend(label_key_errors(new.get("labels"), "metadata.labels"))
    errors.extend(annotation_errors(new.get("annotations"), "metadata.annotations"))
    if owners := new.get("ownerReferences"):
        errors.extend(_owner_errors(owners, "metadata.ownerReferences"))
    return errors
