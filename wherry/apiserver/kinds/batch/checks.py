"""Checks of jobs: their spec, its changes, and the rules by which a job may be finished."""

from __future__ import annotations

from wherry.apiserver.kinds.common import IMMUTABLE, check_non_negative, labels_match
from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import (
    OMITTED,
    FieldError,
    Object,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.scheduling import check_label_selector
from wherry.apiserver.kinds.podspec.validate import check_pod_template

_MODES = ("NonIndexed", "Indexed")
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_MAX_PARALLEL = 100_000
_RESTART_TEXT = 'valid values: "OnFailure", "Never"'
_COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_SCHEDULING = ("nodeSelector", "tolerations", "affinity", "schedulingGates")


def _check_failure_policy(errors: list[FieldError], policy: Object) -> None:
    for index, rule in enumerate(policy.get("rules") or ()):
        path = f"spec.podFailurePolicy.rules[{index}]"
        action = rule.get("action", "")
        if not action:
            errors.append(required(f"{path}.action"))
        elif action not in _ACTIONS:
            errors.append(unsupported(f"{path}.action", action, _ACTIONS))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None and conditions:
            text = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(invalid(path, OMITTED, text))
        elif codes is None and not conditions:
            text = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(invalid(path, OMITTED, text))
        elif codes is not None:
            if codes.get("operator") not in _OPERATORS:
                errors.append(unsupported(f"{path}.onExitCodes.operator", codes.get("operator", ""), _OPERATORS))
            if not codes.get("values"):
                errors.append(invalid(f"{path}.onExitCodes.values", [], "at least one value is required"))


def check_job_spec(errors: list[FieldError], spec: Object, path: str = "spec", *, own_selector: bool = True) -> None:
    """All findings about a job's spec; the jobs of a cron job have no selector yet."""
    for key in _COUNTS:
        check_non_negative(errors, spec.get(key), f"{path}.{key}")
    mode, indexed = spec.get("completionMode"), spec.get("completionMode") == "Indexed"
    if mode is not None and mode not in _MODES:
        errors.append(unsupported(f"{path}.completionMode", mode, _MODES))
    if indexed:
        if spec.get("completions") is None:
            errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
        elif spec.get("parallelism", 0) > _MAX_PARALLEL:
            text = f"must be less than or equal to {_MAX_PARALLEL} when completion mode is Indexed"
            errors.append(invalid(f"{path}.parallelism", spec["parallelism"], text))
    elif spec.get("backoffLimitPerIndex") is not None:
        text = "requires indexed completion mode"
        errors.append(invalid(f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], text))
    if (policy := spec.get("podFailurePolicy")) is not None:
        _check_failure_policy(errors, policy)
    template = spec.get("template") or {}
    if own_selector:
        selector = spec.get("selector")
        if selector is None:
            errors.append(required(f"{path}.selector"))
        else:
            check_label_selector(errors, selector, f"{path}.selector")
            labels = (template.get("metadata") or {}).get("labels")
            if not labels_match(selector, labels or {}):
                text = "`selector` does not match template `labels`"
                errors.append(invalid(f"{path}.template.metadata.labels", labels, text))
    check_pod_template(errors, template, f"{path}.template")
    restart = (template.get("spec") or {}).get("restartPolicy")
    if restart == "Always":
        errors.append(required(f"{path}.template.spec.restartPolicy", _RESTART_TEXT))


def _without_scheduling(template: Object) -> tuple[Object, Object]:
    """(metadata, spec) of a template without what may still change while a job waits."""
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in _SCHEDULING}
    metadata = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return metadata, spec


def check_job_update(errors: list[FieldError], new: Object, old: Object) -> None:
    """Most of a job stays as it was created; a suspended one that never ran may be steered elsewhere (KEP-2926)."""
    after, before = new["spec"], old["spec"]
    elastic = after.get("completionMode") == "Indexed" and after.get("completions") == after.get("parallelism")
    if after.get("completions") != before.get("completions") and not elastic:
        errors.append(invalid("spec.completions", after.get("completions"), IMMUTABLE))
    if after.get("selector") != before.get("selector"):
        errors.append(invalid("spec.selector", after.get("selector"), IMMUTABLE))
    one, other = after.get("template") or {}, before.get("template") or {}
    waiting = bool(before.get("suspend")) and not (old.get("status") or {}).get("startTime")
    same = _without_scheduling(one) == _without_scheduling(other) if waiting else one == other
    if not same:
        shown = internal("PodSpec", one.get("spec") or {})
        errors.append(invalid("spec.template.spec", shown, IMMUTABLE))
    for key in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        if after.get(key) != before.get(key):
            errors.append(invalid(f"spec.{key}", after.get(key), IMMUTABLE))


_PRECONDITIONS = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}


def _suspended(job: Object) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Suspended" and item.get("status") == "True" for item in conditions)


def check_finished(errors: list[FieldError], new: Object, old: Object) -> None:
    """Whether the status says a finished job as one is finished (KEP-4368)."""
    current = new.get("status") or {}
    true = {item.get("type") for item in current.get("conditions") or () if item.get("status") == "True"}
    if "Complete" in true and not current.get("completionTime"):
        text = "completionTime is required for Complete jobs"
        errors.append(required("status.completionTime", text))
    for condition, needed in _PRECONDITIONS.items():
        if condition in true and needed not in true:
            text = f"cannot set {condition}=True condition without the {needed}=true condition"
            errors.append(invalid("status.conditions", OMITTED, text))
    if {"Complete", "Failed"} <= true:
        errors.append(invalid("status.conditions", OMITTED, "cannot set Complete=True and Failed=true conditions"))
    if true & {"Complete", "Failed"} and current.get("active", 0) > 0:
        errors.append(invalid("status.active", current["active"], "active>0 is invalid for finished job"))
    before, after = (old.get("status") or {}).get("startTime"), current.get("startTime")
    resumes = _suspended(old) and not _suspended(new)
    if before and before != after and not new["spec"].get("suspend") and not resumes:
        errors.append(invalid("status.startTime", after, "field is immutable for unsuspended job once set"))
