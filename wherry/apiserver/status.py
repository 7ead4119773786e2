"""The Kubernetes Status answers that the generic handlers give, worded as Kubernetes words them.

All of them are raised as `wherry.apiserver.kinds.model.Refusal`, the one exception that carries an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.apiserver.kinds.model import FieldError, Refusal, refuse_invalid
from wherry.apiserver.kinds.refusals import details_of, failure, qualified

__all__ = [
    "already_exists",
    "details_of",
    "expired",
    "failure",
    "internal",
    "invalid_options",
    "method_not_allowed",
    "not_consumed",
    "not_found_resource",
    "success",
    "too_large",
    "too_large_version",
    "unauthorized",
    "unavailable",
    "unsupported_media_type",
]

Object = dict[str, Any]


def not_found_resource() -> Refusal:
    """404 for a path that names no resource of ours."""
    return failure(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> Refusal:
    """405."""
    text = "the server does not allow this method on the requested resource"
    return failure(405, "MethodNotAllowed", text, {})


def already_exists(group: str, plural: str, name: str, *, deleting: bool = False) -> Refusal:
    """409 AlreadyExists; `deleting` where the object of that name is about to go."""
    text = f'{qualified(group, plural)} "{name}" already exists'
    if deleting:
        text = "object is being deleted: " + text
    return failure(409, "AlreadyExists", text, details_of(group, plural, name))


def unauthorized() -> Refusal:
    """401."""
    return failure(401, "Unauthorized", "Unauthorized")


def internal(message: str) -> Refusal:
    """500 without a reason, as Kubernetes answers what its code did not foresee."""
    return failure(500, "", message)


def unsupported_media_type(accepted: Sequence[str]) -> Refusal:
    """415."""
    listed = ", ".join(accepted)
    text = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return failure(415, "UnsupportedMediaType", text)


def not_consumed() -> Refusal:
    """415 where the route itself takes no body of that type."""
    return failure(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def too_large() -> Refusal:
    """413 for a body over the limit."""
    return failure(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", {})


def expired(message: str) -> Refusal:
    """410 for a resourceVersion that left the history window."""
    return failure(410, "Expired", message)


def too_large_version(asked: int, current: int) -> Refusal:
    """504 for a resourceVersion that this server has not reached."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return failure(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {current}", details)


def unavailable(message: str) -> Refusal:
    """503."""
    return failure(503, "ServiceUnavailable", message)


def invalid_options(kind: str, errors: Sequence[FieldError]) -> Refusal:
    """422 about the parameters of a request (`ListOptions` and its like)."""
    return refuse_invalid("meta.k8s.io", kind, "", errors)


def success(*, details: Object | None = None, code: int | None = None) -> Object:
    """The Status of a request that succeeded and has no object to show."""
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        body["details"] = details
    if code is not None:
        body["code"] = code
    return body
