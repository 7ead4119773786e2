"""update: PUT of an object or of one of its parts, and what updates and patches have in common."""

from __future__ import annotations

from collections.abc import Callable

from wherry.apiserver.core import Call
from wherry.apiserver.handlers.body import warn
from wherry.apiserver.handlers.commit import commit
from wherry.apiserver.handlers.create import create_object, place
from wherry.apiserver.handlers.guards import guard_write
from wherry.apiserver.handlers.objects import answer_entry, answer_object, canonical_form, read_object, stored_form
from wherry.apiserver.handlers.options import WriteOptions, read_write_options
from wherry.apiserver.handlers.tracking import track
from wherry.apiserver.kinds import admit
from wherry.apiserver.kinds.lifecycle import before_update, begin_update
from wherry.apiserver.kinds.model import (
    FieldError,
    Object,
    refuse_bad_request,
    refuse_conflict,
    refuse_invalid,
    refuse_not_found,
)
from wherry.apiserver.negotiate import Format, negotiate
from wherry.apiserver.quota.quotas import Charge
from wherry.apiserver.request import Answer, Response
from wherry.apiserver.status import internal
from wherry.apiserver.storage import Entry

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"

Change = Callable[[Object], Object]
"""From the object as it is to the object as it shall be; the argument may be used up."""


async def update(call: Call) -> Answer:
    """Replace the object (or the part that a subresource is about) by the request's body."""
    request, route, served = call.request, call.route, call.served
    form = negotiate(request.headers.get("accept", ""))
    options = read_write_options("UpdateOptions", request.query)
    new = await read_object(call, options)
    place(call, new)
    if served.bucket.head(call.key) is None and served.resource.allow_create_on_update and not route.subresource:
        metadata = new["metadata"]
        if metadata.get("uid") or metadata.get("resourceVersion") not in (None, "", "0"):
            raise refuse_not_found(served.group, served.plural, route.name)
        check_name(call, new)
        return await create_object(call, new, options, form)
    return answer(call, await replace(call, lambda old: new, options), form)


def check_name(call: Call, new: Object) -> None:
    """Refuse a body that names another object than the path."""
    name = new["metadata"].get("name", "")
    if not name:
        text = f"the name of the object ({call.route.name} based on URL) was undeterminable: name must be provided"
        raise refuse_bad_request(text)
    if name != call.route.name:
        text = f"the name of the object ({name}) does not match the name on the URL ({call.route.name})"
        raise refuse_bad_request(text)


def check_precondition(call: Call, head: Entry, new: Object) -> None:
    """Refuse a change of another object than the one there, or of an older version; raises Refusal."""
    served, metadata = call.served, new["metadata"]
    row, name = served.resource, call.route.name
    uid = metadata.get("uid")
    if uid and uid != head.uid and not metadata.get("resourceVersion"):
        key = f"/registry/{row.plural}/{head.key}"
        text = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {head.uid}"
        )
        raise refuse_conflict(row.group, row.plural, name, text)
    version = metadata.get("resourceVersion") or "0"
    if not version.isdigit():
        raise internal(f'strconv.ParseUint: parsing "{version}": invalid syntax')
    if int(version) == 0:
        if not row.allow_unconditional_update:
            error = FieldError("FieldValueInvalid", "metadata.resourceVersion", 0, "must be specified for an update")
            raise refuse_invalid(row.group, row.plural, name, [error])
        metadata["resourceVersion"] = str(head.revision)
    elif int(version) != head.revision:
        raise refuse_conflict(row.group, row.plural, name, MODIFIED)


def answer(call: Call, outcome: Entry | Object, form: Format, status: int = 200) -> Response:
    """The outcome of a write as the answer."""
    if isinstance(outcome, Entry):
        return answer_entry(call, outcome, form, status)
    return answer_object(call, outcome, form, status)


async def replace(
    call: Call, change: Change, options: WriteOptions, *, admitted: bool = True, tracked: bool = False
) -> Entry | Object:
    """Apply `change` to the newest state and store the outcome: the entry, or an object where none is left or written.

    Without `admitted` the change is the server's own (a binding): the row prepares and checks nothing. With
    `tracked` the managedFields are complete. Raises Refusal.
    """
    # Between reading the head and handing the outcome to the store nothing is awaited: no write comes between.
    core, served, route = call.core, call.served, call.route
    row = served.resource
    head = served.bucket.head(call.key)
    if head is None:
        raise refuse_not_found(served.group, served.plural, route.name)
    old = served.object(head)
    new = change(served.object(head))
    metadata = new.setdefault("metadata", {})
    if served.resource.namespaced:
        metadata.setdefault("namespace", route.namespace)
    check_name(call, new)
    place(call, new)
    check_precondition(call, head, new)
    ctx = core.context(call.identity, dry_run=options.dry_run)
    if not admitted:
        return await store_update(call, head, new, old, options)
    row.default(new)
    if not tracked:
        track(call, old, new, options)
    if not route.subresource:
        admit.update(row, new, old, ctx)
    new = canonical_form(served, new)
    new["kind"], new["apiVersion"] = row.kind, row.api_version
    errors = before_update(row, new, old, ctx, route.subresource)
    if errors:
        raise row.refuse_invalid(route.name, errors)
    guard_write(call, new, old)
    texts = row.by_subresource[route.subresource].warnings if route.subresource else row.update_warnings
    for text in texts(new, old):
        warn(call.request, text)
    counted = not route.subresource or route.subresource == "resize"
    charge = core.quotas.check(row.group, row.plural, new, old) if counted else None
    return await store_update(call, head, new, old, options, charge)


async def store_update(
    call: Call, head: Entry, new: Object, old: Object, options: WriteOptions, charge: Charge | None = None
) -> Entry | Object:
    """Store a checked new version; one that changes nothing is not written, one without finalizers may go."""
    core, served = call.core, call.served
    row = served.resource
    ctx = core.context(call.identity, dry_run=options.dry_run)
    transaction = begin_update(row, new, old, ctx)
    stored = stored_form(call, dict(new))
    for key in ("kind", "apiVersion"):
        stored.pop(key, None)
    if options.dry_run or stored == head.object():
        if transaction is not None:
            transaction.revert()
        if options.dry_run:
            shown = {"kind": row.kind, "apiVersion": row.api_version, **stored}
            return served.shown(shown)
        await core.store.settled(head)
        return head
    if is_finished(call, stored):
        # The last finalizer is gone: the object goes, and the answer still shows the version that was there.
        shown = {"kind": row.kind, "apiVersion": row.api_version, **stored}
        shown["metadata"] = {**stored["metadata"], "resourceVersion": str(head.revision)}
        await commit(lambda: core.store.delete(served.bucket, head, stored), transaction)
        row.after_delete(new, ctx)
        return served.shown(shown)
    if charge is not None:
        charge()
    return await commit(lambda: core.store.update(served.bucket, head, stored), transaction)


def is_finished(call: Call, obj: Object) -> bool:
    """Whether a deleted object has nothing left to wait for."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    holds = call.served.resource.holds_deletion
    return holds is None or not holds(obj)
