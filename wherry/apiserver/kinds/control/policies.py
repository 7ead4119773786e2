"""The rows of admission policies in CEL and their bindings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import drop_status, keep_spec, keep_status, spec_changed, status
from wherry.apiserver.kinds.control.matching import (
    GROUP,
    check_conditions,
    check_failure_policy,
    check_matching,
    check_rule,
    default_matching,
    default_rules,
)
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    duplicate,
    forbidden,
    invalid,
    required,
    unsupported,
)

_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_NOT_FOUND = ("Allow", "Deny")


def _default_match(match: Object | None) -> None:
    if match is not None:
        default_matching(match)
        default_rules(match.get("resourceRules"))
        default_rules(match.get("excludeResourceRules"))


def _default_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _default_match(spec.get("matchConstraints"))


def _check_match(errors: list[FieldError], match: Object, path: str, *, rules: bool) -> None:
    if rules and not match.get("resourceRules"):
        errors.append(required(f"{path}.resourceRules"))
    for key in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(key) or ()):
            check_rule(errors, rule, f"{path}.{key}[{index}]")
    check_matching(errors, match, path)


def _check_validation(errors: list[FieldError], one: Object, path: str) -> None:
    if not str(one.get("expression", "")).strip():
        errors.append(required(f"{path}.expression", "expression is not specified"))
    message = one.get("message", "")
    if message and not message.strip():
        text = "message must be non-empty if specified"
        errors.append(invalid(f"{path}.message", message, text))
    elif "\n" in message.strip():
        errors.append(invalid(f"{path}.message", message, "message must not contain line breaks"))
    reason = one.get("reason")
    if reason is not None and reason not in _REASONS:
        errors.append(unsupported(f"{path}.reason", reason, _REASONS))


def _check_named(errors: list[FieldError], items: list[Object], path: str, key: str, text: str) -> None:
    """Entries that have a unique key and an expression."""
    seen: set[str] = set()
    for index, one in enumerate(items):
        name = one.get(key, "")
        if not name:
            errors.append(required(f"{path}[{index}].{key}"))
        elif name in seen:
            errors.append(duplicate(f"{path}[{index}].{key}", name))
        seen.add(name)
        if not str(one.get(text, "")).strip():
            errors.append(required(f"{path}[{index}].{text}"))


def _validate_policy(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    check_failure_policy(errors, spec, "spec")
    kind = spec.get("paramKind")
    for key in ("apiVersion", "kind") if kind is not None else ():
        if not kind.get(key):
            errors.append(required(f"spec.paramKind.{key}"))
    match = spec.get("matchConstraints")
    if match is None:
        errors.append(required("spec.matchConstraints"))
    else:
        _check_match(errors, match, "spec.matchConstraints", rules=True)
    check_conditions(errors, spec.get("matchConditions"), "spec.matchConditions")
    _check_named(errors, spec.get("variables") or [], "spec.variables", "name", "expression")
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        text = "validations or auditAnnotations must contain at least one item"
        errors += [required("spec.validations", text), required("spec.auditAnnotations", text)]
    for index, one in enumerate(validations):
        _check_validation(errors, one, f"spec.validations[{index}]")
    _check_named(errors, annotations, "spec.auditAnnotations", "key", "valueExpression")
    return errors


def _update_policy(new: Object, old: Object) -> list[FieldError]:
    return _validate_policy(new)


def _policy_cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else printing.UNSET
    return [printing.name_of(obj), len(spec.get("validations") or ()), shown, printing.age(obj, now)]


ADMISSION_POLICIES = Resource(
    group=GROUP,
    version="v1",
    kind="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    singular="validatingadmissionpolicy",
    namespaced=False,
    categories=("api-extensions",),
    default=_default_policy,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate_policy,
    validate_update=_update_policy,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Validations", "integer", "", "Validations indicates the number of validation rules defined in this "
               "configuration"),
        Column("ParamKind", "string", "", "ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE_COLUMN,
    ),
    cells=_policy_cells,
    subresources=(status("ValidatingAdmissionPolicy", prepare=keep_spec),),
)  # fmt: skip


# --- bindings ---------------------------------------------------------------------------------------------------------


def _default_binding(obj: Object) -> None:
    _default_match(obj.setdefault("spec", {}).get("matchResources"))


def _check_parameter(errors: list[FieldError], reference: Object, path: str) -> None:
    name, selector = reference.get("name"), reference.get("selector")
    if name and selector is not None:
        text = "name and selector are mutually exclusive"
        errors += [forbidden(f"{path}.name", text), forbidden(f"{path}.selector", text)]
    elif not name and selector is None:
        errors.append(required(path, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    if not action:
        errors.append(required(f"{path}.parameterNotFoundAction"))
    elif action not in _NOT_FOUND:
        errors.append(unsupported(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow")))


def _validate_binding(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    name = spec.get("policyName", "")
    if not name:
        errors.append(required("spec.policyName"))
    else:
        errors.extend(invalid("spec.policyName", name, text) for text in names.dns_subdomain(name))
    if (reference := spec.get("paramRef")) is not None:
        _check_parameter(errors, reference, "spec.paramRef")
    if (match := spec.get("matchResources")) is not None:
        _check_match(errors, match, "spec.matchResources", rules=False)
    actions = spec.get("validationActions") or []
    if not actions:
        errors.append(required("spec.validationActions"))
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            errors.append(unsupported(f"spec.validationActions[{index}]", action, _ACTIONS))
        elif action in actions[:index]:
            errors.append(duplicate(f"spec.validationActions[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        text = "must not contain both Deny and Warn (repeating the same validation failure information in the API "
        errors.append(invalid("spec.validationActions", actions, text + "response and headers serves no purpose)"))
    return errors


def _update_binding(new: Object, old: Object) -> list[FieldError]:
    return _validate_binding(new)


def _binding_cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef")
    shown = printing.UNSET
    if reference and reference.get("name"):
        shown = f"{reference.get('namespace') or '*'}/{reference['name']}"
    elif reference and reference.get("selector") is not None:
        shown = printing.label_selector(reference["selector"])
    return [printing.name_of(obj), spec.get("policyName", ""), shown, printing.age(obj, now)]


ADMISSION_POLICY_BINDINGS = Resource(
    group=GROUP,
    version="v1",
    kind="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    singular="validatingadmissionpolicybinding",
    namespaced=False,
    categories=("api-extensions",),
    default=_default_binding,
    validate=_validate_binding,
    validate_update=_update_binding,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("PolicyName", "string", "", "PolicyName indicates the policy definition which the policy binding "
               "binded to"),
        Column("ParamRef", "string", "", "ParamRef indicates the param resource which sets the configration param"),
        AGE_COLUMN,
    ),
    cells=_binding_cells,
)  # fmt: skip
