"""A small API server in memory, on a unix socket: real resourceVersions, real watches, failures on demand.

It serves the kinds of :mod:`wherry.kube.kinds` with get, list (pages, selectors), watch (bookmarks, 410), create,
update, merge patch (also for ``apply`` and ``strategic``, which it treats as merge; ``apply`` creates too), delete
(preconditions, finalizers) and the ``status``, ``binding`` and ``eviction`` subresources. It knows no defaults,
validation or access rules: those belong to the real server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any, Self

import msgspec
from aiohttp import web

from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.errors import ApiError, BadRequest, MethodNotAllowed, NotFound
from wherry.kube.kinds import Kind
from wherry.kube.patches import merge_patch
from wherry.kube.selectors import parse, parse_fields
from wherry.kube.testing.store import KIND_BY_PATH, Change, Object, Place, Scope, Store, failure
from wherry.kube.wire import PATCH_TYPES

_END = object()


class _Watch:
    """One open watch: lines to send, and how it ends."""

    def __init__(self, scope: Scope, pending: list[Change]) -> None:
        self.scope = scope
        self.lines: asyncio.Queue[Any] = asyncio.Queue()
        for change in pending:
            self.feed(change)

    def feed(self, change: Change) -> None:
        """Pass on a change if it is asked for."""
        if event := self.scope.event(change):
            self.lines.put_nowait(msgspec.json.encode(event) + b"\n")


class FakeApiServer:
    """The server; an async context manager. ``socket`` is the path it listens on."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.store = Store()
        self.requests: list[tuple[str, str]] = []
        self.token: str | None = None
        self._failures: deque[tuple[int, dict[str, str]]] = deque()
        self._watches: set[_Watch] = set()
        self._watching = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.store.listeners.append(self._changed)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; the objects of an earlier run are still there."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        await self.break_watches()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        self.socket.unlink(missing_ok=True)

    @property
    def endpoint(self) -> Endpoint:
        """How to reach it."""
        return Endpoint.unix(self.socket, self.token)

    def client(self, **settings: Any) -> Client:
        """A client for it."""
        return Client(self.endpoint, **settings)

    # -- what tests do to it -------------------------------------------------------------------------------------

    def put(self, kind: Kind[Any], obj: Any) -> Object:
        """Create the object (struct or plain), or replace what is there, as if another client had."""
        plain: Object = msgspec.json.decode(kind.encode(obj))
        meta = plain["metadata"]
        place = self._place(kind, meta.get("namespace", ""), meta["name"])
        if place in self.store.objects:
            meta.pop("resourceVersion", None)
            return self.store.replace(place, plain)
        return self.store.create(kind, plain, meta.get("namespace", ""))

    def get(self, kind: Kind[Any], name: str, namespace: str = "") -> Object:
        """The object as stored; NotFound."""
        return self.store.get(self._place(kind, namespace, name))

    def remove(self, kind: Kind[Any], name: str, namespace: str = "") -> None:
        """Delete the object as if another client had."""
        self.store.delete(self._place(kind, namespace, name), {})

    def fail_next(self, code: int, *, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next requests with this status; 0 breaks their connection without an answer."""
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        self._failures.extend([(code, headers)] * times)

    async def break_watches(self, *, inside_event: bool = False) -> None:
        """Cut all open watch connections, optionally after half an event, and wait until they are closed."""
        for watch in self._watches:
            if inside_event:
                watch.lines.put_nowait(b'{"type":"ADDED","object":{"metadata":{"name":"ha')
            watch.lines.put_nowait(_END)
        async with self._watching:
            await self._watching.wait_for(lambda: not self._watches)

    async def watched(self, count: int = 1) -> None:
        """Wait until at least that many watches are open."""
        async with self._watching:
            await self._watching.wait_for(lambda: len(self._watches) >= count)

    def send_bookmarks(self) -> None:
        """Tell every watcher the current revision."""
        line = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.store.revision)}}}
        for watch in self._watches:
            watch.lines.put_nowait(msgspec.json.encode(line) + b"\n")

    # -- serving -------------------------------------------------------------------------------------------------

    @staticmethod
    def _place(kind: Kind[Any], namespace: str, name: str) -> Place:
        return (kind.resource, (namespace or "default") if kind.namespaced else "", name)

    def _changed(self, change: Change) -> None:
        for watch in self._watches:
            watch.feed(change)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if self._failures:
            code, headers = self._failures.popleft()
            if code == 0:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=500)
            return web.Response(status=code, headers=headers, text="failure on demand")
        try:
            self._check_token(request)
            return await self._route(request)
        except ApiError as error:
            return web.json_response(error.status, status=error.code, dumps=_dumps)

    def _check_token(self, request: web.Request) -> None:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise failure(ApiError, 401, "Unauthorized", "Unauthorized")

    async def _route(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        group = "" if parts[0] == "api" else parts[1]
        version, *rest = parts[1:] if parts[0] == "api" else parts[2:]
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = KIND_BY_PATH.get((group, version, rest[0])) if rest else None
        if kind is None:
            raise failure(NotFound, 404, "NotFound", "the server could not find the requested resource")
        if len(rest) == 1:
            return await self._collection(request, kind, namespace)
        return await self._object(request, kind, self._place(kind, namespace, rest[1]), "/".join(rest[2:]))

    async def _collection(self, request: web.Request, kind: Kind[Any], namespace: str) -> web.StreamResponse:
        query = request.query
        labels, fields = parse(query.get("labelSelector", "")), parse_fields(query.get("fieldSelector", ""))
        scope = Scope(kind.resource, namespace, labels, fields)
        match request.method:
            case "GET" if query.get("watch") in ("1", "true"):
                return await self._watch(request, scope)
            case "GET":
                return _json(self._list(kind, scope, query.get("limit"), query.get("continue")))
            case "POST":
                return _json(self.store.create(kind, await _body(request), namespace), 201)
            case "DELETE":
                for obj in self.store.select(scope):
                    meta = obj["metadata"]
                    self.store.delete(self._place(kind, meta.get("namespace", ""), meta["name"]), {})
                return _json({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        raise failure(MethodNotAllowed, 405, "MethodNotAllowed", "the server does not allow this method")

    def _list(self, kind: Kind[Any], scope: Scope, limit: str | None, token: str | None) -> Object:
        revision, start = map(int, token.split(":")) if token else (self.store.revision, 0)
        self.store.since(revision)
        items = self.store.select(scope)
        page = items[start : start + int(limit)] if limit else items[start:]
        meta: Object = {"resourceVersion": str(revision)}
        if start + len(page) < len(items):
            meta["continue"] = f"{revision}:{start + len(page)}"
        return {
            "apiVersion": kind.api_version,
            "kind": f"{kind.kind}List",
            "metadata": meta,
            "items": [{key: value for key, value in item.items() if key not in ("apiVersion", "kind")} for item in page]
            or None,
        }

    async def _watch(self, request: web.Request, scope: Scope) -> web.StreamResponse:
        revision = request.query.get("resourceVersion", "")
        pending = self.store.since(int(revision)) if revision else []
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = _Watch(scope, pending)
        self._watches.add(watch)
        await self._notify()
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", "3600"))):
                while (line := await watch.lines.get()) is not _END:
                    await response.write(line)
            if request.transport is not None:
                request.transport.close()
        except TimeoutError:
            await response.write_eof()
        finally:
            self._watches.discard(watch)
            await self._notify()
        return response

    async def _notify(self) -> None:
        async with self._watching:
            self._watching.notify_all()

    async def _object(self, request: web.Request, kind: Kind[Any], place: Place, subresource: str) -> web.Response:
        match request.method, subresource:
            case "GET", "" | "status":
                return _json(self.store.get(place))
            case "PUT", "" | "status":
                return _json(self.store.replace(place, self._scoped(place, await _body(request), subresource)))
            case "PATCH", "" if request.content_type == PATCH_TYPES["apply"] and place not in self.store.objects:
                return _json(self.store.create(kind, await _body(request), place[1]), 201)
            case "PATCH", "" | "status":
                merged = merge_patch(self.store.get(place), await _body(request))
                return _json(self.store.replace(place, self._scoped(place, merged, subresource)))
            case "DELETE", "":
                options = await _body(request) if request.can_read_body else {}
                return _json(self.store.delete(place, options.get("preconditions") or {}))
            case "POST", "binding":
                target = (await _body(request))["target"]["name"]
                self.store.replace(place, merge_patch(self.store.get(place), {"spec": {"nodeName": target}}))
                return _json({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)
            case "POST", "eviction":
                self.store.delete(place, {})
                return _json({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)
        raise failure(
            MethodNotAllowed, 405, "MethodNotAllowed", f"the server does not allow this method on {kind.kind}"
        )

    def _scoped(self, place: Place, new: Object, subresource: str) -> Object:
        """A write to ``status`` changes only the status, any other write leaves the status alone."""
        old = self.store.get(place)
        if subresource == "status":
            version = (new.get("metadata") or {}).get("resourceVersion")
            meta = old["metadata"] | ({"resourceVersion": version} if version else {})
            return old | {"metadata": meta} | ({"status": new["status"]} if "status" in new else {})
        kept = {"status": old["status"]} if "status" in old else {}
        return {key: value for key, value in new.items() if key != "status"} | kept


async def _body(request: web.Request) -> Object:
    body = msgspec.json.decode(await request.read())
    if not isinstance(body, dict):
        raise failure(BadRequest, 400, "BadRequest", "the body must be an object")
    return body


def _dumps(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _json(value: Object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
