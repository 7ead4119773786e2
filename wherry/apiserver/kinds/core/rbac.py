"""The rows of roles and their bindings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    CREATED_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.scheduling import check_label_selector

GROUP = "rbac.authorization.k8s.io"
_SUBJECT_KINDS = ("ServiceAccount", "User", "Group")


def _check_rules(errors: list[FieldError], rules: Sequence[Object], *, namespaced: bool) -> None:
    for index, rule in enumerate(rules):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        urls = rule.get("nonResourceURLs")
        if urls:
            where = f"{path}.nonResourceURLs"
            if namespaced:
                errors.append(invalid(where, urls, "namespaced rules cannot apply to non-resource URLs"))
            if any(rule.get(key) for key in ("apiGroups", "resources", "resourceNames")):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                errors.append(invalid(where, urls, text))
            continue
        if not rule.get("apiGroups"):
            errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))


def _validate_role(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    _check_rules(errors, obj.get("rules") or (), namespaced=True)
    return errors


def _validate_cluster_role(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    _check_rules(errors, obj.get("rules") or (), namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None:
        path = "aggregationRule.clusterRoleSelectors"
        selectors = aggregation.get("clusterRoleSelectors")
        if not selectors:
            text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            errors.append(required(path, text))
        for index, selector in enumerate(selectors or ()):
            check_label_selector(errors, selector, f"{path}[{index}]")
    return errors


def _default_role(obj: Object) -> None:
    """No rules are stored as none at all."""
    if not obj.get("rules"):
        obj.pop("rules", None)


def _again(validate: Callable[[Object], list[FieldError]]) -> Callable[[Object, Object], list[FieldError]]:
    """An update is checked as a create."""

    def validate_update(new: Object, old: Object) -> list[FieldError]:
        return validate(new)

    return validate_update


def _role(kind: str, plural: str, *, namespaced: bool) -> Resource:
    validate = _validate_role if namespaced else _validate_cluster_role
    return Resource(
        group=GROUP,
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=namespaced,
        name_errors=names.name_is_segment,
        default=_default_role,
        validate=validate,
        validate_update=_again(validate),
        revalidates_metadata=True,
        allow_create_on_update=True,
        columns=(NAME_COLUMN, CREATED_COLUMN),
        cells=printing.name_and_created,
    )


# --- bindings ---------------------------------------------------------------------------------------------------------


def _default_binding(obj: Object) -> None:
    reference = obj.setdefault("roleRef", {})
    reference.setdefault("apiGroup", GROUP)
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", GROUP)


def _check_subject(errors: list[FieldError], subject: Object, path: str, *, namespaced: bool) -> None:
    name, kind, group = subject.get("name", ""), subject.get("kind", ""), subject.get("apiGroup", "")
    if not name:
        errors.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            errors.extend(invalid(f"{path}.name", name, text) for text in names.dns_subdomain(name))
        if group:
            errors.append(unsupported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            errors.append(unsupported(f"{path}.apiGroup", group, (GROUP,)))
    else:
        errors.append(unsupported(f"{path}.kind", kind, _SUBJECT_KINDS))


def _binding_checks(kinds: tuple[str, ...], *, namespaced: bool) -> Callable[[Object], list[FieldError]]:
    def validate(obj: Object) -> list[FieldError]:
        errors: list[FieldError] = []
        reference = obj.get("roleRef") or {}
        if reference.get("apiGroup") != GROUP:
            errors.append(unsupported("roleRef.apiGroup", reference.get("apiGroup", ""), (GROUP,)))
        if reference.get("kind") not in kinds:
            errors.append(unsupported("roleRef.kind", reference.get("kind", ""), kinds))
        name = reference.get("name", "")
        if not name:
            errors.append(required("roleRef.name"))
        else:
            errors.extend(invalid("roleRef.name", name, text) for text in names.path_segment(name))
        for index, subject in enumerate(obj.get("subjects") or ()):
            _check_subject(errors, subject, f"subjects[{index}]", namespaced=namespaced)
        return errors

    return validate


def _subjects(obj: Object, kind: str) -> str:
    found = []
    for subject in obj.get("subjects") or ():
        if subject.get("kind") == kind:
            name = subject.get("name", "")
            found.append(f"{subject.get('namespace', '')}/{name}" if kind == "ServiceAccount" else name)
    return ", ".join(found)


def _cells(obj: Object, now: datetime) -> list[Any]:
    reference = obj.get("roleRef") or {}
    return [
        printing.name_of(obj),
        f"{reference.get('kind', '')}/{reference.get('name', '')}",
        printing.age(obj, now),
        _subjects(obj, "User"),
        _subjects(obj, "Group"),
        _subjects(obj, "ServiceAccount"),
    ]


def _binding(kind: str, plural: str, kinds: tuple[str, ...], *, namespaced: bool) -> Resource:
    validate = _binding_checks(kinds, namespaced=namespaced)

    def validate_update(new: Object, old: Object) -> list[FieldError]:
        errors = validate(new)
        if new.get("roleRef") != old.get("roleRef"):
            errors.append(invalid("roleRef", internal("RoleRef", new.get("roleRef") or {}), "cannot change roleRef"))
        return errors

    return Resource(
        group=GROUP,
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=namespaced,
        name_errors=names.name_is_segment,
        default=_default_binding,
        validate=validate,
        validate_update=validate_update,
        revalidates_metadata=True,
        allow_create_on_update=True,
        columns=(
            NAME_COLUMN,
            Column("Role", description=".roleRef"),
            AGE_COLUMN,
            Column("Users", description=f"Users in the {kind}", priority=1),
            Column("Groups", description=f"Groups in the {kind}", priority=1),
            Column("ServiceAccounts", description=f"ServiceAccounts in the {kind}", priority=1),
        ),
        cells=_cells,
    )


ROLES = _role("Role", "roles", namespaced=True)
CLUSTER_ROLES = _role("ClusterRole", "clusterroles", namespaced=False)
ROLE_BINDINGS = _binding("RoleBinding", "rolebindings", ("Role", "ClusterRole"), namespaced=True)
CLUSTER_ROLE_BINDINGS = _binding("ClusterRoleBinding", "clusterrolebindings", ("ClusterRole",), namespaced=False)
