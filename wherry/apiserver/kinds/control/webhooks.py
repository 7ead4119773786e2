"""The rows of admission webhook configurations; `wherry.apiserver.webhooks` asks what they name."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from wherry.apiserver.kinds import names, printing
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
    invalid,
    required,
    unsupported,
)

_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_REINVOCATION = ("IfNeeded", "Never")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_URL_FORM = "https://host[:port][/path]"


def _default(obj: Object) -> None:
    for webhook in obj.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        default_matching(webhook)
        webhook.setdefault("timeoutSeconds", 10)
        default_rules(webhook.get("rules"))
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def _default_mutating(obj: Object) -> None:
    _default(obj)
    for webhook in obj.get("webhooks") or ():
        webhook.setdefault("reinvocationPolicy", "Never")


def _check_name(errors: list[FieldError], name: str, path: str) -> None:
    if not name:
        errors.append(required(path))
        return
    found = names.dns_subdomain(name)
    if found:
        errors.append(invalid(path, name, ",".join(found)))
    elif name.count(".") < 2:
        errors.append(invalid(path, name, "should be a domain with at least three segments separated by dots"))


def _check_url(errors: list[FieldError], text: str, path: str) -> None:
    try:
        url = urlsplit(text)
    except ValueError as error:
        errors.append(required(path, f"url must be a valid URL: {error}; desired format: {_URL_FORM}"))
        return
    if url.scheme != "https":
        errors.append(invalid(path, url.scheme, f"'https' is the only allowed URL scheme; desired format: {_URL_FORM}"))
    if not url.netloc:
        errors.append(invalid(path, url.netloc, f"host must be specified; desired format: {_URL_FORM}"))
    if url.username is not None:
        errors.append(invalid(path, url.username, "user information is not permitted in the URL"))
    if url.fragment:
        errors.append(invalid(path, url.fragment, "fragments are not permitted in the URL"))
    if url.query:
        errors.append(invalid(path, url.query, "query parameters are not permitted in the URL"))


def _check_service(errors: list[FieldError], service: Object, path: str) -> None:
    if not service.get("name"):
        errors.append(required(f"{path}.name", "service name is required"))
    if not service.get("namespace"):
        errors.append(required(f"{path}.namespace", "service namespace is required"))
    port = service.get("port", 443)
    for text in names.port_number(port):
        errors.append(invalid(f"{path}.port", port, f"port is not valid: {text}"))
    where = service.get("path")
    if where is None or where == "/":
        return
    if not where.startswith("/"):
        errors.append(invalid(f"{path}.path", where, "must start with a '/'"))
        return
    steps = where.removesuffix("/").split("/")[1:]
    for index, step in enumerate(steps):
        if not step:
            errors.append(invalid(f"{path}.path", where, f"segment[{index}] may not be empty"))
        for text in names.dns_subdomain(step) if step else ():
            errors.append(invalid(f"{path}.path", where, f"segment[{index}]: {text}"))


def _check_versions(errors: list[FieldError], versions: list[str], path: str) -> None:
    listed = ", ".join(_REVIEW_VERSIONS)
    if not versions:
        errors.append(required(path, f"must specify one of {listed}"))
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            errors.append(invalid(f"{path}[{index}]", version, "duplicate version"))
        errors.extend(invalid(f"{path}[{index}]", version, text) for text in names.dns_1035_label(version))
    if not set(versions) & set(_REVIEW_VERSIONS):
        errors.append(invalid(path, versions, f"must include at least one of {listed}"))


def _check(errors: list[FieldError], webhook: Object, path: str) -> None:
    _check_name(errors, webhook.get("name", ""), f"{path}.name")
    for index, rule in enumerate(webhook.get("rules") or ()):
        check_rule(errors, rule, f"{path}.rules[{index}]")
    check_failure_policy(errors, webhook, path)
    effects = webhook.get("sideEffects")
    if effects is None:
        errors.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(_SIDE_EFFECTS)}"))
    elif effects not in _SIDE_EFFECTS:
        errors.append(unsupported(f"{path}.sideEffects", effects, _SIDE_EFFECTS))
    seconds = webhook.get("timeoutSeconds", 10)
    if not 1 <= seconds <= 30:
        text = "the timeout value must be between 1 and 30 seconds"
        errors.append(invalid(f"{path}.timeoutSeconds", seconds, text))
    check_matching(errors, webhook, path)
    again = webhook.get("reinvocationPolicy")
    if again is not None and again not in _REINVOCATION:
        errors.append(unsupported(f"{path}.reinvocationPolicy", again, _REINVOCATION))
    client = webhook.get("clientConfig") or {}
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        errors.append(required(f"{path}.clientConfig", "exactly one of url or service is required"))
    elif url is not None:
        _check_url(errors, url, f"{path}.clientConfig.url")
    elif service is not None:
        _check_service(errors, service, f"{path}.clientConfig.service")
    _check_versions(errors, webhook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions")
    check_conditions(errors, webhook.get("matchConditions"), f"{path}.matchConditions")


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, webhook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{index}]", webhook.get("name", "")
        _check(errors, webhook, path)
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _changed(new: Object, old: Object) -> bool:
    return bool(new.get("webhooks") != old.get("webhooks"))


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), len(obj.get("webhooks") or ()), printing.age(obj, now)]


_COLUMNS = (
    NAME_COLUMN,
    Column("Webhooks", "integer", "", "Webhooks indicates the number of webhooks registered in this configuration"),
    AGE_COLUMN,
)

VALIDATING_WEBHOOKS = Resource(
    group=GROUP,
    version="v1",
    kind="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    singular="validatingwebhookconfiguration",
    namespaced=False,
    categories=("api-extensions",),
    default=_default,
    validate=_validate,
    validate_update=_validate_update,
    generation=_changed,
    columns=_COLUMNS,
    cells=_cells,
)
MUTATING_WEBHOOKS = Resource(
    group=GROUP,
    version="v1",
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    singular="mutatingwebhookconfiguration",
    namespaced=False,
    categories=("api-extensions",),
    default=_default_mutating,
    validate=_validate,
    validate_update=_validate_update,
    generation=_changed,
    columns=_COLUMNS,
    cells=_cells,
)
