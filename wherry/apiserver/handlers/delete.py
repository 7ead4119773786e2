"""delete and deletecollection: at once, after finalizers, or with grace."""

from __future__ import annotations

from datetime import timedelta

from wherry.apiserver.core import Call, RequestContext
from wherry.apiserver.encode import encode_list
from wherry.apiserver.handlers.body import media_type, read, warn
from wherry.apiserver.handlers.commit import commit
from wherry.apiserver.handlers.guards import guard_delete
from wherry.apiserver.handlers.objects import answer_object, stored_form
from wherry.apiserver.handlers.options import DeleteOptions, read_delete_options, read_list_options
from wherry.apiserver.handlers.read import find
from wherry.apiserver.handlers.selection import Selection
from wherry.apiserver.kinds import admit
from wherry.apiserver.kinds.model import Object, Refusal, refuse_bad_request, refuse_conflict, refuse_not_found
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.negotiate import Format, negotiate
from wherry.apiserver.request import PROTOBUF, YAML, Answer, Response
from wherry.apiserver.schema.decode import JsonError, parse
from wherry.apiserver.status import details_of, success
from wherry.apiserver.storage import Entry

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


async def read_options(call: Call) -> DeleteOptions:
    """The options of a delete: the body, or the query where there is none; raises Refusal."""
    data = await read(call.request)
    if not data:
        return read_delete_options(None, call.request.query)
    form = media_type(call.request)
    if form == PROTOBUF:
        from wherry.apiserver import protobuf

        try:
            body = protobuf.decode(data)[2]
        except protobuf.ProtobufError as error:
            raise refuse_bad_request(str(error)) from error
    else:
        try:
            body, _ = parse(data, form)
        except JsonError as error:
            lead = "" if form == YAML else "couldn't get version/kind; json parse error: "
            raise refuse_bad_request(f"{lead}{error}") from error
        if not isinstance(body, dict):
            raise refuse_bad_request("couldn't get version/kind; json parse error: the body is no object")
    kind = body.get("kind") or "DeleteOptions"
    if kind != "DeleteOptions":
        raise refuse_bad_request(f'no kind "{kind}" is registered for version "{body.get("apiVersion", "")}"')
    return read_delete_options(body, call.request.query)


async def delete(call: Call) -> Answer:
    """Delete one object."""
    form = negotiate(call.request.headers.get("accept", ""))
    options = await read_options(call)
    if options.propagation_policy is None and options.orphan_dependents is None:
        for text in call.served.resource.delete_warnings:
            warn(call.request, text)
    return await delete_object(call, options, form)


async def delete_object(call: Call, options: DeleteOptions, form: Format) -> Response:
    """Delete the object named in the path; raises Refusal."""
    served, name = call.served, call.route.name
    head = served.bucket.head(call.key)
    if head is None:
        raise refuse_not_found(served.group, served.plural, name)
    obj, gone = await remove(call, head, options)
    if gone and not served.resource.returns_deleted:
        details = {**details_of(served.group, served.plural, name), "uid": obj["metadata"].get("uid", "")}
        return answer_status(success(details=details), form)
    return answer_object(call, obj, form)


def answer_status(status: Object, form: Format) -> Response:
    """A Status in the media type asked for."""
    from wherry.apiserver.encode import payload

    return Response(200, payload(form, status), form.media_type)


def check_preconditions(call: Call, head: Entry, options: DeleteOptions) -> None:
    """Raises Refusal (409) where the object is not the one that was meant."""
    wanted = options.preconditions
    if wanted is None:
        return
    served, name = call.served, head.name
    if wanted.uid is not None and wanted.uid != head.uid:
        text = f"Precondition failed: UID in precondition: {wanted.uid}, UID in object meta: {head.uid}"
        raise refuse_conflict(served.group, served.plural, name, text)
    if wanted.resource_version is not None and wanted.resource_version != str(head.revision):
        text = (
            f"Precondition failed: ResourceVersion in precondition: {wanted.resource_version}, "
            f"ResourceVersion in object meta: {head.revision}"
        )
        raise refuse_conflict(served.group, served.plural, name, text)


async def remove(call: Call, head: Entry, options: DeleteOptions) -> tuple[Object, bool]:
    """Delete what `head` holds as far as it goes: the object as it is now, and whether it is gone. Raises Refusal."""
    core, served = call.core, call.served
    row = served.resource
    check_preconditions(call, head, options)
    ctx = core.context(call.identity, dry_run=bool(options.dry_run))
    old = served.object(head)
    guard_delete(call, old)
    admit.delete(row, old, ctx)
    obj = served.object(head)
    marked = _mark(call, obj, options, ctx)
    holds = row.holds_deletion
    waits = bool(obj["metadata"].get("finalizers")) or (holds is not None and holds(obj))
    grace = obj["metadata"].get("deletionGracePeriodSeconds", 0)
    if options.dry_run:
        return obj, not (waits or grace)
    if waits or grace:
        if not marked:
            await core.store.settled(head)
            return obj, False
        entry = await commit(lambda: core.store.update(served.bucket, head, _stored(call, obj)), None)
        return served.object(entry), False
    if marked and row.graceful_seconds is not None:
        # Watchers of kinds with grace first see that it is over, then that the object is gone.
        core.store.update(served.bucket, head, _stored(call, obj)).add_done_callback(lambda done: done.exception())
        ended = served.bucket.head(head.key)
        assert ended is not None  # just written
        head = ended
    gone = await commit(lambda: core.store.delete(served.bucket, head), None)
    row.after_delete(old, ctx)
    return served.object(gone), True


def _stored(call: Call, obj: Object) -> Object:
    return stored_form(call, obj)


def _mark(call: Call, obj: Object, options: DeleteOptions, ctx: RequestContext) -> bool:
    """Note in `obj` that it is being deleted: finalizers of the propagation, grace, time; whether anything changed."""
    row = call.served.resource
    metadata = obj["metadata"]
    changed = _mark_propagation(call, metadata, options)
    grace = 0
    if row.graceful_seconds is not None:
        wanted = row.graceful_seconds(obj, options.grace_period_seconds)
        grace = wanted if wanted is not None else 0
    if "deletionTimestamp" in metadata:
        left = metadata.get("deletionGracePeriodSeconds")
        # Grace may be shortened, never extended, and only by those who ask for it.
        if left and options.grace_period_seconds is not None and grace < left:
            metadata["deletionTimestamp"] = format_time(ctx.now() + timedelta(seconds=grace))
            metadata["deletionGracePeriodSeconds"] = grace
            return True
        return changed
    waits = bool(metadata.get("finalizers"))
    held = row.holds_deletion is not None and row.holds_deletion(obj)
    if row.graceful_seconds is None and not waits and not held:
        return False
    metadata["deletionTimestamp"] = format_time(ctx.now() + timedelta(seconds=grace))
    if not held:
        metadata["deletionGracePeriodSeconds"] = grace
        if metadata.get("generation"):
            metadata["generation"] += 1
    row.mark_deleted(obj, ctx)
    return True


def _mark_propagation(call: Call, metadata: Object, options: DeleteOptions) -> bool:
    """Set the finalizer that the garbage collector acts on; whether that changed anything."""
    policy = options.propagation_policy
    if options.orphan_dependents is not None:
        policy = "Orphan" if options.orphan_dependents else "Background"
    if policy is None and call.served.resource.orphan_by_default:
        policy = "Orphan"
    before = list(metadata.get("finalizers") or ())
    if policy is None:
        return False
    wanted = {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(policy)
    after = [one for one in before if one not in (ORPHAN, FOREGROUND) or one == wanted]
    if wanted is not None and wanted not in after:
        after.append(wanted)
    if after == before:
        return False
    if after:
        metadata["finalizers"] = after
    else:
        metadata.pop("finalizers", None)
    return True


async def delete_collection(call: Call) -> Answer:
    """Delete everything a selection holds, each object by the rules of a single delete."""
    core, served, request = call.core, call.served, call.request
    form = negotiate(request.headers.get("accept", ""))
    list_options = read_list_options(request.query, watching=False)
    options = await read_options(call)
    selection = Selection(served, list_options)
    entries, metadata = await find(call, list_options, selection)
    removed: list[Entry] = []
    for entry in entries:
        head = served.bucket.head(entry.key)
        if head is None:
            continue
        try:
            await remove(call, head, options)
        except Refusal as error:
            if error.code not in (404, 409):
                raise
        removed.append(entry)
    metadata["resourceVersion"] = str(core.store.revision)
    return Response(200, encode_list(served, removed, metadata, form, core.tables, call.include), form.media_type)
