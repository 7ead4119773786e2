"""The row of jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.apps import shared
from wherry.apiserver.kinds.batch.checks import check_finished, check_job_spec, check_job_update
from wherry.apiserver.kinds.common import keep_spec, keep_status, spec_changed, status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    invalid,
)
from wherry.apiserver.kinds.podspec.defaults import default_pod_template

PREFIX = "batch.kubernetes.io/"
_UNLIMITED = (1 << 31) - 1
_ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)


def default_failure_policy(policy: Object) -> None:
    """A condition that a rule names is looked for with status True."""
    for rule in policy.get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    default_pod_template(template)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    per_index = spec.get("backoffLimitPerIndex") is not None
    spec.setdefault("backoffLimit", _UNLIMITED if per_index else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = spec.get("podFailurePolicy")
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed" if policy is None else "Failed")
    if policy is not None:
        default_failure_policy(policy)
    labels = template["metadata"].get("labels")
    if labels and not obj.setdefault("metadata", {}).get("labels"):
        obj["metadata"]["labels"] = dict(labels)
    obj.setdefault("status", {})


def _generated_labels(obj: Object) -> dict[str, str]:
    uid, name = obj["metadata"].get("uid", ""), obj["metadata"].get("name", "")
    return {f"{PREFIX}controller-uid": uid, f"{PREFIX}job-name": name, "controller-uid": uid, "job-name": name}


def _prepare_create(obj: Object, ctx: Context) -> None:
    obj["status"] = {}
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    labels = _generated_labels(obj)
    template = spec["template"]["metadata"]
    template["labels"] = {**(template.get("labels") or {}), **labels}
    key = f"{PREFIX}controller-uid"
    selector = spec.setdefault("selector", {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), key: labels[key]}
    if not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(template["labels"])


def _check_generated(errors: list[FieldError], obj: Object) -> None:
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    uid = obj["metadata"].get("uid", "")
    if spec.get("selector") != {"matchLabels": {f"{PREFIX}controller-uid": uid}}:
        errors.append(invalid("spec.selector", spec.get("selector"), "`selector` not auto-generated"))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    _check_generated(errors, obj)
    check_job_spec(errors, obj["spec"])
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_job_spec(errors, new["spec"])
    check_job_update(errors, new, old)
    return errors


_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    shared.check_counts(errors, new.get("status") or {}, _COUNTS)
    check_finished(errors, new, old)
    return errors


def _word(obj: Object, current: Object) -> str:
    true = {item.get("type") for item in current.get("conditions") or () if item.get("status") == "True"}
    for word in ("Complete", "Failed"):
        if word in true:
            return word
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    return next((word for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if word in true), "Running")


def _duration(current: Object, now: datetime) -> str:
    start, end = printing.parse_time(current.get("startTime")), printing.parse_time(current.get("completionTime"))
    return printing.human_duration(((end or now) - start).total_seconds()) if start is not None else ""


def _completions(spec: Object, current: Object) -> str:
    done, wanted, parallel = current.get("succeeded", 0), spec.get("completions"), spec.get("parallelism", 0)
    if wanted is not None:
        return f"{done}/{wanted}"
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec, current = obj["spec"], obj.get("status") or {}
    return [
        printing.name_of(obj),
        _word(obj, current),
        _completions(spec, current),
        _duration(current, now),
        printing.age(obj, now),
        *printing.containers_of(spec["template"]),
        printing.label_selector(spec.get("selector")),
    ]


def _row_conditions(obj: Object) -> list[Object]:
    for item in (obj.get("status") or {}).get("conditions") or ():
        if item.get("status") == "True" and item.get("type") in ("Complete", "Failed"):
            shown = {"type": "Completed", "status": "True", "reason": item["type"]}
            return [{**shown, "message": item["message"]} if item.get("message") else shown]
    return []


def _fields(obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    return {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "status.successful": str((obj.get("status") or {}).get("succeeded", 0)),
    }


JOBS = Resource(
    group="batch",
    version="v1",
    kind="Job",
    plural="jobs",
    singular="job",
    namespaced=True,
    categories=("all",),
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    orphan_by_default=True,
    delete_warnings=(_ORPHAN_WARNING,),
    selectable_fields=_fields,
    field_labels=("metadata.name", "metadata.namespace", "status.successful"),
    field_label_error='field label "{label}" not supported for batchv1.Job',
    columns=(
        NAME_COLUMN,
        Column("Status", description="Status of the job."),
        Column("Completions", description=".status.succeeded"),
        Column("Duration", description="Time required to complete the job."),
        AGE_COLUMN,
        shared.CONTAINERS_COLUMN,
        shared.IMAGES_COLUMN,
        shared.SELECTOR_COLUMN,
    ),
    cells=_cells,
    row_conditions=_row_conditions,
    warnings=shared.warnings_of_template,
    update_warnings=shared.update_warnings_of_template,
    subresources=(status("Job", prepare=keep_spec, validate=_validate_status),),
)
