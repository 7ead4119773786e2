"""The row of stateful sets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.apps import shared
from wherry.apiserver.kinds.common import (
    check_non_negative,
    drop_status,
    keep_spec,
    keep_status,
    scale,
    spec_changed,
    status,
)
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
from wherry.apiserver.kinds.podspec.defaults import default_pod_template

_CHANGEABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_RETENTION = ("Delete", "Retain")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_template(spec.setdefault("template", {}))
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim["kind"], claim["apiVersion"] = "PersistentVolumeClaim", "v1"
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {}).setdefault("phase", "Pending")
    obj.setdefault("status", {})


def _check_strategy(errors: list[FieldError], strategy: Object) -> None:
    kind, rolling, path = strategy.get("type", ""), strategy.get("rollingUpdate"), "spec.updateStrategy"
    if kind == "OnDelete":
        if rolling is not None:
            text = "only allowed for updateStrategy 'RollingUpdate'"
            errors.append(invalid(f"{path}.rollingUpdate", rolling, text))
    elif kind == "RollingUpdate":
        check_non_negative(errors, (rolling or {}).get("partition"), f"{path}.rollingUpdate.partition")
        unavailable = (rolling or {}).get("maxUnavailable")
        if unavailable is not None:
            where = f"{path}.rollingUpdate.maxUnavailable"
            if shared.check_int_or_percent(errors, unavailable, where) == 0:
                errors.append(invalid(where, unavailable, "cannot be 0"))
            shared.check_at_most_all(errors, unavailable, where)
    elif not kind:
        errors.append(required(path))
    else:
        errors.append(invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'"))


def _with_claims(spec: Object) -> Object:
    """The spec as its pods will be: the claims that are made for each of them are volumes, too."""
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    there = {each.get("name") for each in pod.get("volumes") or ()}
    names = [(each.get("metadata") or {}).get("name") for each in spec.get("volumeClaimTemplates") or ()]
    claimed = [
        {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names if name and name not in there
    ]
    if not claimed:
        return spec
    return {**spec, "template": {**template, "spec": {**pod, "volumes": [*(pod.get("volumes") or ()), *claimed]}}}


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    policy = spec.get("podManagementPolicy", "")
    if not policy:
        errors.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        errors.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    _check_strategy(errors, spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled"):
        value = retention.get(key)
        if value not in _RETENTION:
            where = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            errors.append(unsupported(where, value, _RETENTION))
    check_non_negative(errors, spec.get("replicas"), "spec.replicas")
    check_non_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
    check_non_negative(errors, (spec.get("ordinals") or {}).get("start"), "spec.ordinals.start")
    if shared.check_selector(errors, spec, "statefulset"):
        shared.check_template(errors, _with_claims(spec), spec.get("selector"))
        shared.check_always_restarts(errors, spec, owner="StatefulSet")
    check_non_negative(errors, spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors = _validate(new)
    after = {key: value for key, value in new["spec"].items() if key not in _CHANGEABLE}
    before = {key: value for key, value in old["spec"].items() if key not in _CHANGEABLE}
    if after != before:
        listed = ", ".join(f"'{key}'" for key in _CHANGEABLE[:-1])
        text = f"updates to statefulset spec for fields other than {listed} and '{_CHANGEABLE[-1]}' are forbidden"
        errors.append(forbidden("spec", text))
    return errors


_COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "collisionCount")


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    current = new.get("status") or {}
    shared.check_counts(errors, current, _COUNTS)
    for key in ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"):
        shared.check_at_most(errors, current, key, "replicas")
    shared.check_at_most(errors, current, "availableReplicas", "readyReplicas")
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    ready = shared.ready_of(obj)
    return [*shared.name_and(obj, now, ready), *printing.containers_of(obj["spec"]["template"])]


STATEFUL_SETS = Resource(
    group="apps",
    version="v1",
    kind="StatefulSet",
    plural="statefulsets",
    singular="statefulset",
    namespaced=True,
    short_names=("sts",),
    categories=("all",),
    default=_default,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Ready", description="Number of the pod with ready state"),
        AGE_COLUMN,
        shared.CONTAINERS_COLUMN,
        shared.IMAGES_COLUMN,
    ),
    cells=_cells,
    warnings=shared.warnings_of_template,
    update_warnings=shared.update_warnings_of_template,
    subresources=(
        scale(selector=shared.selector_text),
        status("StatefulSet", prepare=keep_spec, validate=_validate_status),
    ),
)
