"""get, list and watch: answered from memory, from stored bytes wherever the client wants plain JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from wherry.apiserver.core import Call
from wherry.apiserver.encode import EventEncoder, encode_list, encode_object
from wherry.apiserver.handlers.options import ListOptions, parse_revision, read_list_options
from wherry.apiserver.handlers.selection import Match, Selection
from wherry.apiserver.kinds.golang import type_name
from wherry.apiserver.kinds.model import Object, refuse_bad_request, refuse_not_found
from wherry.apiserver.negotiate import check_shape, negotiate
from wherry.apiserver.request import Answer, Response, Sink, Stream
from wherry.apiserver.status import expired, failure, internal, too_large_version
from wherry.apiserver.storage import Bucket, Compacted, Entry, EventType
from wherry.apiserver.watch import Watcher

_FUTURE_WAIT = 3.0  # seconds a read waits for a revision that this server has not reached


async def get(call: Call) -> Answer:
    """One object."""
    core, served, request = call.core, call.served, call.request
    query = request.query
    if "export" in query:
        raise refuse_bad_request("the export parameter, deprecated since v1.14, is no longer supported")
    form = negotiate(request.headers.get("accept", ""))
    version = query.get("resourceVersion")
    if version and version != "0":
        try:
            await _reach(call, parse_revision(version), None)
        except ValueError as error:
            raise internal(str(error)) from error
    entry = served.bucket.get(call.key)
    if entry is None:
        raise refuse_not_found(served.group, served.plural, call.route.name)
    if form.plain:
        body = served.json(entry)
        return Response(200, pretty(body) if query.flag("pretty") else body)
    check_shape(form, is_list=False, go_type=_go_type(call))
    body = encode_object(served, served.object(entry), form, core.tables, call.include)
    return Response(200, body, form.media_type)


def pretty(body: bytes) -> bytes:
    """JSON for the eye."""
    return msgspec.json.format(body, indent=2)


def _go_type(call: Call) -> str:
    resource = call.served.resource
    return type_name(resource.group, resource.kind)


async def _reach(call: Call, revision: int, timeout: float | None) -> None:
    """Wait until the store is as new as `revision`; raises Refusal (504) when it does not get there."""
    store = call.core.store
    if revision <= store.revision:
        return
    limit = min(timeout, _FUTURE_WAIT) if timeout is not None else _FUTURE_WAIT
    deadline = asyncio.get_running_loop().time() + limit
    # Only a client that talks to another server as well gets here, so looking now and then is enough.
    while revision > store.revision:
        if asyncio.get_running_loop().time() >= deadline:
            raise too_large_version(revision, store.revision)
        await asyncio.sleep(0.05)


class _Token(NamedTuple):
    """Where the next page begins: after `start`, in the state of `revision` (-1: whatever is newest)."""

    revision: int
    start: str


def _write_token(token: _Token) -> str:
    body = {"v": "meta.k8s.io/v1", "rv": token.revision, "start": token.start}
    return base64.urlsafe_b64encode(msgspec.json.encode(body)).rstrip(b"=").decode()


class _TokenBody(msgspec.Struct):
    v: str
    rv: int
    start: str


def _read_token(text: str) -> _Token:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body = msgspec.json.decode(raw, type=_TokenBody)
        if body.v != "meta.k8s.io/v1" or not body.start:
            raise ValueError("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise refuse_bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    return _Token(body.rv, body.start.rstrip("\0").removeprefix("/"))


async def list_objects(call: Call) -> Answer:
    """A list, whole or in pages."""
    request, served = call.request, call.served
    form = negotiate(request.headers.get("accept", ""))
    options = read_list_options(request.query, watching=False)
    check_shape(form, is_list=True, go_type=_go_type(call))
    selection = Selection(served, options)
    entries, metadata = await find(call, options, selection)
    body = encode_list(served, entries, metadata, form, call.core.tables, call.include)
    return Response(200, pretty(body) if form.plain and request.query.flag("pretty") else body, form.media_type)


async def find(call: Call, options: ListOptions, selection: Selection) -> tuple[list[Entry], Object]:
    """The entries of a list and its metadata; raises Refusal for revisions that cannot be given."""
    store, bucket, namespace = call.core.store, call.served.bucket, call.route.namespace
    if options.continue_:
        if options.revision is not None and options.revision > 0:
            raise refuse_bad_request("specifying resource version is not allowed when using continue")
        token = _read_token(options.continue_)
        after = f"{namespace}/{token.start}" if namespace else token.start
        if token.revision < 0 or token.revision == store.revision:
            revision, found = store.revision, bucket.scan(namespace, after=after)
        elif token.revision < store.compacted:
            raise _token_expired(token)
        else:
            revision, found = token.revision, iter(bucket.snapshot(token.revision, namespace, after=after))
        return _page(call, revision, found, options, selection)
    if options.revision:
        if options.match == "Exact":
            return _page(call, options.revision, iter(await _past(call, options)), options, selection)
        await _reach(call, options.revision, options.timeout)
    if selection.name and (namespace or not call.served.resource.namespaced):
        entry = bucket.get(call.served.key(namespace, selection.name))
        return _page(call, store.revision, (entry,) if entry is not None else (), options, selection)
    return _page(call, store.revision, bucket.scan(namespace), options, selection)


async def _past(call: Call, options: ListOptions) -> list[Entry]:
    store = call.core.store
    assert options.revision is not None  # the caller saw it
    await _reach(call, options.revision, options.timeout)
    if options.revision < store.compacted:
        raise expired("The resourceVersion for the provided list is too old.")
    return call.served.bucket.snapshot(options.revision, call.route.namespace)


def _token_expired(token: _Token) -> Exception:
    refusal = failure(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    )
    refusal.status["metadata"] = {"continue": _write_token(_Token(-1, token.start))}
    return refusal


def _page(
    call: Call, revision: int, entries: Iterable[Entry], options: ListOptions, selection: Selection
) -> tuple[list[Entry], Object]:
    metadata: Object = {"resourceVersion": str(revision)}
    match, name = selection.match, selection.name
    if match is None and not name and not options.limit:
        return list(entries), metadata
    found: list[Entry] = []
    walk = iter(entries)
    for entry in walk:
        if (name and entry.name != name) or (match is not None and not match(entry)):
            continue
        if options.limit and len(found) == options.limit:
            last = found[-1].key
            start = last.partition("/")[2] if call.route.namespace else last
            metadata["continue"] = _write_token(_Token(revision, start))
            if match is None and not name:
                metadata["remainingItemCount"] = 1 + sum(1 for _ in walk)
            break
        found.append(entry)
    return found, metadata


async def watch(call: Call) -> Answer:
    """A stream of changes, with or without the present state at its beginning."""
    core, served, request = call.core, call.served, call.request
    form = negotiate(request.headers.get("accept", ""), streams=True)
    options = read_list_options(request.query, watching=True)
    selection = Selection(served, options)
    namespace = call.route.namespace if served.resource.namespaced else ""
    name = call.route.name or selection.name
    present = options.revision in (None, 0) if options.initial_events is None else options.initial_events
    if options.initial_events and options.revision:
        await _reach(call, options.revision, options.timeout)
    encoder = EventEncoder(served, form, core.tables, call.include)

    async def run(sink: Sink) -> None:
        # Up to `open` nothing is awaited: no change falls between the present state and the stream.
        store, bucket = core.store, served.bucket
        start = store.revision if present or not options.revision else options.revision
        watcher = Watcher(encoder, namespace=namespace, name=name, match=selection.match, revision=start)
        initial: list[bytes | tuple[EventType, Entry]] = []
        if present:
            initial.extend((EventType.ADDED, entry) for entry in _present(bucket, namespace, name, selection.match))
            if options.bookmarks:
                initial.append(encoder.bookmark(start, end_of_initial=True))
        else:
            try:
                initial.extend(core.hub.replay(bucket, watcher))
            except Compacted as error:
                text = f"too old resource version: {error.revision} ({error.oldest})"
                sink.write(encoder.error(expired(text).status))
                return
        core.hub.open(bucket, watcher, bookmarks=options.bookmarks)
        try:
            await watcher.run(sink, initial, options.timeout)
        finally:
            core.hub.drop(bucket, watcher)

    return Stream(run, form.media_type)


def _present(bucket: Bucket, namespace: str, name: str, match: Match | None) -> Iterator[Entry]:
    for entry in bucket.scan(namespace):
        if (not name or entry.name == name) and (match is None or match(entry)):
            yield entry
