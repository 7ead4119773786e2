"""patch: JSON patch, merge patch and strategic merge patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.apiserver.core import Call
from wherry.apiserver.handlers.body import read, settle, warn
from wherry.apiserver.handlers.objects import retype, schema_of
from wherry.apiserver.handlers.options import WriteOptions, read_write_options
from wherry.apiserver.handlers.update import Change, answer, replace
from wherry.apiserver.kinds.model import INVALID, FieldError, Object, Refusal, refuse_bad_request, refuse_invalid
from wherry.apiserver.negotiate import negotiate
from wherry.apiserver.patch.gofmt import show
from wherry.apiserver.patch.json_patch import MAX_OPERATIONS, PatchFailed, json_patch
from wherry.apiserver.patch.merge_patch import merge_patch
from wherry.apiserver.patch.strategic import BadFormat, StrategicError, Unprocessable, strategic_merge
from wherry.apiserver.request import Answer
from wherry.apiserver.schema.decode import JsonError, parse
from wherry.apiserver.schema.model import Schema
from wherry.apiserver.schema.scalars import json_kind
from wherry.apiserver.status import failure, internal, unsupported_media_type

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_OPERATION = frozenset({"op", "path", "from", "value"})


@dataclass(frozen=True, slots=True)
class Target:
    """What is patched: its kind, its schema (None for custom kinds), and how it gets its types back."""

    api_version: str
    kind: str
    schema: Schema | None
    retype: Callable[[Any], Object]


async def patch(call: Call) -> Answer:
    """Change an object, or the part that a subresource is about, as the request's body says."""
    served = call.served
    row = served.resource
    form = negotiate(call.request.headers.get("accept", ""))
    options = read_write_options("PatchOptions", call.request.query)
    schema = None if served.custom else schema_of(served)
    target = Target(row.api_version, row.kind, schema, lambda value: retype(call, value, options.validation))
    change = await read_patch(call, target, options)
    return answer(call, await replace(call, change, options), form)


def plain_target(call: Call, group: str, version: str, kind: str, schema: Schema, options: WriteOptions) -> Target:
    """A projection of an object that has a kind of its own, such as Scale."""

    def typed(value: Any) -> Object:
        return settle(
            call.request, value, schema, options.validation, findings=[], kind=kind, version=version
        )

    return Target(f"{group}/{version}", kind, schema, typed)


async def read_patch(call: Call, target: Target, options: WriteOptions) -> Change:
    """The change that the request's body asks for; raises Refusal."""
    content_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    accepted = (JSON_PATCH, MERGE_PATCH) if target.schema is None else (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
    if content_type not in accepted:
        raise unsupported_media_type(accepted)
    body = _parse(await read(call.request), content_type)
    if content_type == JSON_PATCH:
        _check_members(call, body, options)
        return _by_operations(target, body)
    if content_type == MERGE_PATCH:
        return _by_merge(target, body)
    assert target.schema is not None  # else not accepted
    return _by_strategy(target, body, target.schema)


def _parse(data: bytes, content_type: str) -> Any:
    lead = "error decoding patch: " if content_type != STRATEGIC_PATCH else ""
    try:
        value, _ = parse(data, "application/json")
    except JsonError as error:
        raise refuse_bad_request(f"{lead}{error}") from error
    if content_type == JSON_PATCH:
        if not isinstance(value, list) or not all(isinstance(operation, dict) for operation in value):
            kind = json_kind(value)
            text = f"json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
            raise refuse_bad_request(lead + text)
        if len(value) > MAX_OPERATIONS:
            text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(value)}"
            raise failure(413, "RequestEntityTooLarge", text, {})
    elif not isinstance(value, dict):
        kind = json_kind(value)
        text = f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        raise refuse_bad_request(lead + text)
    return value


def _check_members(call: Call, operations: list[dict[str, Any]], options: WriteOptions) -> None:
    unknown = [
        f'json patch unknown field "[{index}].{key}"'
        for index, operation in enumerate(operations)
        for key in operation
        if key not in _OPERATION
    ]
    if unknown and options.validation == "Strict":
        raise _unfit(operations, "strict decoding error: " + ", ".join(unknown))
    if options.validation == "Warn":
        for text in unknown:
            warn(call.request, text)


def _by_operations(target: Target, operations: list[dict[str, Any]]) -> Change:
    def change(old: Object) -> Object:
        try:
            patched = json_patch(old, operations)
        except PatchFailed as error:
            text = "the server rejected our request due to an error in our request"
            raise failure(422, "Invalid", text, {}) from error
        return _settle(target, patched, lambda: _text(patched))

    return change


def _by_merge(target: Target, body: dict[str, Any]) -> Change:
    def change(old: Object) -> Object:
        patched = merge_patch(old, body)
        return _settle(target, patched, lambda: _text(patched))

    return change


def _by_strategy(target: Target, body: dict[str, Any], schema: Schema) -> Change:
    def change(old: Object) -> Object:
        try:
            patched = strategic_merge(old, body, schema)
        except BadFormat as error:
            raise refuse_bad_request(str(error)) from error
        except Unprocessable as error:
            raise _unfit(show(body), str(error)) from error
        except StrategicError as error:
            raise internal(str(error)) from error
        return _settle(target, patched, lambda: show(body))

    return change


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _settle(target: Target, patched: Any, shown: Callable[[], str]) -> Object:
    """Type the patched object; what is wrong with it is the patch's fault, so the answer quotes `shown`."""
    if not isinstance(patched, dict):
        raise _unfit(shown(), f"json: cannot unmarshal {json_kind(patched)} into Go value")
    version, kind = patched.get("apiVersion") or target.api_version, patched.get("kind") or target.kind
    if (version, kind) != (target.api_version, target.kind):
        text = f'no kind "{kind}" is registered for version "{version}"'
        short = str(version).rpartition("/")[2]
        raise refuse_bad_request(f'{kind} in version "{short}" cannot be handled as a {target.kind}: {text}')
    patched["apiVersion"], patched["kind"] = version, kind
    try:
        return target.retype(patched)
    except Refusal as error:
        if error.code != 400:
            raise
        message = error.status["message"]
        _, _, detail = message.partition(f"cannot be handled as a {target.kind}: ")
        raise _unfit(shown(), detail or message) from error


def _unfit(value: object, detail: str) -> Refusal:
    return refuse_invalid("", "", "", [FieldError(INVALID, "patch", value, detail)])
