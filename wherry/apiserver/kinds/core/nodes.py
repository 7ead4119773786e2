"""The row of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.addresses import family_of, parse_cidr
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
    duplicate,
    forbidden,
    invalid,
    required,
)
from wherry.apiserver.kinds.podspec.scheduling import check_taint_effect

NOT_READY = "node.kubernetes.io/not-ready"
_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    current = obj.setdefault("status", {})
    if current.get("capacity") and not current.get("allocatable"):
        current["allocatable"] = dict(current["capacity"])


def _admit_create(obj: Object, ctx: Context) -> None:
    """A new node takes no pods until it is known to be ready (TaintNodesByCondition)."""
    taints = obj["spec"].setdefault("taints", [])
    if not any(taint.get("key") == NOT_READY and taint.get("effect") == "NoSchedule" for taint in taints):
        taints.append({"key": NOT_READY, "effect": "NoSchedule"})


def _check_taints(errors: list[FieldError], taints: Sequence[Object], path: str) -> None:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        where = f"{path}[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        errors.extend(invalid(f"{where}.key", key, text) for text in names.qualified_name(key))
        errors.extend(invalid(f"{where}.value", value, text) for text in names.label_value(value))
        check_taint_effect(errors, effect, f"{where}.effect", may_be_empty=False)
        if (key, effect) in seen:
            errors.append(duplicate(where, taint))
        seen.add((key, effect))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    # The path is the one that Kubernetes reports, although taints are part of the spec.
    _check_taints(errors, spec.get("taints") or (), "metadata.taints")
    ranges: Sequence[str] = spec.get("podCIDRs") or []
    valid = True
    for index, value in enumerate(ranges):
        if parse_cidr(value) is None:
            valid = False
            text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            errors.append(invalid(f"spec.podCIDRs[{index}]", value, text))
    if valid and len(ranges) > 1 and (len(ranges) > 2 or family_of(ranges[0]) == family_of(ranges[1])):
        text = "may specify no more than one CIDR for each IP family"
        errors.append(invalid("spec.podCIDRs", list(ranges), text))
    return errors


_SET_ONCE = 'node updates may not change {} except from "" to valid'


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors = _validate(new)
    after, before = new["spec"], old["spec"]
    if before.get("podCIDRs") and before["podCIDRs"] != after.get("podCIDRs"):
        errors.append(forbidden("spec.podCIDRs", _SET_ONCE.format("podCIDR")))
    if before.get("providerID") and before["providerID"] != after.get("providerID"):
        errors.append(forbidden("spec.providerID", _SET_ONCE.format("providerID")))
    _check_taints(errors, after.get("taints") or (), "metadata.taints")
    return errors


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: list[Object] = []
    for index, address in enumerate((new.get("status") or {}).get("addresses") or ()):
        if address in seen:
            errors.append(duplicate(f"status.addresses[{index}]", address))
        if not address.get("address"):
            errors.append(required(f"status.addresses[{index}].address"))
        seen.append(address)
    return errors


def _state(obj: Object) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = next((item.get("status") for item in conditions if item.get("type") == "Ready"), None)
    state = {None: "Unknown", "True": "Ready"}.get(ready, "NotReady")
    return f"{state},SchedulingDisabled" if obj["spec"].get("unschedulable") else state


def _roles(obj: Object) -> str:
    roles = set()
    for key, value in (obj["metadata"].get("labels") or {}).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            roles.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            roles.add(value)
    return printing.joined(sorted(roles))


def _cells(obj: Object, now: datetime) -> list[Any]:
    current = obj.get("status") or {}
    info = current.get("nodeInfo") or {}
    addresses: dict[str, str] = {}
    for item in current.get("addresses") or ():
        addresses.setdefault(item.get("type", ""), item.get("address", ""))
    return [
        printing.name_of(obj),
        _state(obj),
        _roles(obj),
        printing.age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", printing.NONE),
        addresses.get("ExternalIP", printing.NONE),
        info.get("osImage") or printing.UNKNOWN,
        info.get("kernelVersion") or printing.UNKNOWN,
        info.get("containerRuntimeVersion") or printing.UNKNOWN,
    ]


def _fields(obj: Object) -> dict[str, str]:
    return {
        "metadata.name": obj["metadata"].get("name", ""),
        "spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false",
    }


NODES = Resource(
    group="",
    version="v1",
    kind="Node",
    plural="nodes",
    singular="node",
    namespaced=False,
    short_names=("no",),
    default=_default,
    admit_create=_admit_create,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    selectable_fields=_fields,
    field_labels=("metadata.name", "spec.unschedulable"),
    field_label_error="field label not supported: {label}",
    columns=(
        NAME_COLUMN,
        Column("Status", description="The status of the node"),
        Column("Roles", description="The roles of the node"),
        AGE_COLUMN,
        Column("Version", description=".status.nodeInfo.kubeletVersion"),
        Column("Internal-IP", description=".status.addresses", priority=1),
        Column("External-IP", description=".status.addresses", priority=1),
        Column("OS-Image", description=".status.nodeInfo.osImage", priority=1),
        Column("Kernel-Version", description=".status.nodeInfo.kernelVersion", priority=1),
        Column("Container-Runtime", description=".status.nodeInfo.containerRuntimeVersion", priority=1),
    ),
    cells=_cells,
    subresources=(
        Subresource(name="proxy", verbs=PROXY_VERBS, kind="NodeProxyOptions", style="connect"),
        status("Node", prepare=keep_spec, validate=_validate_status),
    ),
)
