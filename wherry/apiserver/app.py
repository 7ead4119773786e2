"""From a request to its handler: authentication, impersonation, authorization, routing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from wherry.apiserver.authn import Authenticator, Identity
from wherry.apiserver.authn.impersonation import impersonate
from wherry.apiserver.authz.rules import Attributes
from wherry.apiserver.core import Call, Core
from wherry.apiserver.encode import payload
from wherry.apiserver.handlers import create, delete, patch, read, update
from wherry.apiserver.handlers.body import warn
from wherry.apiserver.handlers.scale import get_scale, patch_scale, update_scale
from wherry.apiserver.kinds.model import Refusal, Subresource, refuse_forbidden
from wherry.apiserver.negotiate import PLAIN, Format, negotiate
from wherry.apiserver.request import TEXT, Answer, Request, Response, parse_route
from wherry.apiserver.status import failure, method_not_allowed, not_found_resource
from wherry.apiserver.storage import StorageError

Handler = Callable[[Call], Awaitable[Answer]]
PartHandler = Callable[[Call, Subresource], Awaitable[Answer]]
PathHandler = Callable[[Request, list[str]], Answer | None]
JoinHandler = Callable[[Request, list[str]], Awaitable[Answer]]

log = logging.getLogger("wherry.apiserver")

_VERBS: dict[str, Handler] = {
    "get": read.get,
    "list": read.list_objects,
    "watch": read.watch,
    "create": create.create,
    "update": update.update,
    "patch": patch.patch,
    "delete": delete.delete,
    "deletecollection": delete.delete_collection,
}
_OBJECT_PART: dict[str, Handler] = {"get": read.get, "update": update.update, "patch": patch.patch}
_SCALE: dict[str, PartHandler] = {"get": get_scale, "update": update_scale, "patch": patch_scale}
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class App:
    """One server's request handling.

    `special` answers creates of resources that are not stored (reviews), `computed` everything about resources that are
    made up when somebody asks (metrics), `parts` subresources by group, resource and
    name, `paths` what lies outside of /api and /apis by the first part of the path.
    """

    def __init__(
        self,
        core: Core,
        authenticator: Authenticator,
        *,
        special: Mapping[tuple[str, str], Handler],
        parts: Mapping[tuple[str, str, str], PartHandler],
        connects: Mapping[tuple[str, str, str], Handler],
        paths: Mapping[str, PathHandler],
        computed: Mapping[tuple[str, str], Handler] | None = None,
        join: JoinHandler | None = None,
    ) -> None:
        self._core = core
        self._authenticator = authenticator
        self._special = special
        self._parts = parts
        self._connects = connects
        self._paths = paths
        self._computed = computed or {}
        self._join = join

    async def handle(self, request: Request) -> Answer:
        """The answer to any request; never raises for what a client did."""
        try:
            return await self._handle(request)
        except Refusal as refusal:
            return self._refused(request, refusal)
        except StorageError as error:
            log.error("%s", error)
            return self._refused(request, failure(500, "InternalError", f"Internal error occurred: {error}"))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            text = f"Internal error occurred: {type(error).__name__}"
            causes = {"causes": [{"message": str(error)}]}
            return self._refused(request, failure(500, "InternalError", text, causes))

    def _refused(self, request: Request, refusal: Refusal) -> Response:
        try:
            form = negotiate(request.headers.get("accept", ""), shapes=True, discovery=True)
        except Refusal:
            form = PLAIN
        status = refusal.status
        headers: tuple[tuple[str, str], ...] = ()
        seconds = status.get("details", {}).get("retryAfterSeconds")
        if seconds:
            headers = (("Retry-After", str(seconds)),)
        return Response(refusal.code, payload(Format(form.media_type), status), form.media_type, headers)

    async def _handle(self, request: Request) -> Answer:
        if self._join is not None and request.path.startswith("/v1-wherry/"):
            return await self._join(request, request.path.split("/")[2:])
        identity = self._authenticator.identify(request)
        identity = impersonate(request, identity, self._permit)
        route = parse_route(request.method, request.path, request.query)
        if not route.resource:
            return self._path(request, identity)
        if route.verb:
            self._permit(
                identity,
                Attributes(route.verb, route.group, route.resource, route.subresource, route.namespace, route.name),
            )
        return await self._resource(Call(self._core, request, route, identity))

    def _permit(self, identity: Identity, asked: Attributes) -> None:
        allowed, _ = self._core.rbac.decide(identity, asked)
        if not allowed:
            raise forbidden(identity, asked)

    def _path(self, request: Request, identity: Identity) -> Answer:
        verb = request.method.lower()
        self._permit(identity, Attributes(verb, path=request.path))
        parts = request.path.split("/")[1:]
        if len(parts) > 1 and parts[-1] == "" and parts[0] in ("api", "apis", "version"):
            parts.pop()
        handler = self._paths.get(parts[0])
        if handler is not None:
            if request.method not in ("GET",):
                raise method_not_allowed()
            found = handler(request, parts)
            if found is not None:
                return found
        if parts[0] == "api" or (parts[0] == "apis" and len(parts) > 1 and self._known_group(parts[1])):
            raise not_found_resource()
        return Response(404, b"404 page not found\n", TEXT)

    def _known_group(self, group: str) -> bool:
        return group in self._core.registry.groups()

    async def _resource(self, call: Call) -> Answer:
        route = call.route
        served = self._core.registry.lookup(route.group, route.version, route.resource)
        if served is None or route.malformed:
            if route.group and not self._known_group(route.group):
                return Response(404, b"404 page not found\n", TEXT)
            raise not_found_resource()
        call.served = served
        row = served.resource
        if row.namespaced and not route.namespace and route.verb not in ("list", "watch"):
            # Without a namespace only lists and watches over all of them exist.
            raise method_not_allowed() if not route.name else not_found_resource()
        if not row.namespaced and route.namespace and row.plural != "namespaces":
            raise not_found_resource()
        if row.deprecation:
            warn(call.request, row.deprecation)
        if route.subresource:
            return await self._part(call)
        computed = self._computed.get((row.group, row.plural))
        if computed is not None and route.verb in row.verbs:
            return await computed(call)
        special = self._special.get((row.group, row.plural))
        handler = special if special is not None and route.verb == "create" else _VERBS.get(route.verb)
        if handler is None or route.verb not in row.verbs or (route.name and route.verb == "create"):
            raise method_not_allowed()
        if not route.name and route.verb in ("update", "patch"):
            raise method_not_allowed()
        return await handler(call)

    async def _part(self, call: Call) -> Answer:
        route, row = call.route, call.served.resource
        sub = row.by_subresource.get(route.subresource)
        if sub is None or (route.rest and sub.style != "connect"):
            raise not_found_resource()
        if route.verb not in sub.verbs:
            raise method_not_allowed()
        key = (row.group, row.plural, sub.name)
        connect = self._connects.get(key)
        if connect is not None:
            return await connect(call)
        part = self._parts.get(key)
        if part is not None:
            return await part(call, sub)
        if sub.style == "scale":
            return await _SCALE[route.verb](call, sub)
        if sub.style == "create":
            return await self._parts["", "", "create"](call, sub)
        handler = _OBJECT_PART.get(route.verb)
        if sub.style != "object" or handler is None:
            raise failure(501, "NotImplemented", f"{row.plural}/{sub.name} is not served here")
        return await handler(call)


def forbidden(identity: Identity, asked: Attributes) -> Refusal:
    """403 for what RBAC does not allow."""
    who = f'User "{identity.name}" cannot {asked.verb}'
    if asked.path:
        text = f'forbidden: {who} path "{asked.path}"'
        return failure(403, "Forbidden", text, {})
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    text = f'{who} resource "{asked.full_resource}" in API group "{asked.group}" {where}'
    refusal = refuse_forbidden(asked.group, asked.resource, asked.name, text)
    if not asked.name:
        refusal.status["message"] = refusal.status["message"].replace(' ""', "", 1)
    return refusal
