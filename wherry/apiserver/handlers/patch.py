"""patch: PATCH of an object or of one of its parts."""

from __future__ import annotations

from wherry.apiserver.core import Call
from wherry.apiserver.handlers.body import read, warn
from wherry.apiserver.handlers.objects import retype, schema_of
from wherry.apiserver.handlers.options import WriteOptions, read_write_options
from wherry.apiserver.handlers.update import Change, answer, replace
from wherry.apiserver.kinds.model import Object
from wherry.apiserver.negotiate import negotiate
from wherry.apiserver.patch import apply_patch
from wherry.apiserver.request import Answer
from wherry.apiserver.schema.model import Schema


async def patch(call: Call) -> Answer:
    """Change an object, or the part that a subresource is about, as the request's body says."""
    served = call.served
    form = negotiate(call.request.headers.get("accept", ""))
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
    content_type = request.headers.get("content-type", "").lower()
    body = await read(request)

    def change(old: Object) -> Object:
        patched = apply_patch(content_type, old, body, schema, validation=options.validation)
        for text in patched.warnings:
            warn(request, text)
        return patched.obj

    return change
