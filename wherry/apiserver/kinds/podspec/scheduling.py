"""Checks of what steers scheduling: tolerations, affinity, spread constraints, gates; and of label selectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.meta import label_key_errors
from wherry.apiserver.kinds.model import (
    FieldError,
    Object,
    duplicate,
    forbidden,
    invalid,
    required,
    unsupported,
)

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def _check_expression(errors: list[FieldError], expression: Object, path: str, *, ordered: bool = False) -> None:
    """The operator, the number of values and the key; `ordered` where Gt and Lt are operators, too."""
    operator, values = expression.get("operator", ""), expression.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            text = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(required(f"{path}.values", text))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{path}.values", text))
    elif ordered and operator in ("Gt", "Lt"):
        if len(values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(f"{path}.values", text))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key", "")
    errors.extend(invalid(f"{path}.key", key, text) for text in names.qualified_name(key))


def check_label_selector(errors: list[FieldError], selector: Object | None, path: str) -> None:
    """A LabelSelector object (KEP-less; API reference)."""
    if selector is None:
        return
    errors.extend(label_key_errors(selector.get("matchLabels"), f"{path}.matchLabels"))
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        _check_expression(errors, expression, where)
        for number, value in enumerate(expression.get("values") or ()):
            errors.extend(invalid(f"{where}.values[{number}]", value, text) for text in names.label_value(value))


def check_taint_effect(errors: list[FieldError], effect: str, path: str, *, may_be_empty: bool) -> None:
    """An effect of a taint or toleration."""
    if not effect:
        if not may_be_empty:
            errors.append(required(path))
    elif effect not in _EFFECTS:
        errors.append(unsupported(path, effect, _EFFECTS))


def check_tolerations(errors: list[FieldError], tolerations: Sequence[Object], path: str) -> None:
    """Findings about tolerations."""
    for index, item in enumerate(tolerations):
        where = f"{path}[{index}]"
        key, operator = item.get("key", ""), item.get("operator", "")
        effect, value = item.get("effect", ""), item.get("value", "")
        if key:
            errors.extend(invalid(f"{where}.key", key, text) for text in names.qualified_name(key))
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{where}.operator", operator, text))
        if item.get("tolerationSeconds") is not None and effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(f"{where}.effect", effect, text))
        if operator in ("Equal", ""):
            findings = names.label_value(value)
            if findings:
                errors.append(invalid(f"{where}.operator", value, ";".join(findings)))
        elif operator == "Exists":
            if value:
                text = "value must be empty when `operator` is 'Exists'"
                errors.append(invalid(f"{where}.operator", item, text))
        else:
            errors.append(unsupported(f"{where}.operator", operator, ("Equal", "Exists")))
        check_taint_effect(errors, effect, f"{where}.effect", may_be_empty=True)


def _check_node_term(errors: list[FieldError], term: Object, path: str) -> None:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        _check_expression(errors, expression, where, ordered=True)
    for index, field in enumerate(term.get("matchFields") or ()):
        where = f"{path}.matchFields[{index}]"
        if field.get("operator") not in ("In", "NotIn"):
            errors.append(invalid(f"{where}.operator", field.get("operator", ""), "not a valid selector operator"))
        elif len(field.get("values") or ()) != 1:
            text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            errors.append(required(f"{where}.values", text))
        if field.get("key") != "metadata.name":
            errors.append(invalid(f"{where}.key", field.get("key", ""), "not a valid field selector key"))


def _check_weight(errors: list[FieldError], weight: Any, path: str) -> None:
    if not isinstance(weight, int) or not 1 <= weight <= 100:
        errors.append(invalid(f"{path}.weight", weight or 0, "must be in the range 1-100"))


def _check_pod_term(errors: list[FieldError], term: Object, path: str) -> None:
    check_label_selector(errors, term.get("labelSelector"), f"{path}.labelSelector")
    check_label_selector(errors, term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        errors.extend(invalid(f"{path}.namespace", name, text) for text in names.dns_label(name))
    topology = term.get("topologyKey", "")
    if not topology:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    else:
        errors.extend(invalid(f"{path}.topologyKey", topology, text) for text in names.qualified_name(topology))


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def check_affinity(errors: list[FieldError], affinity: Object | None, path: str) -> None:
    """Node affinity, pod affinity and anti-affinity."""
    if not affinity:
        return
    if node := affinity.get("nodeAffinity"):
        where = f"{path}.nodeAffinity"
        if (needed := node.get(_REQUIRED)) is not None:
            terms = needed.get("nodeSelectorTerms") or ()
            if not terms:
                text = "must have at least one node selector term"
                errors.append(required(f"{where}.{_REQUIRED}.nodeSelectorTerms", text))
            for index, term in enumerate(terms):
                _check_node_term(errors, term, f"{where}.{_REQUIRED}.nodeSelectorTerms[{index}]")
        for index, wish in enumerate(node.get(_PREFERRED) or ()):
            _check_weight(errors, wish.get("weight"), f"{where}.{_PREFERRED}[{index}]")
            preference = wish.get("preference") or {}
            _check_node_term(errors, preference, f"{where}.{_PREFERRED}[{index}].preference")
    for key in ("podAffinity", "podAntiAffinity"):
        if group := affinity.get(key):
            for index, term in enumerate(group.get(_REQUIRED) or ()):
                _check_pod_term(errors, term, f"{path}.{key}.{_REQUIRED}[{index}]")
            for index, wish in enumerate(group.get(_PREFERRED) or ()):
                at = f"{path}.{key}.{_PREFERRED}[{index}]"
                _check_weight(errors, wish.get("weight"), at)
                _check_pod_term(errors, wish.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def check_spread_constraints(errors: list[FieldError], constraints: Sequence[Object], path: str) -> None:
    """Topology spread constraints."""
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(constraints):
        where = f"{path}[{index}]"
        skew = item.get("maxSkew", 0)
        if skew <= 0:
            errors.append(invalid(f"{where}.maxSkew", skew, "must be greater than zero"))
        key, action = item.get("topologyKey", ""), item.get("whenUnsatisfiable", "")
        if not key:
            errors.append(required(f"{where}.topologyKey", "can not be empty"))
        else:
            errors.extend(invalid(f"{where}.topologyKey", key, text) for text in names.qualified_name(key))
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            errors.append(unsupported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway")))
        if (key, action) in seen:
            errors.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        seen.add((key, action))
        domains = item.get("minDomains")
        if domains is not None:
            if domains <= 0:
                errors.append(invalid(f"{where}.minDomains", domains, "must be greater than zero"))
            if action != "DoNotSchedule":
                text = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
                errors.append(invalid(f"{where}.minDomains", domains, text))
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if item.get(policy) not in (None, "Honor", "Ignore"):
                errors.append(unsupported(f"{where}.{policy}", item[policy], ("Honor", "Ignore")))
        check_label_selector(errors, item.get("labelSelector"), f"{where}.labelSelector")


def check_gates(errors: list[FieldError], gates: Sequence[Object], path: str) -> None:
    """Scheduling gates."""
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name, where = gate.get("name", ""), f"{path}[{index}]"
        errors.extend(invalid(where, name, text) for text in names.qualified_name(name))
        if name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
