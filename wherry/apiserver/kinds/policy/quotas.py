"""The row of resource quotas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import IMMUTABLE, drop_status, keep_spec, keep_status, status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
)
from wherry.apiserver.kinds.podspec.containers import check_quantity
from wherry.apiserver.kinds.quantity import NANO, canonical

_COMPUTE = frozenset(
    f"{prefix}{name}" for prefix in ("", "requests.", "limits.") for name in ("cpu", "memory", "ephemeral-storage")
)
_COUNTED = frozenset(
    {
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "persistentvolumeclaims",
        "configmaps",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_FOR_QUOTA = _COMPUTE | _COUNTED | {"requests.storage"}
_KNOWN = _FOR_QUOTA | {"storage"}
_SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)
_POD_SCOPES = frozenset(_SCOPES[:-1])
_CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def _check_name(errors: list[FieldError], name: str, path: str) -> None:
    errors.extend(invalid(path, name, text) for text in names.qualified_name(name))
    if "/" not in name and not name.startswith(("hugepages-", "requests.hugepages-")):
        if name not in _KNOWN:
            errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))
        if name not in _FOR_QUOTA:
            errors.append(invalid(path, name, "must be a standard resource for quota"))


def _check_amounts(errors: list[FieldError], amounts: Object | None, path: str) -> None:
    for name in sorted(amounts or {}):
        where = f"{path}[{name}]"
        _check_name(errors, name, where)
        amount = check_quantity(errors, (amounts or {})[name], where)
        if amount is not None and (name in _COUNTED or name.startswith("count/")) and amount % NANO:
            errors.append(invalid(where, (amounts or {})[name], "must be an integer"))


def _applies(scope: str, resource: str) -> bool:
    """Whether a scope can narrow what counts towards a resource."""
    if scope == "BestEffort":
        return resource == "pods"
    if scope in _POD_SCOPES:
        return resource == "pods" or resource in _COMPUTE
    return resource in ("persistentvolumeclaims", "requests.storage")


def _check_scopes(errors: list[FieldError], spec: Object, scopes: Sequence[str], path: str) -> None:
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(invalid(path, list(scopes), "unsupported scope"))
            continue
        for resource in sorted(spec.get("hard") or {}):
            if resource in _FOR_QUOTA and not _applies(scope, resource):
                errors.append(invalid(path, list(scopes), "unsupported scope applied to resource"))
    if any(pair <= set(scopes) for pair in _CONFLICTS):
        errors.append(invalid(path, list(scopes), "conflicting scopes"))


def _check_selector(errors: list[FieldError], spec: Object, selector: Object | None) -> None:
    if selector is None:
        return
    path = "spec.scopeSelector.matchExpressions"
    for item in selector.get("matchExpressions") or ():
        name, operator, values = item.get("scopeName", ""), item.get("operator", ""), item.get("values") or ()
        if name not in _SCOPES:
            errors.append(invalid(f"{path}.scopeName", name, "unsupported scope"))
            continue
        for resource in sorted(spec.get("hard") or {}):
            if resource in _FOR_QUOTA and not _applies(name, resource):
                errors.append(invalid(path, selector, "unsupported scope applied to resource"))
        if operator not in _OPERATORS:
            errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
        elif name not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
            text = (
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
                "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            errors.append(invalid(f"{path}.operator", operator, text))
        if operator in ("In", "NotIn") and not values:
            text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            errors.append(required(f"{path}.values", text))
        if operator in ("Exists", "DoesNotExist") and values:
            text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            errors.append(invalid(f"{path}.values", list(values), text))


def _default(obj: Object) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    _check_amounts(errors, spec.get("hard"), "spec.hard")
    _check_scopes(errors, spec, spec.get("scopes") or (), "spec.scopes")
    _check_selector(errors, spec, spec.get("scopeSelector"))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors = _validate(new)
    after, before = new["spec"].get("scopes") or [], old["spec"].get("scopes") or []
    if set(after) != set(before):
        errors.append(invalid("spec.scopes", list(after), IMMUTABLE))
    return errors


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for key in ("hard", "used"):
        _check_amounts(errors, (new.get("status") or {}).get(key), f"status.{key}")
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    current = obj.get("status") or {}
    hard, used = current.get("hard") or {}, current.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        text = f"{name}: {canonical(used.get(name, '0'))}/{canonical(hard[name])}"
        (limits if name.startswith("limits.") else requests).append(text)
    return [printing.name_of(obj), ", ".join(requests), ", ".join(limits), printing.age(obj, now)]


RESOURCE_QUOTAS = Resource(
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    singular="resourcequota",
    namespaced=True,
    short_names=("quota",),
    default=_default,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    revalidates_metadata=True,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column(
            "Request",
            description="Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            description=(
                "Limits control the maximum amount of cpu/memory that a container may use independent of contention "
                "on the node."
            ),
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
    subresources=(status("ResourceQuota", prepare=keep_spec, validate=_validate_status),),
)
