"""Checks of environment variables and of references to fields, resources, config maps and secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.model import FieldError, Object, invalid, required, unsupported

_ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
# Labels of fields that exist, whether or not they may be used in a given place.
_KNOWN_FIELDS = frozenset(
    (*_ENV_FIELDS, "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName",
     "status.phase", "spec.hostNetwork", "status.nominatedNodeName")
)  # fmt: skip
_SUBSCRIPT = re.compile(r"(metadata\.(?:annotations|labels))\['(.*)'\]")
_RESOURCES = tuple(
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def check_field_ref(errors: list[FieldError], ref: Object, allowed: Sequence[str], path: str) -> None:
    """A reference to a field of the pod; labels and annotations may have a subscript."""
    if not ref.get("apiVersion"):
        errors.append(required(f"{path}.apiVersion"))
        return
    value = ref.get("fieldPath", "")
    if not value:
        errors.append(required(f"{path}.fieldPath"))
        return
    match = _SUBSCRIPT.fullmatch(value)
    if match is not None:
        base, key = match.groups()
        check = names.qualified_name(key.lower() if base.endswith("annotations") else key)
        errors.extend(invalid(path, key, text) for text in check)
    elif value not in _KNOWN_FIELDS:
        text = f"error converting fieldPath: field label not supported: {value}"
        errors.append(invalid(f"{path}.fieldPath", value, text))
    elif value not in allowed:
        errors.append(unsupported(f"{path}.fieldPath", value, sorted(allowed)))


def check_resource_ref(errors: list[FieldError], ref: Object, path: str, *, in_volume: bool) -> None:
    """A reference to a container's limits or requests."""
    if in_volume and not ref.get("containerName"):
        errors.append(required(f"{path}.containerName"))
        return
    resource = ref.get("resource", "")
    if not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        errors.append(unsupported(f"{path}.resource", resource, sorted(_RESOURCES)))


def _check_key_ref(errors: list[FieldError], ref: Object, path: str) -> None:
    name = ref.get("name", "")
    errors.extend(invalid(f"{path}.name", name, text) for text in names.dns_subdomain(name))
    key = ref.get("key", "")
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        errors.extend(invalid(f"{path}.key", key, text) for text in names.config_key(key))


def _check_value_from(errors: list[FieldError], variable: Object, path: str) -> None:
    source = variable["valueFrom"]
    given = [kind for kind in _SOURCES if source.get(kind) is not None]
    for kind in given:
        if kind == "fieldRef":
            check_field_ref(errors, source[kind], _ENV_FIELDS, f"{path}.fieldRef")
        elif kind == "resourceFieldRef":
            check_resource_ref(errors, source[kind], f"{path}.resourceFieldRef", in_volume=False)
        elif kind in ("configMapKeyRef", "secretKeyRef"):
            _check_key_ref(errors, source[kind], f"{path}.{kind}")
    if not given:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        errors.append(invalid(path, "", text))
    elif variable.get("value"):
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))


def check_env(errors: list[FieldError], variables: Sequence[Object], path: str) -> None:
    """Findings about the environment variables of a container."""
    for index, variable in enumerate(variables):
        where = f"{path}[{index}]"
        name = variable.get("name", "")
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors.extend(invalid(f"{where}.name", name, text) for text in names.env_name(name))
        if variable.get("valueFrom") is not None:
            _check_value_from(errors, variable, f"{where}.valueFrom")


def check_env_from(errors: list[FieldError], sources: Sequence[Object], path: str) -> None:
    """Findings about whole config maps and secrets taken as environment."""
    for index, source in enumerate(sources):
        where = f"{path}[{index}]"
        if prefix := source.get("prefix"):
            errors.extend(invalid(f"{where}.prefix", prefix, text) for text in names.env_name(prefix))
        given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in given:
            name = source[kind].get("name", "")
            if not name:
                errors.append(required(f"{where}.{kind}.name"))
            else:
                errors.extend(invalid(f"{where}.{kind}.name", name, text) for text in names.dns_subdomain(name))
        if not given:
            errors.append(invalid(where, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            errors.append(invalid(where, "", "may not have more than one field specified at a time"))
