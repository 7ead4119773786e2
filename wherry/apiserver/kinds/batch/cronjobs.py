"""The row of cron jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.apps import shared
from wherry.apiserver.kinds.batch.checks import check_job_spec
from wherry.apiserver.kinds.batch.jobs import default_failure_policy
from wherry.apiserver.kinds.common import check_non_negative, drop_status, keep_spec, keep_status, spec_changed, status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.defaults import default_pod_template
from wherry.apiserver.kinds.podspec.warnings import template_warnings
from wherry.kube.cron import ScheduleError, parse

_MAX_NAME = 52
# Eleven characters of a job's name are the time.
_POLICIES = ("Allow", "Forbid", "Replace")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    job = template.setdefault("spec", {})
    default_pod_template(job.setdefault("template", {}))
    if (policy := job.get("podFailurePolicy")) is not None:
        default_failure_policy(policy)
    obj.setdefault("status", {})


def _check_schedule(errors: list[FieldError], spec: Object) -> None:
    schedule = spec.get("schedule", "")
    if not schedule:
        errors.append(required("spec.schedule"))
    elif "TZ" in schedule:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid("spec.schedule", schedule, text))
    else:
        try:
            parse(schedule)
        except ScheduleError as error:
            errors.append(invalid("spec.schedule", schedule, str(error)))
    zone = spec.get("timeZone")
    if zone is None:
        return
    if not zone:
        errors.append(invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string"))
        return
    from zoneinfo import ZoneInfo  # only where a time zone is named

    try:
        ZoneInfo(zone)
    except (ValueError, KeyError, OSError):
        errors.append(invalid("spec.timeZone", zone, f"unknown time zone {zone}"))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    _check_schedule(errors, spec)
    check_non_negative(errors, spec.get("startingDeadlineSeconds"), "spec.startingDeadlineSeconds")
    policy = spec.get("concurrencyPolicy", "")
    if policy not in _POLICIES:
        errors.append(unsupported("spec.concurrencyPolicy", policy, _POLICIES))
    job = spec["jobTemplate"].get("spec") or {}
    check_job_spec(errors, job, "spec.jobTemplate.spec", own_selector=False)
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        check_non_negative(errors, spec.get(key), f"spec.{key}")
    name = obj["metadata"].get("name", "")
    if len(name) > _MAX_NAME:
        errors.append(invalid("metadata.name", name, names.max_length(_MAX_NAME)))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec, current = obj["spec"], obj.get("status") or {}
    job = spec["jobTemplate"].get("spec") or {}
    last = printing.since(current["lastScheduleTime"], now) if current.get("lastScheduleTime") else printing.NONE
    return [
        printing.name_of(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or printing.NONE,
        "True" if spec.get("suspend") else "False",
        len(current.get("active") or ()),
        last,
        printing.age(obj, now),
        *printing.containers_of(job.get("template") or {}),
        printing.label_selector(job.get("selector")),
    ]


def _warnings(obj: Object) -> list[str]:
    job = obj["spec"]["jobTemplate"].get("spec") or {}
    return template_warnings(job.get("template") or {}, "spec.jobTemplate.spec.template.")


CRON_JOBS = Resource(
    group="batch",
    version="v1",
    kind="CronJob",
    plural="cronjobs",
    singular="cronjob",
    namespaced=True,
    short_names=("cj",),
    categories=("all",),
    default=_default,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Schedule", description=".spec.schedule"),
        Column("Timezone", description=".spec.timeZone"),
        Column("Suspend", "boolean", description=".spec.suspend"),
        Column("Active", "integer", description=".status.active"),
        Column("Last Schedule", description=".status.lastScheduleTime"),
        AGE_COLUMN,
        shared.CONTAINERS_COLUMN,
        shared.IMAGES_COLUMN,
        Column("Selector", description=".spec.jobTemplate.spec.selector", priority=1),
    ),
    cells=_cells,
    warnings=_warnings,
    subresources=(status("CronJob", prepare=keep_spec),),
)
