"""The rows of flow control: manifests carry them; this server answers all requests alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import drop_status, keep_spec, keep_status, spec_changed, status
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
    unsupported,
)

_GROUP = "flowcontrol.apiserver.k8s.io"
_METHODS = ("ByNamespace", "ByUser")
_SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}


def _default_schema(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def _check_subject(errors: list[FieldError], subject: Object, path: str) -> None:
    kind = subject.get("kind", "")
    if kind not in _SUBJECTS:
        errors.append(unsupported(f"{path}.kind", kind, sorted(_SUBJECTS)))
        return
    for known, key in _SUBJECTS.items():
        if known == kind and subject.get(key) is None:
            text = f"{key} is required when subject kind is '{kind}'"
            errors.append(required(f"{path}.{key}", text))
        elif known != kind and subject.get(key) is not None:
            text = f"{key} is forbidden when subject kind is not '{known}'"
            errors.append(forbidden(f"{path}.{key}", text))


def _check_rules(errors: list[FieldError], rule: Object, path: str) -> None:
    if not rule.get("subjects"):
        errors.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(rule.get("subjects") or ()):
        _check_subject(errors, subject, f"{path}.subjects[{index}]")
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        text = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(required(path, text))
    for index, one in enumerate(rule.get("resourceRules") or ()):
        where = f"{path}.resourceRules[{index}]"
        for key in ("verbs", "apiGroups", "resources"):
            if not one.get(key):
                errors.append(required(f"{where}.{key}"))
        if not one.get("namespaces") and not one.get("clusterScope"):
            text = "resource rules that are not cluster scoped must supply at least one namespace"
            errors.append(required(f"{where}.namespaces", text))
    for index, one in enumerate(rule.get("nonResourceRules") or ()):
        where = f"{path}.nonResourceRules[{index}]"
        errors.extend(required(f"{where}.{key}") for key in ("verbs", "nonResourceURLs") if not one.get(key))


def _validate_schema(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    precedence = spec.get("matchingPrecedence", 0)
    if precedence <= 0:
        errors.append(invalid("spec.matchingPrecedence", precedence, "must be a positive value"))
    elif precedence > 10000:
        errors.append(invalid("spec.matchingPrecedence", precedence, "must not be greater than 10000"))
    if (method := spec.get("distinguisherMethod")) is not None and method.get("type") not in _METHODS:
        errors.append(unsupported("spec.distinguisherMethod", method, _METHODS))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    if not level:
        errors.append(required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    else:
        where = "spec.priorityLevelConfiguration.name"
        errors.extend(invalid(where, level, text) for text in names.dns_subdomain(level))
    for index, rule in enumerate(spec.get("rules") or ()):
        _check_rules(errors, rule, f"spec.rules[{index}]")
    return errors


def _update_schema(new: Object, old: Object) -> list[FieldError]:
    return _validate_schema(new)


def _schema_cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    missing = "?"
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Dangling":
            missing = condition.get("status", "")
    return [
        printing.name_of(obj),
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type", printing.NONE),
        printing.age(obj, now),
        missing,
    ]


FLOW_SCHEMAS = Resource(
    group=_GROUP,
    version="v1",
    kind="FlowSchema",
    plural="flowschemas",
    singular="flowschema",
    namespaced=False,
    default=_default_schema,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate_schema,
    validate_update=_update_schema,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("PriorityLevel", description=".spec.priorityLevelConfiguration.name"),
        Column("MatchingPrecedence", description=".spec.matchingPrecedence"),
        Column("DistinguisherMethod", description=".spec.distinguisherMethod"),
        AGE_COLUMN,
        Column("MissingPL", description="references a broken or non-existent PriorityLevelConfiguration"),
    ),
    cells=_schema_cells,
    subresources=(status("FlowSchema", prepare=keep_spec),),
)


# --- priority levels --------------------------------------------------------------------------------------------------


def _default_level(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for key, shares in (("limited", 30), ("exempt", 0)):
        if (limits := spec.get(key)) is not None:
            limits.setdefault("nominalConcurrencyShares", shares)
            limits.setdefault("lendablePercent", 0)
    queuing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing")
    if queuing is not None:
        for key, value in (("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)):
            queuing[key] = queuing.get(key) or value


def _check_limited(errors: list[FieldError], limited: Object) -> None:
    path = "spec.limited"
    if limited.get("nominalConcurrencyShares", 30) < 0:
        shares = limited["nominalConcurrencyShares"]
        errors.append(invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type", ""), response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            text = "must be nil if limited.limitResponse.type is not Limited"
            errors.append(forbidden(f"{path}.limitResponse.queuing", text))
    elif kind == "Queue":
        if queuing is None:
            text = "must not be empty if limited.limitResponse.type is Limited"
            errors.append(required(f"{path}.limitResponse.queuing", text))
        else:
            _check_queuing(errors, queuing, f"{path}.limitResponse.queuing")
    else:
        errors.append(unsupported(f"{path}.limitResponse.type", kind, ("Queue", "Reject")))


def _check_queuing(errors: list[FieldError], queuing: Object, path: str) -> None:
    for key in ("queueLengthLimit", "queues", "handSize"):
        if queuing.get(key, 0) <= 0:
            errors.append(invalid(f"{path}.{key}", queuing.get(key, 0), "must be positive"))
    if queuing.get("queues", 0) > 10_000_000:
        errors.append(invalid(f"{path}.queues", queuing["queues"], "must not be greater than 10000000"))
    if queuing.get("handSize", 0) > queuing.get("queues", 0):
        text = f"should not be greater than queues ({queuing.get('queues', 0)})"
        errors.append(invalid(f"{path}.handSize", queuing["handSize"], text))


def _validate_level(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    kind = spec.get("type", "")
    if kind == "Exempt":
        if spec.get("limited") is not None:
            text = "must be nil if the type is not Limited"
            errors.append(forbidden("spec.limited", text))
    elif kind == "Limited":
        if spec.get("exempt") is not None:
            errors.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if spec.get("limited") is None:
            errors.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            _check_limited(errors, spec["limited"])
    else:
        errors.append(unsupported("spec.type", kind, ("Exempt", "Limited")))
    for key in ("limited", "exempt"):
        percent = (spec.get(key) or {}).get("lendablePercent", 0)
        if not 0 <= percent <= 100:
            text = "must be between 0 and 100, inclusive"
            errors.append(invalid(f"spec.{key}.lendablePercent", percent, text))
    return errors


def _update_level(new: Object, old: Object) -> list[FieldError]:
    return _validate_level(new)


def _level_cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    limits = spec.get("limited") or spec.get("exempt") or {}
    queuing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing") or {}
    numbers = [queuing.get(key, printing.NONE) for key in ("queues", "handSize", "queueLengthLimit")]
    shares = limits.get("nominalConcurrencyShares", printing.NONE)
    return [printing.name_of(obj), spec.get("type", ""), shares, *numbers, printing.age(obj, now)]


_QUEUING = ".spec.limited.limitResponse.queuing"

PRIORITY_LEVELS = Resource(
    group=_GROUP,
    version="v1",
    kind="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    singular="prioritylevelconfiguration",
    namespaced=False,
    default=_default_level,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate_level,
    validate_update=_update_level,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Type", description=".spec.type"),
        Column("NominalConcurrencyShares", description=".spec.limited.nominalConcurrencyShares"),
        Column("Queues", description=f"{_QUEUING}.queues"),
        Column("HandSize", description=f"{_QUEUING}.handSize"),
        Column("QueueLengthLimit", description=f"{_QUEUING}.queueLengthLimit"),
        AGE_COLUMN,
    ),
    cells=_level_cells,
    subresources=(status("PriorityLevelConfiguration", prepare=keep_spec),),
)
