"""The rows of replica sets and of their elder, replication controllers."""

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
    required,
)
from wherry.apiserver.kinds.podspec.defaults import default_pod_template

_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_template(spec.setdefault("template", {}))
    spec.setdefault("replicas", 1)
    obj.setdefault("status", {})


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    check_non_negative(errors, spec.get("replicas"), "spec.replicas")
    check_non_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
    if shared.check_selector(errors, spec, "replicaset"):
        shared.check_template(errors, spec, spec.get("selector"))
        shared.check_always_restarts(errors, spec, owner="ReplicaSet")
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    shared.check_selector_kept(errors, new, old)
    return errors + _validate(new)


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    current = new.get("status") or {}
    shared.check_counts(errors, current, _COUNTS)
    for key in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        shared.check_at_most(errors, current, key, "replicas")
    shared.check_at_most(errors, current, "availableReplicas", "readyReplicas", "readyReplicas")
    return errors


def _row(obj: Object, now: datetime, selector: str) -> list[Any]:
    spec, current = obj["spec"], obj.get("status") or {}
    return [
        printing.name_of(obj),
        spec.get("replicas", 0),
        current.get("replicas", 0),
        current.get("readyReplicas", 0),
        printing.age(obj, now),
        *printing.containers_of(spec.get("template") or {}),
        selector,
    ]


def _cells(obj: Object, now: datetime) -> list[Any]:
    return _row(obj, now, printing.label_selector(obj["spec"].get("selector")))


_COLUMNS = (
    NAME_COLUMN,
    Column("Desired", "integer", description=".spec.replicas"),
    Column("Current", "integer", description=".status.replicas"),
    Column("Ready", "integer", description=".status.readyReplicas"),
    AGE_COLUMN,
    shared.CONTAINERS_COLUMN,
    shared.IMAGES_COLUMN,
    shared.SELECTOR_COLUMN,
)

REPLICA_SETS = Resource(
    group="apps",
    version="v1",
    kind="ReplicaSet",
    plural="replicasets",
    singular="replicaset",
    namespaced=True,
    short_names=("rs",),
    categories=("all",),
    default=_default,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    columns=_COLUMNS,
    cells=_cells,
    warnings=shared.warnings_of_template,
    update_warnings=shared.update_warnings_of_template,
    subresources=(
        scale(selector=shared.selector_text),
        status("ReplicaSet", prepare=keep_spec, validate=_validate_status),
    ),
)


# --- replication controllers ------------------------------------------------------------------------------------------


def _default_controller(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    template = spec.get("template")
    if template is not None:
        default_pod_template(template)
        labels = (template.get("metadata") or {}).get("labels")
        if labels:
            spec.setdefault("selector", dict(labels))
            obj.setdefault("metadata", {}).setdefault("labels", dict(labels))
    spec.setdefault("replicas", 1)
    obj.setdefault("status", {})


def _validate_controller(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    check_non_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
    selector = spec.get("selector")
    if not selector:
        errors.append(required("spec.selector"))
    check_non_negative(errors, spec.get("replicas"), "spec.replicas")
    if spec.get("template") is None:
        errors.append(required("spec.template"))
    else:
        shared.check_template(errors, spec, {"matchLabels": selector or {}})
        shared.check_always_restarts(errors, spec, owner="ReplicationController")
    return errors


def _update_controller(new: Object, old: Object) -> list[FieldError]:
    return _validate_controller(new)


def _controller_cells(obj: Object, now: datetime) -> list[Any]:
    return _row(obj, now, printing.label_map(obj["spec"].get("selector")))


def _controller_selector(obj: Object) -> str:
    selector = obj["spec"].get("selector")
    return printing.label_map(selector) if selector else ""


def _controller_fields(obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    return {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "status.replicas": str((obj.get("status") or {}).get("replicas", 0)),
    }


REPLICATION_CONTROLLERS = Resource(
    group="",
    version="v1",
    kind="ReplicationController",
    plural="replicationcontrollers",
    singular="replicationcontroller",
    namespaced=True,
    short_names=("rc",),
    categories=("all",),
    default=_default_controller,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate_controller,
    validate_update=_update_controller,
    revalidates_metadata=True,
    generation=spec_changed,
    orphan_by_default=True,
    selectable_fields=_controller_fields,
    field_labels=("metadata.name", "metadata.namespace", "status.replicas"),
    field_label_error="field label not supported: {label}",
    columns=_COLUMNS,
    cells=_controller_cells,
    warnings=shared.warnings_of_template,
    update_warnings=shared.update_warnings_of_template,
    subresources=(
        scale(selector=_controller_selector),
        status("ReplicationController", prepare=keep_spec, validate=_validate_status),
    ),
)
