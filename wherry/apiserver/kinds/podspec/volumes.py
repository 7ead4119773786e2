"""Checks of volumes and of what mounts them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from wherry.apiserver.kinds import names, quantity
from wherry.apiserver.kinds.model import (
    FieldError,
    Object,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.env import check_field_ref, check_resource_ref

# In the order in which they are looked at: the second one that is given is refused.
_SOURCE_WORDS = (
    "emptyDir hostPath gitRepo gcePersistentDisk awsElasticBlockStore secret nfs iscsi glusterfs flexVolume configMap "
    "persistentVolumeClaim rbd cinder cephfs flocker downwardAPI fc azureFile vsphereVolume quobyte azureDisk "
    "storageos photonPersistentDisk portworxVolume scaleIO projected csi ephemeral image"
)
_SOURCES = _SOURCE_WORDS.split()

_HOST_PATH_TYPES = ("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")
_DOWNWARD_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"


def _check_mode(errors: list[FieldError], value: Any, path: str) -> None:
    if value is not None and not 0 <= value <= 0o777:
        errors.append(invalid(path, value, _MODE_TEXT))


def check_relative_path(errors: list[FieldError], value: str, path: str) -> None:
    """A path that stays inside of a directory."""
    if value.startswith("/"):
        errors.append(invalid(path, value, "must be a relative path"))
    if ".." in value.split("/"):
        errors.append(invalid(path, value, "must not contain '..'"))


def _check_strict_path(errors: list[FieldError], value: str, path: str) -> None:
    check_relative_path(errors, value, path)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(invalid(path, value, "must not start with '..'"))


def _check_items(errors: list[FieldError], items: Sequence[Object], path: str) -> None:
    for index, item in enumerate(items):
        where = f"{path}[{index}]"
        if not item.get("key"):
            errors.append(required(f"{where}.key"))
        if not item.get("path"):
            errors.append(required(f"{where}.path"))
        else:
            _check_strict_path(errors, item["path"], f"{where}.path")
        _check_mode(errors, item.get("mode"), f"{where}.mode")


def _check_downward(errors: list[FieldError], items: Sequence[Object], path: str) -> None:
    for index, item in enumerate(items):
        where = f"{path}[{index}]"
        if not item.get("path"):
            errors.append(required(f"{where}.path"))
        else:
            _check_strict_path(errors, item["path"], f"{where}.path")
        if (field := item.get("fieldRef")) is not None:
            check_field_ref(errors, field, _DOWNWARD_FIELDS, f"{where}.fieldRef")
            if "resourceFieldRef" in item:
                text = "fieldRef and resourceFieldRef can not be specified simultaneously"
                errors.append(invalid(where, "resource", text))
        elif (resource := item.get("resourceFieldRef")) is not None:
            check_resource_ref(errors, resource, f"{where}.resourceFieldRef", in_volume=True)
        else:
            errors.append(required(where, "one of fieldRef and resourceFieldRef is required"))
        _check_mode(errors, item.get("mode"), f"{where}.mode")


def _check_projected(errors: list[FieldError], source: Object, path: str) -> None:
    paths: set[str] = set()
    for index, part in enumerate(source.get("sources") or ()):
        where = f"{path}[{index}]"
        given = [key for key in ("secret", "configMap", "downwardAPI", "serviceAccountToken") if key in part]
        for extra in given[1:]:
            errors.append(forbidden(f"{where}.{extra}", "may not specify more than 1 volume type"))
        for kind in given[:1]:
            content = part[kind]
            at = f"{where}.{kind}"
            if kind in ("secret", "configMap"):
                if not content.get("name"):
                    errors.append(required(f"{at}.name"))
                _check_items(errors, content.get("items") or (), f"{at}.items")
            elif kind == "downwardAPI":
                _check_downward(errors, content.get("items") or (), f"{at}.items")
            else:
                _check_token(errors, content, at)
            inner = [content] if kind == "serviceAccountToken" else content.get("items") or ()
            for item in inner:
                target = item.get("path", "")
                if target and target in paths:
                    errors.append(invalid(path, target, "conflicting duplicate paths"))
                paths.add(target)
    _check_mode(errors, source.get("defaultMode"), f"{path.rpartition('.')[0]}.defaultMode")


def _check_token(errors: list[FieldError], token: Object, path: str) -> None:
    seconds = token.get("expirationSeconds", 3600)
    if seconds < 600:
        errors.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > 1 << 32:
        errors.append(
            invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    if not token.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        check_relative_path(errors, token["path"], f"{path}.path")


def _check_source(errors: list[FieldError], kind: str, source: Object, path: str) -> None:
    """The sources that need more than their type; `path` is that of the source."""
    if kind == "emptyDir":
        limit = source.get("sizeLimit")
        if limit is not None and quantity.parse(limit) < 0:
            errors.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))
    elif kind == "hostPath":
        value = source.get("path", "")
        if not value:
            errors.append(required(f"{path}.path"))
        elif ".." in value.split("/"):
            errors.append(invalid(f"{path}.path", value, "must not contain '..'"))
        if source.get("type", "") not in _HOST_PATH_TYPES:
            errors.append(unsupported(f"{path}.type", source["type"], sorted(_HOST_PATH_TYPES)))
    elif kind == "secret":
        if not source.get("secretName"):
            errors.append(required(f"{path}.secretName"))
        _check_mode(errors, source.get("defaultMode"), f"{path}.defaultMode")
        _check_items(errors, source.get("items") or (), f"{path}.items")
    elif kind == "configMap":
        if not source.get("name"):
            errors.append(required(f"{path}.name"))
        _check_mode(errors, source.get("defaultMode"), f"{path}.defaultMode")
        _check_items(errors, source.get("items") or (), f"{path}.items")
    elif kind == "downwardAPI":
        _check_mode(errors, source.get("defaultMode"), f"{path}.defaultMode")
        _check_downward(errors, source.get("items") or (), f"{path}.items")
    elif kind == "projected":
        _check_projected(errors, source, f"{path}.sources")
    elif kind == "persistentVolumeClaim":
        if not source.get("claimName"):
            errors.append(required(f"{path}.claimName"))
    elif kind == "nfs":
        for key in ("server", "path"):
            if not source.get(key):
                errors.append(required(f"{path}.{key}"))
        if source.get("path") and not source["path"].startswith("/"):
            errors.append(invalid(f"{path}.path", source["path"], "must be an absolute path"))
    elif kind == "csi":
        if not source.get("driver"):
            errors.append(required(f"{path}.driver"))
    elif kind == "ephemeral" and source.get("volumeClaimTemplate") is None:
        errors.append(required(f"{path}.volumeClaimTemplate"))


def check_volumes(errors: list[FieldError], volumes: Sequence[Object], path: str) -> set[str]:
    """Findings about the volumes of a pod; returns the names that can be mounted."""
    known: set[str] = set()
    for index, volume in enumerate(volumes):
        where = f"{path}[{index}]"
        given = [kind for kind in _SOURCES if volume.get(kind) is not None]
        found: list[FieldError] = []
        for extra in given[1:]:
            found.append(forbidden(f"{where}.{extra}", "may not specify more than 1 volume type"))
        if given:
            _check_source(found, given[0], volume[given[0]], f"{where}.{given[0]}")
        else:
            found.append(required(where, "must specify a volume type"))
        name = volume.get("name", "")
        if not name:
            found.append(required(f"{where}.name"))
        else:
            found.extend(invalid(f"{where}.name", name, text) for text in names.dns_label(name))
        if name in known:
            found.append(duplicate(f"{where}.name", name))
        errors.extend(found)
        if not found:
            known.add(name)
    return known


def check_mounts(
    errors: list[FieldError], mounts: Sequence[Object], volumes: Collection[str], path: str, *, privileged: bool
) -> None:
    """Findings about the volume mounts of a container."""
    used: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        name = mount.get("name", "")
        if not name:
            errors.append(required(f"{where}.name"))
        if name not in volumes:
            errors.append(not_found(f"{where}.name", name))
        target = mount.get("mountPath", "")
        if not target:
            errors.append(required(f"{where}.mountPath"))
        if target in used:
            errors.append(invalid(f"{where}.mountPath", target, "must be unique"))
        used.add(target)
        if sub := mount.get("subPath"):
            check_relative_path(errors, sub, f"{where}.subPath")
        if expression := mount.get("subPathExpr"):
            if sub:
                text = "subPathExpr and subPath are mutually exclusive"
                errors.append(invalid(f"{where}.subPathExpr", expression, text))
            check_relative_path(errors, expression, f"{where}.subPathExpr")
        propagation = mount.get("mountPropagation")
        if propagation is not None:
            if propagation not in _PROPAGATIONS:
                errors.append(unsupported(f"{where}.mountPropagation", propagation, _PROPAGATIONS))
            elif propagation == "Bidirectional" and not privileged:
                text = "Bidirectional mount propagation is available only to privileged containers"
                errors.append(forbidden(f"{where}.mountPropagation", text))
