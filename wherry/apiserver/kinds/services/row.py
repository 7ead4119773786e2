"""The row of services."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import keep_spec, keep_status, status
from wherry.apiserver.kinds.core.pods import PROXY_VERBS
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    Subresource,
    Transaction,
)
from wherry.apiserver.kinds.services import allocate, rules
from wherry.apiserver.kinds.services.validate import check_service, check_service_status, check_service_update

_EMPTY_STATUS = "loadBalancer"


def _prepare_create(obj: Object, ctx: Context) -> None:
    obj["status"] = {_EMPTY_STATUS: {}}
    rules.normalize_cluster_ips(obj["spec"], None)


def _prepare_update(new: Object, old: Object, ctx: Context) -> None:
    keep_status(new, old, ctx)
    after, before = new["spec"], old["spec"]
    rules.carry_allocated(after, before)
    rules.normalize_cluster_ips(after, before)
    rules.drop_type_dependent(after, before)
    rules.trim_downgrade(after, before)
    if before.get("type") == "LoadBalancer" and after.get("type") != "LoadBalancer":
        new["status"] = {**(new.get("status") or {}), _EMPTY_STATUS: {}}


def _validate(obj: Object) -> list[FieldError]:
    return check_service(obj["spec"])


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return check_service_update(new["spec"], old["spec"])


def _begin_create(obj: Object, ctx: Context) -> Transaction:
    return allocate.allocate(obj, None, ctx)


def _begin_update(new: Object, old: Object, ctx: Context) -> Transaction:
    return allocate.allocate(new, old, ctx)


def _external(spec: Object, current: Object) -> str:
    kind, outside = spec.get("type"), list(spec.get("externalIPs") or ())
    if kind in ("ClusterIP", "NodePort"):
        return printing.joined(outside)
    if kind == "LoadBalancer":
        ingresses = (current.get("loadBalancer") or {}).get("ingress") or ()
        found = [ingress.get("ip") or ingress.get("hostname", "") for ingress in ingresses]
        return ",".join([text for text in found if text] + outside) or "<pending>"
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    return printing.UNKNOWN


def _port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node}/{port.get('protocol', '')}"


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj["spec"]
    return [
        printing.name_of(obj),
        spec.get("type", ""),
        (spec.get("clusterIPs") or [printing.NONE])[0],
        _external(spec, obj.get("status") or {}),
        printing.joined(_port(port) for port in spec.get("ports") or ()),
        printing.age(obj, now),
        printing.label_map(spec.get("selector")),
    ]


def _fields(obj: Object) -> dict[str, str]:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    return {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "spec.clusterIP": spec.get("clusterIP", ""),
        "spec.type": spec.get("type", ""),
    }


def _warnings(obj: Object) -> list[str]:
    spec = obj["spec"]
    found = []
    kind = spec.get("type")
    if spec.get("externalIPs"):
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP") and kind != "LoadBalancer":
        found.append('spec.loadBalancerIP is ignored when spec.type is not "LoadBalancer"')
    if spec.get("externalName") and kind != "ExternalName":
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if kind != "ExternalName" and rules.is_headless(spec) and spec.get("sessionAffinity") != rules.NONE:
        found.append("spec.SessionAffinity is ignored for headless services")
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def _update_warnings(new: Object, old: Object) -> list[str]:
    return _warnings(new)


SERVICES = Resource(
    group="",
    version="v1",
    kind="Service",
    plural="services",
    singular="service",
    namespaced=True,
    short_names=("svc",),
    categories=("all",),
    name_errors=names.name_is_label,
    default=rules.default_service,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    revalidates_metadata=True,
    begin_create=_begin_create,
    begin_update=_begin_update,
    after_delete=allocate.release,
    returns_deleted=True,
    selectable_fields=_fields,
    field_labels=("metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"),
    field_label_error="field label not supported: {label}",
    columns=(
        NAME_COLUMN,
        Column("Type", description=".spec.type"),
        Column("Cluster-IP", description=".spec.clusterIP"),
        Column("External-IP", description=".spec.externalIPs"),
        Column("Port(s)", description=".spec.ports"),
        AGE_COLUMN,
        Column("Selector", description=".spec.selector", priority=1),
    ),
    cells=_cells,
    warnings=_warnings,
    update_warnings=_update_warnings,
    subresources=(
        Subresource(name="proxy", verbs=PROXY_VERBS, kind="ServiceProxyOptions", style="connect"),
        status("Service", prepare=keep_spec, validate=check_service_status),
    ),
)
