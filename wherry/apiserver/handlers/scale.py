"""The scale subresource: an object's number of replicas, in the same form for every kind that has one."""

from __future__ import annotations

from dataclasses import replace as replaced
from functools import partial

from wherry.apiserver.core import Call
from wherry.apiserver.encode import payload
from wherry.apiserver.handlers.body import decode_body
from wherry.apiserver.handlers.options import WriteOptions, read_write_options
from wherry.apiserver.handlers.patch import read_patch
from wherry.apiserver.handlers.tracking import manager_of
from wherry.apiserver.handlers.update import Change, check_precondition, replace
from wherry.apiserver.kinds.model import (
    Object,
    Subresource,
    refuse_bad_request,
    refuse_invalid,
    refuse_not_found,
)
from wherry.apiserver.negotiate import Format, negotiate
from wherry.apiserver.patch import APPLY
from wherry.apiserver.patch.managed import track_scale
from wherry.apiserver.request import YAML, Answer, Response
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.storage import Entry

GROUP, VERSION, KIND = "autoscaling", "v1", "Scale"


async def get_scale(call: Call, sub: Subresource) -> Answer:
    """Read the projection."""
    form = negotiate(call.request.headers.get("accept", ""), shapes=False)
    entry = call.served.bucket.get(call.key)
    if entry is None:
        raise refuse_not_found(call.served.group, call.served.plural, call.route.name)
    return _answer(_read(sub, call.served.object(entry)), form)


async def update_scale(call: Call, sub: Subresource) -> Answer:
    """Replace the projection."""
    form = negotiate(call.request.headers.get("accept", ""), shapes=False)
    options = read_write_options("UpdateOptions", call.request.query)
    scale = await decode_body(call, group=GROUP, version=VERSION, kind=KIND, validation=options.validation)
    return await _write(call, sub, lambda old: scale, options, form)


async def patch_scale(call: Call, sub: Subresource) -> Answer:
    """Patch the projection."""
    form = negotiate(call.request.headers.get("accept", ""), shapes=False)
    content_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    applied = content_type == APPLY
    options = read_write_options("PatchOptions", call.request.query, apply=applied)
    if applied:
        # A Scale has nothing but its count: to apply one is to send it.
        wanted = await decode_body(
            call, group=GROUP, version=VERSION, kind=KIND, validation=options.validation, media=YAML
        )
        return await _write(call, sub, partial(_overlaid, wanted), options, form)
    schema = schema_for(GROUP, VERSION, KIND)
    assert schema is not None  # part of the bundle
    change = await read_patch(call, schema, options)
    return await _write(call, sub, change, options, form)


def _overlaid(wanted: Object, old: Object) -> Object:
    return {**old, "spec": wanted.get("spec", {})}


async def _write(call: Call, sub: Subresource, change: Change, options: WriteOptions, form: Format) -> Answer:
    def through(old: Object) -> Object:
        scale = change(_read(sub, old))
        _check(call, sub, scale)
        head = call.served.bucket.head(call.key)
        assert head is not None  # `old` is what it holds
        check_precondition(call, head, scale)
        assert sub.write is not None  # every scale has both directions
        sub.write(old, scale)
        entries = track_scale(
            old["metadata"].get("managedFields") or [], manager=manager_of(call, options), api_version=api_version
        )
        if entries:
            old["metadata"]["managedFields"] = entries
        return old

    api_version = call.served.resource.api_version
    whole = replaced(call, route=call.route._replace(subresource=""))
    whole.served = call.served
    outcome = await replace(whole, through, options, tracked=True)
    obj = call.served.object(outcome) if isinstance(outcome, Entry) else outcome
    return _answer(_read(sub, obj), form)


def _check(call: Call, sub: Subresource, scale: Object) -> None:
    name = scale.setdefault("metadata", {}).get("name", "")
    if name != call.route.name:
        if not name:
            text = f"the name of the object ({call.route.name} based on URL) was undeterminable: name must be provided"
            raise refuse_bad_request(text)
        text = f"the name of the object ({name}) does not match the name on the URL ({call.route.name})"
        raise refuse_bad_request(text)
    errors = sub.validate(scale)
    if errors:
        raise refuse_invalid(GROUP, KIND, name, errors)


def _read(sub: Subresource, obj: Object) -> Object:
    assert sub.read is not None  # every scale has both directions
    return sub.read(obj)


def _answer(scale: Object, form: Format) -> Response:
    return Response(200, payload(form, scale), form.media_type)
