"""The rows of controller revisions and pod templates: content that others use."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.common import IMMUTABLE, check_non_negative
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
)
from wherry.apiserver.kinds.podspec.defaults import default_pod_template
from wherry.apiserver.kinds.podspec.validate import check_pod_template
from wherry.apiserver.kinds.podspec.warnings import template_warnings


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_non_negative(errors, obj.get("revision"), "revision")
    if obj.get("data") is None:
        errors.append(required("data", "data is mandatory"))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors = _validate(new)
    if new.get("data") != old.get("data"):
        errors.append(invalid("data", new.get("data"), IMMUTABLE))
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    controller = printing.NONE
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group, slash, _ = owner.get("apiVersion", "").partition("/")
            kind = owner.get("kind", "").lower()
            controller = f"{kind}.{group}/{owner.get('name')}" if slash else f"{kind}/{owner.get('name')}"
    return [printing.name_of(obj), controller, obj.get("revision", 0), printing.age(obj, now)]


CONTROLLER_REVISIONS = Resource(
    group="apps",
    version="v1",
    kind="ControllerRevision",
    plural="controllerrevisions",
    singular="controllerrevision",
    namespaced=True,
    validate=_validate,
    validate_update=_validate_update,
    columns=(
        NAME_COLUMN,
        Column("Controller", description="Controller of the object"),
        Column("Revision", description=".revision"),
        AGE_COLUMN,
    ),
    cells=_cells,
)


# --- pod templates ----------------------------------------------------------------------------------------------------


def _default_template(obj: Object) -> None:
    default_pod_template(obj.setdefault("template", {}))


def _validate_template(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_pod_template(errors, obj["template"], "template")
    return errors


def _update_template(new: Object, old: Object) -> list[FieldError]:
    return _validate_template(new)


def _template_changed(new: Object, old: Object) -> bool:
    return bool(new.get("template") != old.get("template"))


def _template_cells(obj: Object, now: datetime) -> list[Any]:
    template = obj["template"]
    labels = (template.get("metadata") or {}).get("labels")
    return [printing.name_of(obj), *printing.containers_of(template), printing.label_map(labels)]


def _template_warnings(obj: Object) -> list[str]:
    return template_warnings(obj["template"], "template.")


POD_TEMPLATES = Resource(
    group="",
    version="v1",
    kind="PodTemplate",
    plural="podtemplates",
    singular="podtemplate",
    namespaced=True,
    default=_default_template,
    validate=_validate_template,
    validate_update=_update_template,
    generation=_template_changed,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("Containers", description="Names of each container in the template."),
        Column("Images", description="Images referenced by each container in the template."),
        Column("Pod Labels", description="The labels for the pod template."),
    ),
    cells=_template_cells,
    warnings=_template_warnings,
)
