"""What all workloads have: a selector, a template, numbers that are zero or more, percentages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import IMMUTABLE, NON_NEGATIVE, check_non_negative, labels_match
from wherry.apiserver.kinds.model import (
    Column,
    FieldError,
    Object,
    forbidden,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.scheduling import check_label_selector
from wherry.apiserver.kinds.podspec.validate import check_pod_template
from wherry.apiserver.kinds.podspec.warnings import template_warnings
from wherry.apiserver.kinds.printing import label_selector

TEMPLATE = "spec.template"

CONTAINERS_COLUMN = Column("Containers", description="Names of each container in the template.", priority=1)
IMAGES_COLUMN = Column("Images", description="Images referenced by each container in the template.", priority=1)
SELECTOR_COLUMN = Column("Selector", description=".spec.selector", priority=1)


def check_template(errors: list[FieldError], spec: Object, selector: Object | None, path: str = TEMPLATE) -> None:
    """The template fits the selector and restarts its containers always; `selector` None selects nothing."""
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if selector is None or not labels_match(selector, labels or {}):
        text = "`selector` does not match template `labels`"
        errors.append(invalid(f"{path}.metadata.labels", labels, text))
    check_pod_template(errors, template, path)


def check_always_restarts(errors: list[FieldError], spec: Object, path: str = TEMPLATE, owner: str = "") -> None:
    """Only the restart policy Always makes sense, and where an owner is named no deadline."""
    pod = (spec.get("template") or {}).get("spec") or {}
    policy = pod.get("restartPolicy")
    if policy != "Always":
        errors.append(unsupported(f"{path}.spec.restartPolicy", policy, ("Always",)))
    if pod.get("activeDeadlineSeconds") is not None and owner:
        text = f"activeDeadlineSeconds in {owner} is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", text))


def check_selector(errors: list[FieldError], spec: Object, kind: str) -> bool:
    """The selector is given, well-formed and not empty; whether templates can be matched with it."""
    selector, path = spec.get("selector"), "spec.selector"
    if selector is None:
        errors.append(required(path))
        return True
    before = len(errors)
    check_label_selector(errors, selector, path)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(invalid(path, selector, f"empty selector is invalid for {kind}"))
        return True
    if len(errors) > before:
        errors.append(invalid(path, selector, "invalid label selector"))
        return False
    return True


def check_selector_kept(errors: list[FieldError], new: Object, old: Object) -> None:
    """Selectors stay as they were created."""
    if new["spec"].get("selector") != old["spec"].get("selector"):
        errors.append(invalid("spec.selector", new["spec"].get("selector"), IMMUTABLE))


def check_int_or_percent(errors: list[FieldError], value: Any, path: str) -> int:
    """A number of zero or more, or a percentage; returns its number."""
    if isinstance(value, str):
        findings = names.percent(value)
        errors.extend(invalid(path, value, text) for text in findings)
        return 0 if findings else int(value[:-1])
    number = value or 0
    if number < 0:
        errors.append(invalid(path, number, NON_NEGATIVE))
    return int(number)


def check_at_most_all(errors: list[FieldError], value: Any, path: str) -> None:
    """A percentage of at most 100."""
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        errors.append(invalid(path, value, "must not be greater than 100%"))


def check_counts(errors: list[FieldError], status: Object, keys: Iterable[str]) -> None:
    """Counts of a status are zero or more."""
    for key in keys:
        check_non_negative(errors, status.get(key), f"status.{key}")


def check_at_most(errors: list[FieldError], status: Object, key: str, limit: str, what: str = "") -> None:
    """One count of a status does not exceed another."""
    if status.get(key, 0) > status.get(limit, 0):
        errors.append(
            invalid(f"status.{key}", status.get(key, 0), f"cannot be greater than {what or 'status.' + limit}")
        )


def selector_text(obj: Object) -> str:
    """The selector as the scale subresource shows it."""
    selector = obj["spec"].get("selector")
    return label_selector(selector) if selector else ""


def ready_of(obj: Object) -> str:
    """Ready and desired replicas."""
    return f"{(obj.get('status') or {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 0)}"


def name_and(obj: Object, now: datetime, *cells: Any) -> list[Any]:
    """Name, some cells, and the age."""
    return [printing.name_of(obj), *cells, printing.age(obj, now)]


def warnings_of_template(obj: Object) -> list[str]:
    """Warnings about `spec.template`."""
    return template_warnings(obj["spec"].get("template") or {}, "spec.template.")


def update_warnings_of_template(new: Object, old: Object) -> list[str]:
    """Warnings about a template that was changed."""
    if new["spec"].get("template") == old["spec"].get("template"):
        return []
    return warnings_of_template(new)
