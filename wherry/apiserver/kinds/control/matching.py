"""What webhooks and admission policies share: which requests they are about, defaults and checks.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules
"""

from __future__ import annotations

from collections.abc import Sequence

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.model import FieldError, Object, duplicate, invalid, required, unsupported
from wherry.apiserver.kinds.podspec.scheduling import check_label_selector

GROUP = "admissionregistration.k8s.io"
FAILURE_POLICIES = ("Fail", "Ignore")
_MATCH_POLICIES = ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_MAX_CONDITIONS = 64


def default_matching(holder: Object) -> None:
    """The defaults of `matchPolicy` and the two selectors."""
    holder.setdefault("matchPolicy", "Equivalent")
    holder.setdefault("namespaceSelector", {})
    holder.setdefault("objectSelector", {})


def default_rules(rules: Sequence[Object] | None) -> None:
    """Rules are about objects of any scope unless they say otherwise."""
    for rule in rules or ():
        rule.setdefault("scope", "*")


def check_matching(errors: list[FieldError], holder: Object, path: str) -> None:
    """Findings about `matchPolicy` and the two selectors."""
    if (policy := holder.get("matchPolicy")) is not None and policy not in _MATCH_POLICIES:
        errors.append(unsupported(f"{path}.matchPolicy", policy, _MATCH_POLICIES))
    for key in ("namespaceSelector", "objectSelector"):
        check_label_selector(errors, holder.get(key), f"{path}.{key}")


def check_failure_policy(errors: list[FieldError], holder: Object, path: str) -> None:
    """A failure fails the request or is ignored."""
    policy = holder.get("failurePolicy")
    if policy is not None and policy not in FAILURE_POLICIES:
        errors.append(unsupported(f"{path}.failurePolicy", policy, FAILURE_POLICIES))


def check_rule(errors: list[FieldError], rule: Object, path: str) -> None:
    """Findings about one rule: which operations on which resources."""
    operations = rule.get("operations") or []
    if not operations:
        errors.append(required(f"{path}.operations"))
    _check_alone(errors, operations, f"{path}.operations", "operations")
    for index, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            errors.append(unsupported(f"{path}.operations[{index}]", operation, _OPERATIONS))
    groups, versions = rule.get("apiGroups") or [], rule.get("apiVersions") or []
    if not groups:
        errors.append(required(f"{path}.apiGroups"))
    _check_alone(errors, groups, f"{path}.apiGroups", "API groups")
    if not versions:
        errors.append(required(f"{path}.apiVersions"))
    _check_alone(errors, versions, f"{path}.apiVersions", "API versions")
    errors.extend(required(f"{path}.apiVersions[{index}]") for index, one in enumerate(versions) if not one)
    _check_resources(errors, rule.get("resources") or [], f"{path}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in _SCOPES:
        errors.append(unsupported(f"{path}.scope", scope, _SCOPES))


def _check_alone(errors: list[FieldError], values: Sequence[str], path: str, what: str) -> None:
    if len(values) > 1 and "*" in values:
        errors.append(invalid(path, list(values), f"if '*' is present, must not specify other {what}"))


def _check_resources(errors: list[FieldError], resources: Sequence[str], path: str) -> None:
    if not resources:
        errors.append(required(path))
        return
    whole, parts = set(), set()
    for index, text in enumerate(resources):
        where = f"{path}[{index}]"
        if not text:
            errors.append(required(where))
            continue
        if text == "*/*" and len(resources) > 1:
            errors.append(invalid(path, list(resources), "if '*/*' is present, must not specify other resources"))
        resource, _, part = text.partition("/")
        if resource in whole and part:
            errors.append(invalid(where, text, f"if '{resource}/*' is present, must not specify {text}"))
        if part in parts and resource != "*":
            errors.append(invalid(where, text, f"if '*/{part}' is present, must not specify {text}"))
        if part == "*":
            whole.add(resource)
        if resource == "*" and part:
            parts.add(part)
    if len(resources) > 1 and "*" in resources and any("/" not in one for one in resources if one != "*"):
        text = "if '*' is present, must not specify other resources without subresources"
        errors.append(invalid(path, list(resources), text))


def check_conditions(errors: list[FieldError], conditions: Sequence[Object] | None, path: str) -> None:
    """Findings about `matchConditions`; whether an expression is CEL at all is found out when it is asked."""
    conditions = conditions or ()
    if len(conditions) > _MAX_CONDITIONS:
        text = f"must have at most {_MAX_CONDITIONS} items"
        errors.append(FieldError("FieldValueTooMany", path, len(conditions), text))
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        where, name = f"{path}[{index}]", condition.get("name", "")
        if not str(condition.get("expression", "")).strip():
            errors.append(required(f"{where}.expression"))
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors.extend(invalid(f"{where}.name", name, text) for text in names.qualified_name(name))
            if name in seen:
                errors.append(duplicate(f"{where}.name", name))
            seen.add(name)
