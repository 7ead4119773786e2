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


def _status(code: int, reason: str, message: str, details: Object | None) -> Object:
    body: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details is not None:
        body["details"] = details
    body["code"] = code
    return body


def _details(name: str, group: str, kind: str, causes: Sequence[Object] = ()) -> Object:
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
    return Refusal(_status(400, "BadRequest", message, None))


def refuse_not_found(group: str, plural: str, name: str) -> Refusal:
    """404 NotFound for an object of the given resource."""
    resource = f"{plural}.{group}" if group else plural
    return Refusal(_status(404, "NotFound", f'{resource} "{name}" not found', _details(name, group, plural)))


def refuse_conflict(group: str, plural: str, name: str, text: str) -> Refusal:
    """409 Conflict."""
    resource = f"{plural}.{group}" if group else plural
    message = f'Operation cannot be fulfilled on {resource} "{name}": {text}'
    return Refusal(_status(409, "Conflict", message, _details(name, group, plural)))


def refuse_forbidden(group: str, plural: str, name: str, text: str, causes: Sequence[Object] = ()) -> Refusal:
    """403 Forbidden, as admission words it."""
    resource = f"{plural}.{group}" if group else plural
    message = f'{resource} "{name}" is forbidden: {text}'
    return Refusal(_status(403, "Forbidden", message, _details(name, group, plural, causes)))


def refuse_internal(text: str) -> Refusal:
    """500 InternalError."""
    message = f"Internal error occurred: {text}"
    return Refusal(_status(500, "InternalError", message, {"causes": [{"message": text}]}))


def refuse_invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Refusal:
    """422 Invalid with one cause per finding; equal messages are told once in the text."""
    messages = list(dict.fromkeys(error.message for error in errors))
    text = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    qualified = f"{kind}.{group}" if group else kind
    details = _details(name, group, kind, [error.cause for error in errors])
    return Refusal(_status(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details))
