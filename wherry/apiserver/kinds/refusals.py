"""Refusals of whole requests: exceptions that carry the complete Kubernetes Status."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.apiserver.kinds.findings import FieldError, Object


class Refusal(Exception):
    """A request that must not go through; `status` is the complete Kubernetes Status body."""

    def __init__(self, status: Object) -> None:
        super().__init__(status["message"])
        self.status = status

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return int(self.status["code"])


def failure(code: int, reason: str, message: str, details: Object | None = None) -> Refusal:
    """Any failure; an empty reason is left out, as Kubernetes does for errors it did not foresee."""
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        body["reason"] = reason
    if details is not None:
        body["details"] = details
    body["code"] = code
    return Refusal(body)


def qualified(group: str, plural: str) -> str:
    """`deployments.apps`, `pods`."""
    return f"{plural}.{group}" if group else plural


def details_of(group: str, kind: str, name: str = "", causes: Sequence[Object] = ()) -> Object:
    """The `details` that name an object."""
    details: Object = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    if causes:
        details["causes"] = list(causes)
    return details


def refuse_bad_request(message: str) -> Refusal:
    """400 BadRequest."""
    return failure(400, "BadRequest", message, None)


def refuse_not_found(group: str, plural: str, name: str) -> Refusal:
    """404 NotFound for an object of the given resource."""
    return failure(404, "NotFound", f'{qualified(group, plural)} "{name}" not found', details_of(group, plural, name))


def refuse_conflict(group: str, plural: str, name: str, text: str) -> Refusal:
    """409 Conflict."""
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {text}'
    return failure(409, "Conflict", message, details_of(group, plural, name))


def refuse_forbidden(group: str, plural: str, name: str, text: str, causes: Sequence[Object] = ()) -> Refusal:
    """403 Forbidden, as admission words it."""
    message = f'{qualified(group, plural)} "{name}" is forbidden: {text}'
    return failure(403, "Forbidden", message, details_of(group, plural, name, causes))


def refuse_internal(text: str) -> Refusal:
    """500 InternalError."""
    message = f"Internal error occurred: {text}"
    return failure(500, "InternalError", message, {"causes": [{"message": text}]})


def refuse_invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Refusal:
    """422 Invalid with one cause per finding; equal messages are told once in the text."""
    messages = list(dict.fromkeys(error.message for error in errors))
    text = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    details = details_of(group, kind, name, [error.cause for error in errors])
    return failure(422, "Invalid", f'{qualified(group, kind)} "{name}" is invalid: {text}', details)
