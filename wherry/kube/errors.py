"""Errors of the Kubernetes API, built once from ``Status`` bodies; callers catch kinds and never compare codes.

::

    ApiError
     ├─ BadRequest                400
     ├─ Unauthorized              401
     ├─ Forbidden                 403
     ├─ NotFound                  404
     ├─ MethodNotAllowed          405
     ├─ AlreadyExists             409 reason AlreadyExists
     ├─ Conflict                  409 any other reason
     ├─ Gone                      410 (also reason Expired: list again)
     ├─ Invalid                   422
     ├─ TooManyRequests           429
     └─ ServerUnavailable         5xx, and no answer at all
"""

from __future__ import annotations

from typing import Any

import msgspec


class ApiError(Exception):
    """The server refused a request; ``status`` is the body as sent (or one made up from the HTTP status)."""

    def __init__(self, status: dict[str, Any]) -> None:
        self.status = status
        super().__init__(status.get("message") or status.get("reason") or f"HTTP status {self.code}")

    @property
    def code(self) -> int:
        """The HTTP status code; 0 when the server did not answer."""
        return int(self.status.get("code") or 0)

    @property
    def reason(self) -> str:
        """The machine-readable reason, such as ``NotFound``."""
        return str(self.status.get("reason") or "")

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait, if it does."""
        seconds = (self.status.get("details") or {}).get("retryAfterSeconds")
        return float(seconds) if seconds else None

    @staticmethod
    def from_status(status: dict[str, Any]) -> ApiError:
        """The error of the kind that a ``Status`` body names by code and reason."""
        code, reason = int(status.get("code") or 0), status.get("reason")
        if code == 409:
            return (AlreadyExists if reason == "AlreadyExists" else Conflict)(status)
        if reason == "Expired":
            return Gone(status)
        if code >= 500 or code == 0:
            return ServerUnavailable(status)
        return _BY_CODE.get(code, ApiError)(status)

    @staticmethod
    def from_response(code: int, body: bytes, *, retry_after: str | None = None) -> ApiError:
        """The error of an HTTP answer, whose body is a ``Status`` or any text."""
        status: dict[str, Any] = {}
        try:
            decoded = msgspec.json.decode(body)
            if isinstance(decoded, dict) and decoded.get("kind") == "Status":
                status = decoded
        except msgspec.DecodeError:
            status = {"message": body[:1000].decode(errors="replace").strip()}
        status = {"kind": "Status", "status": "Failure"} | status | {"code": code}
        if retry_after is not None and retry_after.isdigit():
            status["details"] = {"retryAfterSeconds": int(retry_after)} | (status.get("details") or {})
        return ApiError.from_status(status)


class BadRequest(ApiError):
    """The request made no sense to the server."""


class Unauthorized(ApiError):
    """No or wrong credentials."""


class Forbidden(ApiError):
    """Known user, not allowed."""


class NotFound(ApiError):
    """No such object, or no such kind."""


class MethodNotAllowed(ApiError):
    """The kind does not have this verb."""


class AlreadyExists(ApiError):
    """An object of that name exists."""


class Conflict(ApiError):
    """The object changed meanwhile, or a precondition does not hold: read again."""


class Gone(ApiError):
    """The resourceVersion or continue token is too old: list again."""


class Invalid(ApiError):
    """The object failed validation; ``status["details"]["causes"]`` names the fields."""


class TooManyRequests(ApiError):
    """Come back after ``retry_after`` seconds."""


class ServerUnavailable(ApiError):
    """The server failed, or could not be reached (code 0)."""


class ObjectDecodeError(Exception):
    """The server sent something that is not an object of the kind asked for."""


_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
