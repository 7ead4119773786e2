"""Talking to an API server: typed verbs, retries and watches.

Safe requests are tried again, with growing jittered pauses, when the server is away, busy (429) or failing (5xx).
A POST is sent again only when the server surely did not act on it: the connection was never made, or it answered 429.
Errors come out as :mod:`wherry.kube.errors`; an unreachable server is ``ServerUnavailable`` with code 0.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Self, TypeVar, overload

import aiohttp
import msgspec

from wherry.kube.endpoint import Endpoint
from wherry.kube.errors import ApiError, Gone, ServerUnavailable, TooManyRequests
from wherry.kube.kinds import Kind
from wherry.kube.wire import (
    PATCH_TYPES,
    LineSplitter,
    ObjectList,
    WatchEvent,
    decode_event,
    decode_list,
    decode_object,
    encode_body,
    name_of,
)

T = TypeVar("T")
PatchType = Literal["merge", "json", "strategic", "apply"]
Propagation = Literal["Background", "Foreground", "Orphan"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_WATCH_GRACE = 15.0
"""Seconds a watch may outlive the time asked for before the connection counts as dead."""


class _NotSent(ServerUnavailable):
    """No connection was made, so the server cannot have acted."""


class Client:
    """A connection pool to one API server; an async context manager.

    ``retry_for`` is how long (seconds) a safe request is tried before its last error is raised.
    """

    def __init__(self, endpoint: Endpoint, *, user_agent: str = "wherry", retry_for: float = 10.0) -> None:
        self.endpoint = endpoint
        self._user_agent = user_agent
        self._retry_for = retry_for
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector: aiohttp.BaseConnector
        if self.endpoint.socket is not None:
            connector = aiohttp.UnixConnector(path=self.endpoint.socket, limit=0)
        else:
            connector = aiohttp.TCPConnector(
                ssl=self.endpoint.ssl or True, limit=0, socket_factory=_watched_socket, ttl_dns_cache=30
            )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- verbs ---------------------------------------------------------------------------------------------------

    @overload
    async def get(self, kind: Kind[T], name: str, *, namespace: str | None = ..., raw: Literal[False] = ...) -> T: ...
    @overload
    async def get(
        self, kind: Kind[Any], name: str, *, namespace: str | None = ..., raw: Literal[True]
    ) -> dict[str, Any]: ...
    async def get(self, kind: Kind[Any], name: str, *, namespace: str | None = None, raw: bool = False) -> Any:
        """One object; NotFound when there is none. ``raw`` gives all of it as a dictionary."""
        body = await self.send("GET", kind.path(namespace=namespace, name=name))
        return decode_object(kind.as_dict() if raw else kind, body)

    async def list(
        self,
        kind: Kind[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        limit: int | None = None,
        resource_version: str | None = None,
    ) -> ObjectList[T]:
        """All objects, of one namespace or of all; with ``limit`` fetched in pages of that many.

        A page token that expires starts the list over in one piece.
        """
        path = kind.path(namespace=namespace)
        params = _selectors(label_selector, field_selector)
        if resource_version is not None:
            params["resourceVersion"] = resource_version
        first = params | ({"limit": str(limit)} if limit else {})
        page = decode_list(kind, await self.send("GET", path, params=first))
        items, revision = page.items, page.resource_version
        while page.continue_token:
            more = _selectors(label_selector, field_selector) | {"continue": page.continue_token}
            try:
                body = await self.send("GET", path, params=more | {"limit": str(limit)})
            except Gone:
                page = decode_list(kind, await self.send("GET", path, params=params))
                return ObjectList(page.items, page.resource_version)
            page = decode_list(kind, body)
            items += page.items
            revision = page.resource_version or revision
        return ObjectList(items, revision)

    async def create(self, kind: Kind[T], obj: T, *, namespace: str | None = None) -> T:
        """Create an object; AlreadyExists when the name is taken. Its namespace is the object's unless given."""
        path = kind.path(namespace=namespace or name_of(obj)[0])
        return decode_object(kind, await self.send("POST", path, body=kind.encode(obj)))

    async def update(self, kind: Kind[T], obj: T, *, subresource: str = "") -> T:
        """Replace an object; Conflict when it changed since it was read.

        Only for kinds read in full (``kind.as_dict()``): a narrow struct would erase what it does not hold.
        """
        namespace, name = name_of(obj)
        path = kind.path(namespace=namespace, name=name, subresource=subresource)
        return decode_object(kind, await self.send("PUT", path, body=kind.encode(obj)))

    async def patch(
        self,
        kind: Kind[T],
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        subresource: str = "",
        type: PatchType = "merge",
        field_manager: str | None = None,
        force: bool = False,
    ) -> T:
        """Change an object by a merge, JSON, strategic or server-side apply patch, given as plain data.

        Build status patches as dictionaries or with :func:`wherry.kube.patches.merge_diff`: an encoded struct leaves
        out fields at their defaults, so a merge patch made of it could not set a number back to zero.
        """
        params = {"fieldManager": field_manager} if field_manager else {}
        if force:
            params["force"] = "true"
        body = await self.send(
            "PATCH",
            kind.path(namespace=namespace, name=name, subresource=subresource),
            params=params,
            body=encode_body(patch),
            content_type=PATCH_TYPES[type],
        )
        return decode_object(kind, body)

    async def delete(
        self,
        kind: Kind[Any],
        name: str,
        *,
        namespace: str | None = None,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete an object; Conflict when ``uid`` or ``resource_version`` are given and do not fit."""
        body = _delete_options(grace_seconds, propagation, uid, resource_version)
        await self.send("DELETE", kind.path(namespace=namespace, name=name), body=body)

    async def delete_collection(
        self,
        kind: Kind[Any],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        propagation: Propagation | None = None,
    ) -> None:
        """Delete every object that the selectors choose."""
        body = _delete_options(None, propagation, None, None)
        params = _selectors(label_selector, field_selector)
        await self.send("DELETE", kind.path(namespace=namespace), params=params, body=body)

    async def create_subresource(
        self, kind: Kind[Any], name: str, subresource: str, body: Any, *, namespace: str | None = None
    ) -> Any:
        """POST to a subresource (binding, eviction, token); the answer as plain data."""
        path = kind.path(namespace=namespace, name=name, subresource=subresource)
        return msgspec.json.decode(await self.send("POST", path, body=encode_body(body)))

    async def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        """Any request; the JSON answer as plain data."""
        encoded = None if body is None else encode_body(body)
        return msgspec.json.decode(await self.send(method, path, params=params, body=encoded))

    async def watch(
        self,
        kind: Kind[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        timeout: float | None = None,
        bookmarks: bool = True,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Events after ``resource_version`` until the server ends the stream, normally after ``timeout`` seconds.

        Raises Gone when the version is too old, ServerUnavailable when the stream breaks. Close the iterator
        (``contextlib.aclosing``) when leaving it early. Not retried: only the caller knows what it has seen.
        ``opened`` is called once the server has accepted the watch, which may be long before the first event.
        """
        seconds = timeout if timeout is not None else random.uniform(300, 600)
        params = _selectors(label_selector, field_selector) | {
            "watch": "1",
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        if resource_version:
            params["resourceVersion"] = resource_version
        if bookmarks:
            params["allowWatchBookmarks"] = "true"
        splitter = LineSplitter()
        limits = aiohttp.ClientTimeout(total=seconds + _WATCH_GRACE, connect=10)
        async with self._exchange("GET", kind.path(namespace=namespace), params=params, timeout=limits) as response:
            if opened is not None:
                opened()
            async for chunk in response.content.iter_any():
                for line in splitter.feed(chunk):
                    yield decode_event(kind, line)
        if splitter.pending.strip():
            raise ServerUnavailable({"message": f"watch of {kind.plural} ended inside an event", "code": 0})

    # -- transport -----------------------------------------------------------------------------------------------

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
    ) -> bytes:
        """One request with retries; the bytes of a successful answer, an ApiError otherwise."""
        deadline = asyncio.get_running_loop().time() + self._retry_for
        pause = _FIRST_PAUSE
        limits = aiohttp.ClientTimeout(total=timeout, connect=10)
        while True:
            try:
                async with self._exchange(
                    method, path, params=params, body=body, content_type=content_type, timeout=limits
                ) as response:
                    return await response.read()
            except (ServerUnavailable, TooManyRequests) as error:
                wait = max(error.retry_after or 0.0, pause * random.uniform(0.5, 1.0))
                unsafe = method == "POST" and not isinstance(error, _NotSent | TooManyRequests)
                if unsafe or asyncio.get_running_loop().time() + wait > deadline:
                    raise
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One answer with a good status; everything that goes wrong while inside comes out as an ApiError."""
        if self._session is None:
            raise RuntimeError("the client is not open: use it as an async context manager")
        headers = {"Content-Type": content_type} if body is not None else {}
        if self.endpoint.token is not None and (token := await self.endpoint.token()):
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.request(
                method,
                self.endpoint.url + path,
                params=params,
                data=body,
                headers=headers,
                timeout=timeout,
                server_hostname=self.endpoint.server_name,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    retry_after = response.headers.get("Retry-After")
                    raise ApiError.from_response(response.status, await response.read(), retry_after=retry_after)
                try:
                    yield response
                finally:
                    connection = response.connection
                    if connection is not None and connection.transport is not None:
                        # Left before the answer's end, as watches are: a TLS farewell would outlast the event loop.
                        connection.transport.abort()
        except aiohttp.ClientConnectorError as error:
            raise _NotSent({"message": f"{self.endpoint.url}: {error}", "code": 0}) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            what = str(error) or type(error).__name__
            raise ServerUnavailable({"message": f"{method} {path}: {what}", "code": 0}) from error


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    params = {"labelSelector": label_selector} if label_selector else {}
    return params | ({"fieldSelector": field_selector} if field_selector else {})


def _delete_options(
    grace_seconds: int | None, propagation: Propagation | None, uid: str | None, resource_version: str | None
) -> bytes:
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    if propagation is not None:
        options["propagationPolicy"] = propagation
    wanted = {"uid": uid, "resourceVersion": resource_version}
    if preconditions := {key: value for key, value in wanted.items() if value}:
        options["preconditions"] = preconditions
    return msgspec.json.encode(options)


_UNACKNOWLEDGED = 10_000
"""Milliseconds until a peer that acknowledges nothing counts as dead."""


def _watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose dead peer is noticed within half a minute, so that an idle watch does not wait for ever.

    What was sent and not acknowledged counts sooner: the kernel repeats it ever more rarely, and a network that heals
    in between would stay unused for as long.
    """
    family, type_, protocol, _, _ = address
    connection = socket.socket(family, type_, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
    return connection
