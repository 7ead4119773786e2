"""The parameters of requests: `ListOptions`, `CreateOptions` and their like, read and checked.

Findings and their words follow k8s.io/apimachinery/pkg/apis/meta/v1/validation and internalversion/validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.apiserver.kinds.model import (
    FieldError,
    forbidden,
    invalid,
    refuse_bad_request,
    too_long,
    unsupported,
)
from wherry.apiserver.request import Query
from wherry.apiserver.schema.decode import Validation
from wherry.apiserver.status import internal, invalid_options

_MAX_MANAGER = 128
_UNSIGNED = re.compile(r"[0-9]+")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_POLICIES = ("Foreground", "Background", "Orphan")
_VALIDATIONS: dict[str, Validation] = {"": "Warn", "Ignore": "Ignore", "Warn": "Warn", "Strict": "Strict"}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What creates, updates and patches can be told."""

    dry_run: bool
    manager: str
    validation: Validation
    force: bool = False


def read_write_options(kind: str, query: Query, *, apply: bool = False) -> WriteOptions:
    """Check the parameters of a write; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`."""
    errors = dry_run_errors(query.all("dryRun"))
    manager = query.get("fieldManager")
    if kind == "PatchOptions":
        if apply and not manager:
            errors.append(FieldError("FieldValueRequired", "fieldManager", None, "is required for apply patch"))
        if not apply and "force" in query:
            errors.append(forbidden("force", "may not be specified for non-apply patch"))
    if len(manager.encode()) > _MAX_MANAGER:
        errors.append(too_long("fieldManager", _MAX_MANAGER))
    elif not manager.isprintable():
        errors.append(invalid("fieldManager", manager, "should only contain printable characters"))
    wanted = query.get("fieldValidation")
    if wanted not in _VALIDATIONS:
        errors.append(unsupported("fieldValidation", wanted, ("", "Ignore", "Strict", "Warn")))
    if errors:
        raise invalid_options(kind, errors)
    return WriteOptions("dryRun" in query, manager, _VALIDATIONS[wanted], query.flag("force"))


def dry_run_errors(values: Sequence[Any]) -> list[FieldError]:
    """Findings about `dryRun`."""
    if all(value == "All" for value in values):
        return []
    return [unsupported("dryRun", list(values), ("All",))]


class Preconditions(msgspec.Struct, rename="camel"):
    """What an object must be for a delete to go ahead."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(msgspec.Struct, rename="camel"):
    """The body of a delete; every part can also be given in the query."""

    kind: str = ""
    api_version: str = ""
    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    preconditions: Preconditions | None = None
    dry_run: list[str] | None = None

    def check(self) -> None:
        """Raises Refusal for values that make no sense."""
        errors: list[FieldError] = []
        if self.orphan_dependents is not None and self.propagation_policy is not None:
            text = "orphanDependents and deletionPropagation cannot be both set"
            errors.append(invalid("propagationPolicy", self.propagation_policy, text))
        elif self.propagation_policy is not None and self.propagation_policy not in _POLICIES:
            errors.append(unsupported("propagationPolicy", self.propagation_policy, (*_POLICIES, "nil")))
        errors.extend(dry_run_errors(self.dry_run or ()))
        if errors:
            raise invalid_options("DeleteOptions", errors)


def read_delete_options(body: dict[str, Any] | None, query: Query) -> DeleteOptions:
    """The options of a delete from its decoded body and, where there is none, from the query; raises Refusal."""
    if body is not None:
        try:
            options = msgspec.convert(body, DeleteOptions)
        except msgspec.ValidationError as error:
            raise refuse_bad_request(str(error)) from error
    else:
        grace = query.get("gracePeriodSeconds")
        if grace and not _INTEGER.fullmatch(grace):
            raise refuse_bad_request(f'strconv.ParseInt: parsing "{grace}": invalid syntax')
        options = DeleteOptions(
            grace_period_seconds=int(grace) if grace else None,
            propagation_policy=query.get("propagationPolicy") if "propagationPolicy" in query else None,
            orphan_dependents=query.flag("orphanDependents") if "orphanDependents" in query else None,
            dry_run=query.all("dryRun") or None,
        )
    options.check()
    return options


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What lists and watches can be told; `revision` is None where none was given, `limit` 0 for no limit."""

    label_selector: str
    field_selector: str
    revision: int | None
    match: str
    limit: int
    continue_: str
    timeout: float | None
    bookmarks: bool
    initial_events: bool | None


def read_list_options(query: Query, *, watching: bool) -> ListOptions:
    """Check the parameters of a list or watch; raises Refusal."""
    limit = _number(query, "limit") or 0
    seconds = _number(query, "timeoutSeconds")
    version, match, token = query.get("resourceVersion"), query.get("resourceVersionMatch"), query.get("continue")
    initial = query.flag("sendInitialEvents") if "sendInitialEvents" in query else None
    errors = _watch_errors(match, token, initial) if watching else _list_errors(version, match, token, initial)
    if errors:
        raise invalid_options("ListOptions", errors)
    return ListOptions(
        label_selector=query.get("labelSelector"),
        field_selector=query.get("fieldSelector"),
        revision=_list_revision(version, watching=watching, token=token),
        match=match,
        limit=max(limit, 0),
        continue_=token,
        timeout=float(seconds) if seconds is not None and seconds > 0 else None,
        bookmarks=query.flag("allowWatchBookmarks"),
        initial_events=initial,
    )


def _number(query: Query, name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise refuse_bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _list_revision(text: str, *, watching: bool, token: str) -> int | None:
    if not text:
        return None
    try:
        return parse_revision(text)
    except ValueError as error:
        message = str(error)
        if watching:
            raise internal(message) from error
        raise refuse_bad_request(f"invalid resource version: {message}") from error


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; ValueError in Kubernetes' words."""
    if not _UNSIGNED.fullmatch(text):
        raise ValueError(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _watch_errors(match: str, token: str, initial: bool | None) -> list[FieldError]:
    path = "resourceVersionMatch"
    errors: list[FieldError] = []
    if initial is not None and match != "NotOlderThan":
        errors.append(forbidden(path, f"sendInitialEvents requires setting {path} to NotOlderThan"))
    if match and initial is None:
        errors.append(forbidden(path, f"{path} is forbidden for watch unless sendInitialEvents is provided"))
    if match and match != "NotOlderThan":
        errors.append(unsupported(path, match, ("NotOlderThan",)))
    if token:
        errors.append(forbidden(path, f"{path} is forbidden when continue is provided"))
    return errors


def _list_errors(version: str, match: str, token: str, initial: bool | None) -> list[FieldError]:
    path = "resourceVersionMatch"
    errors: list[FieldError] = []
    if match:
        if not version:
            errors.append(forbidden(path, f"{path} is forbidden unless resourceVersion is provided"))
        if token:
            errors.append(forbidden(path, f"{path} is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            errors.append(unsupported(path, match, ("Exact", "NotOlderThan", "")))
        elif match == "Exact" and version == "0":
            errors.append(forbidden(path, f'{path} "exact" is forbidden for resourceVersion "0"'))
    if initial is not None:
        errors.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


__all__ = [
    "DeleteOptions",
    "ListOptions",
    "Preconditions",
    "WriteOptions",
    "dry_run_errors",
    "parse_revision",
    "read_delete_options",
    "read_list_options",
    "read_write_options",
]
