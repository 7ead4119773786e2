"""Pieces that many rows share: status strategies, generations, the scale subresource, bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wherry.apiserver.kinds.model import (
    STATUS_VERBS,
    Context,
    FieldError,
    Object,
    Subresource,
    invalid,
)

NON_NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"

Validate = Callable[[Object, Object], list[FieldError]]


def check_non_negative(errors: list[FieldError], value: Any, path: str) -> None:
    """A number of zero or more, or none."""
    if value is not None and value < 0:
        errors.append(invalid(path, value, NON_NEGATIVE))


def labels_match(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector object selects the labels; an empty one selects all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), expression.get("values") or ()
        operator = expression.get("operator")
        if operator == "In":
            matched = key in labels and labels[key] in values
        elif operator == "NotIn":
            matched = key not in labels or labels[key] not in values
        else:
            matched = (key in labels) == (operator == "Exists")
        if not matched:
            return False
    return True


def drop_status(obj: Object, ctx: Context) -> None:
    """A new object starts with an empty status."""
    obj["status"] = {}


def keep_status(new: Object, old: Object, ctx: Context) -> None:
    """A write to the object itself leaves the status alone."""
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)


def keep_spec(new: Object, old: Object, ctx: Context) -> None:
    """A write to the status leaves the spec alone."""
    if "spec" in old:
        new["spec"] = old["spec"]
    else:
        new.pop("spec", None)


def keep_spec_and_labels(new: Object, old: Object, ctx: Context) -> None:
    """A write to the status leaves spec and labels alone."""
    keep_spec(new, old, ctx)
    if "labels" in old["metadata"]:
        new["metadata"]["labels"] = old["metadata"]["labels"]
    else:
        new["metadata"].pop("labels", None)


def spec_changed(new: Object, old: Object) -> bool:
    """Generation rule of most kinds."""
    return bool(new.get("spec") != old.get("spec"))


def never(new: Object, old: Object) -> bool:
    """Generation rule of kinds that start at 1 and stay there."""
    return False


def no_findings(new: Object, old: Object) -> list[FieldError]:
    """Nothing to check."""
    return []


def status(
    kind: str,
    *,
    prepare: Callable[[Object, Object, Context], None] = keep_spec,
    validate: Validate = no_findings,
) -> Subresource:
    """The status subresource."""
    return Subresource(
        name="status", verbs=STATUS_VERBS, kind=kind, style="object", prepare_update=prepare, validate_update=validate
    )


def check_scale(scale: Object) -> list[FieldError]:
    """Findings about a Scale."""
    errors: list[FieldError] = []
    check_non_negative(errors, (scale.get("spec") or {}).get("replicas"), "spec.replicas")
    return errors


def scale(
    *,
    selector: Callable[[Object], str],
) -> Subresource:
    """The scale subresource of kinds with `spec.replicas` and `status.replicas`."""

    def read(obj: Object) -> Object:
        metadata = obj["metadata"]
        kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        spec: Object = {}
        if replicas := (obj.get("spec") or {}).get("replicas"):
            spec["replicas"] = replicas
        current: Object = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
        if text := selector(obj):
            current["selector"] = text
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {key: metadata[key] for key in kept if key in metadata},
            "spec": spec,
            "status": current,
        }

    def write(obj: Object, body: Object) -> None:
        obj["spec"]["replicas"] = (body.get("spec") or {}).get("replicas", 0)

    return Subresource(
        name="scale",
        verbs=STATUS_VERBS,
        kind="Scale",
        style="scale",
        group="autoscaling",
        version="v1",
        read=read,
        write=write,
        validate=check_scale,
        bumps_generation=True,
    )
