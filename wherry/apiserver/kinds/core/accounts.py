"""The row of service accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    Subresource,
    invalid,
)

_HOUR = 3600
_MIN_SECONDS = 600
_MAX_SECONDS = 1 << 32


def _default_token_request(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("expirationSeconds", _HOUR)


def _validate_token_request(obj: Object) -> list[FieldError]:
    seconds, path = obj["spec"]["expirationSeconds"], "spec.expirationSeconds"
    if seconds < _MIN_SECONDS:
        return [invalid(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > _MAX_SECONDS:
        return [invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), len(obj.get("secrets") or ()), printing.age(obj, now)]


SERVICE_ACCOUNTS = Resource(
    group="",
    version="v1",
    kind="ServiceAccount",
    plural="serviceaccounts",
    singular="serviceaccount",
    namespaced=True,
    short_names=("sa",),
    revalidates_metadata=True,
    returns_deleted=True,
    columns=(NAME_COLUMN, Column("Secrets", description=".secrets"), AGE_COLUMN),
    cells=_cells,
    subresources=(
        Subresource(
            name="token",
            verbs=("create",),
            kind="TokenRequest",
            style="create",
            group="authentication.k8s.io",
            version="v1",
            default=_default_token_request,
            validate=_validate_token_request,
        ),
    ),
)
