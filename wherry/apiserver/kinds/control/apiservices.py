"""The row of API services: which server answers for a version of a group.

This server hands nothing on to others: a service that stands behind an API is told so in its condition.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import keep_spec, spec_changed, status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
    unsupported,
)

GROUP = "apiregistration.k8s.io"
AUTOMANAGED, ON_START = "kube-aggregator.kubernetes.io/automanaged", "onstart"
"""The label of the API services that a server makes for itself, and its value."""
_CONDITIONS = ("True", "False", "Unknown")


def _default(obj: Object) -> None:
    service = obj.setdefault("spec", {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def availability(spec: Object, now: str) -> Object:
    """The condition of an API service: the server's own are always there, others are never asked."""
    service = spec.get("service")
    if service is None:
        text = "Local APIServices are always available"
        return {"type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local", "message": text}
    name = f'service/{service.get("name", "")} in "{service.get("namespace", "")}"'
    return {
        "type": "Available",
        "status": "False",
        "lastTransitionTime": now,
        "reason": "AggregationNotSupported",
        "message": f"{name} is not asked: this version of wherry hands no requests on to other API servers",
    }


def _begin(obj: Object, ctx: Context) -> None:
    obj["status"] = {"conditions": [availability(obj["spec"], printing.format_time(ctx.now()))]}


def _prepare_update(new: Object, old: Object, ctx: Context) -> None:
    new["status"] = old.get("status") or {}
    if (old["metadata"].get("labels") or {}).get(AUTOMANAGED) == ON_START:
        return  # this server goes on answering for it, whatever stands there
    if (new["spec"].get("service") is None) != ((old.get("spec") or {}).get("service") is None):
        _begin(new, ctx)


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    group, version = spec.get("group", ""), spec.get("version", "")
    wanted = f"{version}.{group}"
    if name != wanted:
        errors.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))
    if not group and version != "v1":
        errors.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    if group:
        errors.extend(invalid("spec.group", group, text) for text in names.dns_subdomain(group))
    errors.extend(invalid("spec.version", version, text) for text in names.dns_1035_label(version))
    for key, limit in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(key, 0)
        if not 0 < value <= limit:
            errors.append(invalid(f"spec.{key}", value, f"must be positive and less than {limit}"))
    service, bundle = spec.get("service"), spec.get("caBundle") or ""
    insecure = bool(spec.get("insecureSkipTLSVerify"))
    if service is None:
        if bundle:
            count = f"{len(bundle) // 4 * 3 - bundle.count('=')} bytes"
            errors.append(invalid("spec.caBundle", count, "local APIServices may not have a caBundle"))
        if insecure:
            text = "local APIServices may not have insecureSkipTLSVerify"
            errors.append(invalid("spec.insecureSkipTLSVerify", insecure, text))
        return errors
    errors.extend(required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key))
    port = service.get("port", 443)
    for text in names.port_number(port):
        errors.append(invalid("spec.service.port", port, f"port is not valid: {text}"))
    if insecure and bundle:
        errors.append(invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present"))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    return [
        unsupported(f"status.conditions[{index}].status", one.get("status", ""), _CONDITIONS)
        for index, one in enumerate((new.get("status") or {}).get("conditions") or ())
        if one.get("status") not in _CONDITIONS
    ]


def _cells(obj: Object, now: datetime) -> list[Any]:
    service = (obj.get("spec") or {}).get("service")
    shown = "Local" if service is None else f"{service.get('namespace', '')}/{service.get('name', '')}"
    state = "Unknown"
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Available":
            state = condition.get("status", "")
            if state != "True" and condition.get("reason"):
                state = f"{state} ({condition['reason']})"
    return [printing.name_of(obj), shown, state, printing.age(obj, now)]


API_SERVICES = Resource(
    group=GROUP,
    version="v1",
    kind="APIService",
    plural="apiservices",
    singular="apiservice",
    namespaced=False,
    categories=("api-extensions",),
    name_errors=names.name_is_segment,
    default=_default,
    prepare_create=_begin,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Service", "string", "", "The reference to the service that hosts this API endpoint."),
        Column("Available", "string", "", "Whether this service is available."),
        AGE_COLUMN,
    ),
    cells=_cells,
    subresources=(status("APIService", prepare=keep_spec, validate=_validate_status),),
)
