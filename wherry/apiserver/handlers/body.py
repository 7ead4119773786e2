"""From the bytes of a request to an object of the kind the path asks for."""

from __future__ import annotations

import json
from typing import Any

from wherry.apiserver.core import Call
from wherry.apiserver.kinds.golang import type_name
from wherry.apiserver.kinds.model import Object, Refusal, refuse_bad_request
from wherry.apiserver.negotiate import ACCEPTED
from wherry.apiserver.request import JSON, PROTOBUF, YAML, Request, TooLarge
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.decode import Decoded, DecodeError, JsonError, Validation, decode_value, parse
from wherry.apiserver.schema.model import Schema
from wherry.apiserver.schema.scalars import json_kind
from wherry.apiserver.status import too_large, unsupported_media_type

_SHOWN = 1024  # bytes of a broken body that the answer repeats


async def read(request: Request) -> bytes:
    """The body; raises Refusal (413) over the limit."""
    try:
        return await request.read_body()
    except TooLarge as error:
        raise too_large() from error


def media_type(request: Request) -> str:
    """The body's media type; none at all means JSON. Raises Refusal (415)."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not found:
        return JSON
    if found not in ACCEPTED:
        raise unsupported_media_type(ACCEPTED)
    return found


async def decode_body(
    call: Call, *, group: str, version: str, kind: str, validation: Validation, media: str = ""
) -> Object:
    """The object in the body, of exactly this kind; what Warn mode finds goes to the answer. Raises Refusal.

    `media` is the body's media type where that is settled already.
    """
    request = call.request
    form = media or media_type(request)
    value, findings = parse_body(await read(request), form, kind)
    api_version = f"{group}/{version}" if group else version
    check_kind(value, api_version, kind)
    value["kind"], value["apiVersion"] = kind, api_version
    found = schema_for(group, version, kind)
    if found is None:
        raise LookupError(f"no schema for {api_version} {kind}")
    return settle(request, value, found, validation, findings=findings, kind=kind, version=version)


def settle(
    request: Request,
    value: Any,
    schema: Schema,
    validation: Validation,
    *,
    findings: list[str],
    kind: str,
    version: str,
) -> Object:
    """Give a parsed value the types of its kind, refuse or warn about what is unknown."""
    lead = f'{kind} in version "{version}" cannot be handled as a {kind}: '
    try:
        decoded: Decoded = decode_value(value, schema, validation, findings=findings)
    except DecodeError as error:
        raise refuse_bad_request(lead + str(error)) from error
    if decoded.errors:
        raise refuse_bad_request(lead + decoded.strict_error)
    for text in decoded.warnings:
        warn(request, text)
    return decoded.obj


def warn(request: Request, text: str) -> None:
    """Tell the client something in a Warning header, once."""
    value = f"299 - {json.dumps(text, ensure_ascii=False)}"
    if value not in request.warnings:
        request.warnings.append(value)


def parse_body(data: bytes, form: str, kind: str) -> tuple[dict[str, Any], list[str]]:
    """The decoded body, which must be an object, and the findings of the parser; raises Refusal."""
    lead = f"the object provided is unrecognized (must be of type {kind}): "
    if form == PROTOBUF:
        return _parse_protobuf(data, kind, lead), []
    try:
        value, findings = parse(data, form)
    except JsonError as error:
        text = str(error) if form == YAML else f"json parse error: {error}"
        raise refuse_bad_request(f"{lead}couldn't get version/kind; {text} ({_shown(data)})") from error
    if value is None:
        return {}, findings
    if not isinstance(value, dict):
        text = (
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_kind(value)} into Go value of "
            'type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string '
            f'"json:\\"kind,omitempty\\"" }} ({data[:_SHOWN].hex()})'
        )
        raise refuse_bad_request(lead + text)
    return value, findings


def _parse_protobuf(data: bytes, kind: str, lead: str) -> dict[str, Any]:
    from wherry.apiserver import protobuf  # its tables are loaded only where a client speaks it

    try:
        return protobuf.decode(data)[2]
    except protobuf.NotProtobuf as error:
        raise refuse_bad_request(f"{lead}{error} ({_shown(data)})") from error
    except protobuf.UnknownKind as error:
        version = error.api_version.rpartition("/")[2]
        text = f'{error.kind} in version "{version}" cannot be handled as a {kind}: {error}'
        raise refuse_bad_request(text) from error
    except protobuf.ProtobufError as error:
        raise refuse_bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {error}') from error


def _shown(data: bytes) -> str:
    if not data:
        return "<empty>"
    cut = data[:_SHOWN]
    more = " ..." if len(data) > _SHOWN else ""
    try:
        text = cut.decode()
    except UnicodeDecodeError:
        return cut.hex() + more
    return (text if text.isprintable() else cut.hex()) + more


def check_kind(value: dict[str, Any], api_version: str, kind: str) -> None:
    """Refuse a body that says it is something else; what it does not say is taken for right."""
    said_version, said_kind = value.get("apiVersion") or api_version, value.get("kind") or kind
    if said_version == api_version and said_kind == kind:
        return
    raise wrong_kind(str(said_version), str(said_kind), api_version, kind)


def wrong_kind(said_version: str, said_kind: str, api_version: str, kind: str) -> Refusal:
    """400 for an object of another kind than the path's."""
    group, _, short = said_version.rpartition("/")
    if schema_for(group, short, said_kind) is not None:
        wanted = type_name(api_version.rpartition("/")[0], kind)
        text = f"converting ({short}.{said_kind}) to ({wanted}): unknown conversion"
    else:
        text = f'no kind "{said_kind}" is registered for version "{said_version}"'
    return refuse_bad_request(f'{said_kind} in version "{short}" cannot be handled as a {kind}: {text}')
