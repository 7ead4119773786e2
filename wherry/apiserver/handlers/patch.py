"""patch: PATCH of an object or of one of its parts."""

from __future__ import annotations

from wherry.apiserver.core import Call
from wherry.apiserver.handlers.body import read, settle, warn
from wherry.apiserver.handlers.create import create_object
from wherry.apiserver.handlers.objects import retype, schema_of
from wherry.apiserver.handlers.options import WriteOptions, read_write_options
from wherry.apiserver.handlers.tracking import operation
from wherry.apiserver.handlers.update import Change, answer, check_name, replace
from wherry.apiserver.kinds.model import Object, refuse_bad_request, refuse_conflict, refuse_not_found
from wherry.apiserver.negotiate import Format, negotiate
from wherry.apiserver.patch import APPLY, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply_patch
from wherry.apiserver.patch.managed import apply
from wherry.apiserver.request import YAML, Answer
from wherry.apiserver.schema.decode import JsonError, parse
from wherry.apiserver.schema.gojson import plain
from wherry.apiserver.schema.model import Schema
from wherry.apiserver.status import not_consumed

_PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)


async def patch(call: Call) -> Answer:
    """Change an object, or the part that a subresource is about, as the request's body says."""
    served = call.served
    form = negotiate(call.request.headers.get("accept", ""))
    if _content_type(call) == APPLY:
        return await _apply(call, form)
    options = read_write_options("PatchOptions", call.request.query)
    change = await read_patch(call, None if served.custom else schema_of(served), options)
    if served.custom:
        outcome = await replace(call, lambda old: retype(call, change(old), options.validation), options)
    else:
        outcome = await replace(call, change, options)
    return answer(call, outcome, form)


async def read_patch(call: Call, schema: Schema | None, options: WriteOptions) -> Change:
    """The change of an object of type `schema` (None for custom kinds) that the request's body asks for."""
    request = call.request
    content_type = _content_type(call)
    if content_type not in _PATCHES and not call.served.custom:
        raise not_consumed()
    body = await read(request)

    def change(old: Object) -> Object:
        patched = apply_patch(content_type, old, body, schema, validation=options.validation)
        for text in patched.warnings:
            warn(request, text)
        return patched.obj

    return change


def _content_type(call: Call) -> str:
    return call.request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _apply(call: Call, form: Format) -> Answer:
    """Server-side apply: the body says what its manager wants of the object, which is made where it is missing."""
    served, route = call.served, call.route
    options = read_write_options("PatchOptions", call.request.query, apply=True)
    try:
        config, findings = parse(await read(call.request), YAML)
    except JsonError as error:
        raise refuse_bad_request(f"error decoding YAML: {error}") from error
    if not isinstance(config, dict):
        raise refuse_bad_request("error decoding YAML: the body is no object")
    if findings and options.validation == "Strict":
        raise refuse_bad_request("error strict decoding YAML: " + ", ".join(findings))
    config = plain(config)
    metadata = config.get("metadata")
    if not isinstance(metadata, dict):
        metadata = config["metadata"] = {}
    write = operation(call, options)
    head = served.bucket.head(call.key)
    if head is not None:
        metadata.setdefault("name", route.name)
    check_name(call, config)
    if head is None:
        if route.subresource:
            raise refuse_not_found(served.group, served.plural, route.name)
        if metadata.get("uid"):
            uid = metadata["uid"]
            text = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise refuse_conflict(served.group, served.plural, route.name, text)
        metadata.pop("resourceVersion", None)  # about a version of an object that is not there
        created = _typed(call, apply(None, config, write, force=options.force), options)
        return await create_object(call, created, options, form, tracked=True)

    def change(old: Object) -> Object:
        return _typed(call, apply(old, config, write, force=options.force), options)

    return answer(call, await replace(call, change, options, tracked=True), form)


def _typed(call: Call, obj: Object, options: WriteOptions) -> Object:
    if call.served.custom:
        return retype(call, obj, options.validation)
    row = call.served.resource
    return settle(
        call.request,
        obj,
        schema_of(call.served),
        options.validation,
        findings=[],
        kind=row.kind,
        version=row.version,
    )
