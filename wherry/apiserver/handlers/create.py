"""create: POST to a collection."""

from __future__ import annotations

import uuid

from wherry.apiserver.core import Call
from wherry.apiserver.handlers.awaiting import appear
from wherry.apiserver.handlers.body import warn
from wherry.apiserver.handlers.commit import commit
from wherry.apiserver.handlers.guards import guard_write
from wherry.apiserver.handlers.objects import answer_entry, answer_object, read_object, stored_form
from wherry.apiserver.handlers.options import WriteOptions, read_write_options
from wherry.apiserver.handlers.tracking import track
from wherry.apiserver.kinds import admit
from wherry.apiserver.kinds.admission.podsecurity import security_warnings
from wherry.apiserver.kinds.lifecycle import before_create, begin_create, fill_system_metadata, generate_name
from wherry.apiserver.kinds.model import Object, refuse_bad_request
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.negotiate import Format, negotiate
from wherry.apiserver.request import Answer
from wherry.apiserver.status import already_exists, internal
from wherry.apiserver.storage import Exists

_NAME_ATTEMPTS = 8  # tries at a generated name that is free, as the real server does


async def create(call: Call) -> Answer:
    """A new object from the request's body."""
    request = call.request
    form = negotiate(request.headers.get("accept", ""))
    options = read_write_options("CreateOptions", request.query)
    obj = await read_object(call, options)
    return await create_object(call, obj, options, form)


def place(call: Call, obj: Object) -> None:
    """Put a new object into the namespace of the path; raises Refusal where it says another one."""
    metadata = obj.setdefault("metadata", {})
    namespace = call.route.namespace if call.served.resource.namespaced else ""
    said = metadata.get("namespace", "")
    if said and namespace and said != namespace:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise refuse_bad_request(text)
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)


async def create_object(
    call: Call, obj: Object, options: WriteOptions, form: Format, *, tracked: bool = False
) -> Answer:
    """Default, admit, check and store `obj`; its managedFields are complete where `tracked`. Raises Refusal."""
    core, served = call.core, call.served
    row = served.resource
    place(call, obj)
    metadata = obj["metadata"]
    ctx = core.context(call.identity, dry_run=options.dry_run)
    row.default(obj)
    if not tracked:
        track(call, None, obj, options)
    awaited = row.awaits(obj, ctx) if row.awaits is not None else None
    if awaited is not None:
        await appear(core, awaited)
    admit.create(row, obj, ctx)
    if metadata.get("resourceVersion"):
        raise internal("resourceVersion should not be set on objects to be created")
    metadata.pop("resourceVersion", None)
    generated = bool(metadata.get("generateName")) and not metadata.get("name")
    fill_system_metadata(obj, ctx, uid=str(uuid.uuid4()), created=format_time(ctx.now()))
    errors = before_create(row, obj, ctx)
    name = metadata.get("name", "")
    if errors:
        raise row.refuse_invalid(name, errors)
    admit.check_create(row, obj, ctx)
    guard_write(call, obj, None)
    security = security_warnings(row.group, row.plural, obj, ctx) if row.namespaced else ()
    for text in (*row.warnings(obj), *security, *core.notices(row.group, row.plural, obj)):
        warn(call.request, text)
    charge = core.quotas.check(row.group, row.plural, obj)
    transaction = begin_create(row, obj, ctx)
    try:
        if options.dry_run:
            there = served.bucket.head(served.key(metadata.get("namespace", ""), name))
            if transaction is not None:
                transaction.revert()
            if there is not None:
                raise Exists(there)
            shown = {"kind": row.kind, "apiVersion": row.api_version, **stored_form(call, obj)}
            return answer_object(call, served.shown(shown), form, 201)
        for _ in range(_NAME_ATTEMPTS if generated else 0):
            if served.bucket.head(served.key(metadata.get("namespace", ""), metadata["name"])) is None:
                break
            metadata["name"] = generate_name(metadata["generateName"], ctx)
        key = served.key(metadata.get("namespace", ""), metadata["name"])
        if served.bucket.head(key) is None:
            charge()
        entry = await commit(lambda: core.store.create(served.bucket, key, stored_form(call, obj)), transaction)
    except Exists as error:
        deleting = "deletionTimestamp" in error.entry.object()["metadata"]
        raise already_exists(row.group, row.plural, name, deleting=deleting) from error
    return answer_entry(call, entry, form, 201)
