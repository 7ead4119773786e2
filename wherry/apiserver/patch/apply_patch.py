"""One PATCH request, from the bytes of its body to the patched object or the Status that refuses it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from wherry.apiserver.kinds.model import Refusal, invalid, refuse_bad_request, refuse_invalid
from wherry.apiserver.patch import json_patch as rfc6902
from wherry.apiserver.patch.converter import convert
from wherry.apiserver.patch.gofmt import show
from wherry.apiserver.patch.strategic import BadFormat, StrategicError, Unprocessable, strategic_merge
from wherry.apiserver.schema.decode import Decoded, DecodeError, Validation, Walk, decode_value
from wherry.apiserver.schema.gojson import Doubled, JsonError, check_depth, loads, plain
from wherry.apiserver.schema.model import Field, Schema, Type
from wherry.apiserver.schema.scalars import json_kind
from wherry.apiserver.status import failure, internal, unsupported_media_type
from wherry.kube.patches import merge_patch

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Patched:
    """The patched object, decoded and pruned where it has a schema, and the findings for Warning headers."""

    obj: Object
    warnings: list[str] = field(default_factory=list)


def apply_patch(
    content_type: str, original: Object, patch: bytes, schema: Schema | None, *, validation: Validation = "Warn"
) -> Patched:
    """Apply the body ``patch`` to ``original``, which is not changed (apply patches are `schema.apply`'s).

    ``schema`` is None for custom kinds: there is no strategic merge for them, and the result is not decoded (the kind's
    own schema does that). Raises Refusal: 400 for a broken body, 422 where it cannot be applied or its result is no
    object of the kind, 415 for another media type.
    """
    media_type = content_type.partition(";")[0].strip()
    if media_type == JSON_PATCH:
        operations, findings = _operations(patch)
        try:
            document = rfc6902.json_patch(original, operations)
            check_depth(document)
        except (rfc6902.PatchFailed, JsonError, RecursionError):
            raise unprocessable() from None
        if not isinstance(document, dict):
            raise unprocessable()
        return _decoded(document, schema, validation, findings, _Touched.by_operations(operations))
    if media_type == MERGE_PATCH:
        body = _object(patch, "error decoding patch: ")
        document = merge_patch(original, plain(body))
        findings = [f"json patch {finding}" for finding in _doubled(body, "")]
        return _decoded(document, schema, validation, findings, _Touched.by_document(body))
    if media_type == STRATEGIC_MERGE_PATCH and schema is not None:
        return _strategic(original, patch, schema, validation)
    accepted = [JSON_PATCH, MERGE_PATCH, *([STRATEGIC_MERGE_PATCH] if schema is not None else []), APPLY]
    raise unsupported_media_type(accepted)


def unprocessable() -> Refusal:
    """422 for a well-formed patch that cannot be carried out."""
    return failure(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _strategic(original: Object, patch: bytes, schema: Schema, validation: Validation) -> Patched:
    body = _object(patch, "")
    findings = _doubled(body, "")
    body = plain(body)
    try:
        merged = strategic_merge(original, body, schema)
    except BadFormat as error:
        raise refuse_bad_request(str(error)) from None
    except Unprocessable:
        raise unprocessable() from None
    except StrategicError as error:
        raise internal(str(error)) from None
    try:
        decoded = convert(merged, schema, validation)
    except DecodeError as error:
        raise _refused(show(body), str(error)) from None
    return _checked(decoded, findings, validation, lambda: show(body))


def _decoded(
    document: Object, schema: Schema | None, validation: Validation, findings: list[str], touched: _Touched
) -> Patched:
    """Decode the patched document as the server decodes any body."""
    if schema is None:
        return _checked(Decoded(document), findings, validation, lambda: touched.text(document))
    try:
        decoded = decode_value(document, schema, validation)
    except DecodeError as error:
        raise _refused(touched.text(document), str(error)) from None
    return _checked(decoded, findings, validation, lambda: touched.text(document))


def _checked(decoded: Decoded, findings: list[str], validation: Validation, value: Any) -> Patched:
    if validation == "Strict" and (errors := [*findings, *decoded.errors]):
        raise _refused(value(), "strict decoding error: " + ", ".join(errors))
    return Patched(decoded.obj, [*findings, *decoded.warnings] if validation == "Warn" else [])


def _refused(value: str, detail: str) -> Refusal:
    return refuse_invalid("", "", "", [invalid("patch", value, detail)])


_TEXT = Schema(Type.STRING, go="string")
_FIELDS = {
    name: Field(name, _TEXT if name != "value" else Schema(Type.ANY, go="interface {}"), pointer=True)
    for name in ("op", "from", "path", "value")
}
_OPERATION = Schema(Type.OBJECT, go="handlers.jsonPatchOp", load_fields=lambda: _FIELDS)


def _operations(patch: bytes) -> tuple[list[Object], list[str]]:
    """Read a JSON patch's operations, and what is unknown or doubled in them."""
    prefix = "error decoding patch: "
    try:
        body = loads(patch)
    except JsonError as error:
        raise refuse_bad_request(f"{prefix}{error}") from None
    if not isinstance(body, list):
        go = "[]handlers.jsonPatchOp"
        raise refuse_bad_request(f"{prefix}json: cannot unmarshal {json_kind(body)} into Go value of type {go}")
    walk = Walk([])
    try:
        walk.list(body, _OPERATION)
    except DecodeError as error:
        raise refuse_bad_request(f"{prefix}{error}") from None
    if len(body) > rfc6902.MAX_OPERATIONS:
        limit = f"The allowed maximum operations in a JSON patch is {rfc6902.MAX_OPERATIONS}, got {len(body)}"
        raise failure(413, "RequestEntityTooLarge", f"Request entity too large: {limit}", {})
    return [operation or {} for operation in plain(body)], [f"json patch {finding}" for finding in walk.findings]


def _object(patch: bytes, prefix: str) -> Object:
    try:
        body = loads(patch)
    except JsonError as error:
        raise refuse_bad_request(f"{prefix}{error}") from None
    if not isinstance(body, dict):
        go = "map[string]interface {}"
        raise refuse_bad_request(f"{prefix}json: cannot unmarshal {json_kind(body)} into Go value of type {go}")
    return body


def _doubled(value: Any, path: str) -> list[str]:
    """List the keys that stand twice anywhere in a body."""
    found: list[str] = []
    if isinstance(value, dict):
        if isinstance(value, Doubled):
            found = [f'duplicate field "{f"{path}.{key}".removeprefix(".")}"' for key in value.keys_again]
        for key, item in value.items():
            found.extend(_doubled(item, f"{path}.{key}"))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found.extend(_doubled(item, f"{path}[{index}]"))
    return found


class _Touched:
    """Which objects a patch went into. Kubernetes writes those with sorted keys when it quotes a refused result."""

    def __init__(self) -> None:
        self._below: dict[str, _Touched] = {}

    @classmethod
    def by_operations(cls, operations: list[Object]) -> _Touched:
        root = cls()
        for operation in operations:
            for pointer in (operation.get("path"), operation.get("from")):
                if isinstance(pointer, str):
                    here = root
                    for token in pointer.split("/")[1:-1]:
                        here = here._below.setdefault(token.replace("~1", "/").replace("~0", "~"), cls())
        return root

    @classmethod
    def by_document(cls, patch: Any) -> _Touched:
        root = cls()
        for key, value in patch.items():
            if isinstance(value, dict):
                root._below[key] = cls.by_document(value)
        return root

    def text(self, document: Any) -> str:
        return json.dumps(self._ordered(document), separators=(",", ":"), ensure_ascii=False)

    def _ordered(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._part(key, value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [self._part(str(index), item) for index, item in enumerate(value)]
        return value

    def _part(self, key: str, value: Any) -> Any:
        below = self._below.get(key)
        return value if below is None else below._ordered(value)
