"""Turning objects of a row into stored ones and back: schema, canonical form, answers."""

from __future__ import annotations

from typing import Any

from wherry.apiserver.core import Call
from wherry.apiserver.encode import encode_object
from wherry.apiserver.handlers.body import decode_body, media_type, parse_body, read, warn
from wherry.apiserver.handlers.options import WriteOptions
from wherry.apiserver.handlers.read import pretty
from wherry.apiserver.kinds.model import Object, Resource, invalid, refuse_bad_request, refuse_invalid
from wherry.apiserver.negotiate import PLAIN, Format
from wherry.apiserver.request import PROTOBUF, Response
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.schema.custom import CustomSchema
from wherry.apiserver.schema.decode import DecodeError, Validation
from wherry.apiserver.schema.model import Schema
from wherry.apiserver.served import Served
from wherry.apiserver.status import unsupported_media_type
from wherry.apiserver.storage import Entry


def schema_of(served: Served) -> Schema:
    """The schema of a built-in row."""
    row = served.resource
    found = schema_for(row.group, row.version, row.kind)
    if found is None:
        raise LookupError(f"no schema for {row.api_version} {row.kind}")
    return found


async def read_object(call: Call, options: WriteOptions) -> Object:
    """The object in the request's body, typed and pruned, of the kind the path names; raises Refusal."""
    served = call.served
    row = served.resource
    custom = custom_schema(served)
    if custom is None:
        return await decode_body(
            call, group=row.group, version=row.version, kind=row.kind, validation=options.validation
        )
    form = media_type(call.request)
    if form == PROTOBUF:
        raise unsupported_media_type(("application/json", "application/yaml"))
    value, findings = parse_body(await read(call.request), form, row.kind)
    _check_custom_kind(row, value)
    return _settle_custom(call, custom, value, options.validation, findings)


def _check_custom_kind(row: Resource, value: dict[str, Any]) -> None:
    """Custom objects have to say what they are; raises Refusal."""
    version, kind = value.get("apiVersion") or "", value.get("kind") or ""
    if version != row.api_version:
        text = f"the API version in the data ({version}) does not match the expected API version ({row.api_version})"
        raise refuse_bad_request(text)
    if kind != row.kind:
        metadata = value.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise refuse_invalid(row.group, str(kind), str(name), [invalid("kind", kind, f"must be {row.kind}")])


def retype(call: Call, value: Any, validation: Validation) -> Object:
    """Give a patched custom object its types again; raises Refusal as for a body."""
    custom = custom_schema(call.served)
    assert custom is not None  # built-in kinds are typed by the patch itself
    return _settle_custom(call, custom, value, validation, [])


def _settle_custom(
    call: Call, custom: CustomSchema, value: dict[str, Any], validation: Validation, findings: list[str]
) -> Object:
    """Prune a custom object and tell what was unknown; raises Refusal."""
    row = call.served.resource
    lead = f'{row.kind} in version "{row.version}" cannot be handled as a {row.kind}: '
    try:
        decoded = custom.decode_value(value, validation, findings=findings)
    except DecodeError as error:
        raise refuse_bad_request(lead + str(error)) from error
    if decoded.errors:
        raise refuse_bad_request(lead + decoded.strict_error)
    for text in decoded.warnings:
        warn(call.request, text)
    return decoded.obj


def custom_schema(served: Served) -> CustomSchema | None:
    """The schema of a custom resource's version; None for built-in rows."""
    detail: CustomSchema | None = served.detail
    return detail


def canonical_form(served: Served, obj: Object) -> Object:
    """The object as it is written: for built-in kinds with Go's padding, for custom ones as it is."""
    return obj if served.custom else canonical(obj, schema_of(served))


def stored_form(call: Call, obj: Object) -> Object:
    """What the store keeps of an object of this row; `obj` is used up."""
    served = call.served
    row = served.resource
    if row.to_storage is None:
        return canonical_form(served, obj)
    obj = canonical_form(served, obj)
    served.stored(obj)
    holder = storage_row(call)
    return canonical_form(holder, obj)


def storage_row(call: Call) -> Served:
    """The row in whose form this row's objects are stored."""
    row = call.served.resource
    if row.to_storage is None:
        return call.served
    group, plural = row.key
    for served in call.core.registry.all():
        candidate = served.resource
        if candidate.key == (group, plural) and candidate.to_storage is None:
            return served
    raise LookupError(f"no row stores {plural}.{group}")


def answer_entry(call: Call, entry: Entry, form: Format = PLAIN, status: int = 200) -> Response:
    """A stored object as the answer."""
    served = call.served
    if form.plain:
        body = served.json(entry)
        return Response(status, pretty(body) if call.request.query.flag("pretty") else body)
    return answer_object(call, served.object(entry), form, status)


def answer_object(call: Call, obj: Object, form: Format = PLAIN, status: int = 200) -> Response:
    """An object that is not stored as the answer."""
    body = encode_object(call.served, obj, form, call.core.tables, call.include)
    return Response(status, body, form.media_type)
