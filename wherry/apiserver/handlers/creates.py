"""Subresources that are created: bindings and tokens (evictions: ``eviction.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from wherry.apiserver.authn.serviceaccount import BOUND_KINDS, Bound, ServiceAccountTokens
from wherry.apiserver.core import Call
from wherry.apiserver.encode import payload
from wherry.apiserver.handlers.body import decode_body
from wherry.apiserver.handlers.guards import guard_token
from wherry.apiserver.handlers.options import read_write_options
from wherry.apiserver.handlers.update import replace
from wherry.apiserver.kinds.model import (
    FieldError,
    Object,
    Subresource,
    invalid,
    refuse_bad_request,
    refuse_invalid,
    refuse_not_found,
)
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.negotiate import negotiate
from wherry.apiserver.request import Answer, Response
from wherry.apiserver.status import success

_MIN_SECONDS, _MAX_SECONDS = 600, 1 << 32
_AUTHENTICATION = "authentication.k8s.io"


async def read_part(call: Call, sub: Subresource) -> Object:
    """The body of a created subresource, defaulted and checked; raises Refusal."""
    row = call.served.resource
    options = read_write_options("CreateOptions", call.request.query)
    group = row.group if sub.group is None else sub.group
    version = row.version if sub.version is None else sub.version
    body = await decode_body(call, group=group, version=version, kind=sub.kind, validation=options.validation)
    sub.default(body)
    errors = sub.validate(body)
    if errors:
        raise refuse_invalid(group, sub.kind, body.get("metadata", {}).get("name", ""), errors)
    return body


async def create_part(call: Call, sub: Subresource) -> Answer:
    """A subresource whose creation changes its parent, as a binding does."""
    return await _write(call, sub, await read_part(call, sub))


async def bind(call: Call) -> Answer:
    """A binding made in the collection of bindings: its name is the pod's."""
    pods = call.core.registry.lookup("", "v1", "pods")
    assert pods is not None  # built in
    sub = pods.resource.by_subresource["binding"]
    route = call.route
    on_pod = Call(call.core, call.request, route._replace(resource="pods", subresource="binding"), call.identity)
    on_pod.served = pods
    body = await read_part(on_pod, sub)
    on_pod.route = on_pod.route._replace(name=body.get("metadata", {}).get("name", ""))
    return await _write(on_pod, sub, body)


async def _write(call: Call, sub: Subresource, body: Object) -> Answer:
    form = negotiate(call.request.headers.get("accept", ""), shapes=False)
    options = read_write_options("CreateOptions", call.request.query)
    ctx = call.core.context(call.identity, dry_run=options.dry_run)

    def change(old: Object) -> Object:
        if sub.create is not None:
            sub.create(old, body, ctx)
        return old

    await replace(call, change, options, admitted=False)
    return Response(201, payload(form, success(code=201)), form.media_type)


class TokenRequests:
    """The token subresource of service accounts."""

    def __init__(self, tokens: ServiceAccountTokens, audiences: Sequence[str]) -> None:
        self._tokens = tokens
        self._audiences = audiences

    async def create(self, call: Call, sub: Subresource) -> Answer:
        """A new token for the service account in the path."""
        form = negotiate(call.request.headers.get("accept", ""), shapes=False)
        body = await read_part(call, sub)
        served, route = call.served, call.route
        entry = served.bucket.get(call.key)
        if entry is None:
            raise refuse_not_found(served.group, served.plural, route.name)
        spec = body.setdefault("spec", {})
        spec["audiences"] = spec.get("audiences") or list(self._audiences[:1])
        seconds = spec.setdefault("expirationSeconds", 3600)
        _check_lifetime(seconds)
        guard_token(call, spec.get("boundObjectRef"))
        bound = self._bound(call, spec.get("boundObjectRef"))
        metadata = served.object(entry)["metadata"]
        token, expires = self._tokens.issue(
            namespace=route.namespace,
            account=route.name,
            account_uid=entry.uid,
            audiences=spec["audiences"],
            seconds=seconds,
            bound=bound,
        )
        body["metadata"] = {
            "name": route.name,
            "namespace": route.namespace,
            "uid": metadata["uid"],
            "creationTimestamp": format_time(call.core.clock()),
        }
        spec.setdefault("boundObjectRef", None)
        ends = format_time(datetime.fromtimestamp(expires, UTC))
        body["status"] = {"token": token, "expirationTimestamp": ends}
        return Response(201, payload(form, body), form.media_type)

    def _bound(self, call: Call, reference: dict[str, Any] | None) -> tuple[Bound, ...]:
        if reference is None:
            return ()
        kind, name = reference.get("kind", ""), reference.get("name", "")
        plural = BOUND_KINDS.get(kind)
        if plural is None:
            text = f"cannot bind token for serviceaccount to object type {reference.get('apiVersion', '')}, Kind={kind}"
            raise refuse_bad_request(text)
        bucket = call.core.registry.bucket("", plural)
        entry = bucket.head(name if kind == "Node" else f"{call.route.namespace}/{name}")
        if entry is None:
            raise refuse_not_found("", plural, name)
        wanted = reference.get("uid")
        if wanted and wanted != entry.uid:
            error = invalid("spec.boundObjectRef.uid", wanted, f"does not match the uid of the {kind} ({entry.uid})")
            raise refuse_invalid(_AUTHENTICATION, "TokenRequest", "", [error])
        found: tuple[Bound, ...] = (Bound(kind, name, entry.uid),)
        if kind == "Pod":
            pod = entry.object()
            if pod.get("spec", {}).get("serviceAccountName") != call.route.name:
                text = f"cannot bind token to pod {name} running with different service account name"
                raise refuse_invalid(_AUTHENTICATION, "TokenRequest", "", [invalid("spec.boundObjectRef", name, text)])
            node = pod["spec"].get("nodeName", "")
            node_entry = call.core.registry.bucket("", "nodes").head(node) if node else None
            if node_entry is not None:
                found += (Bound("Node", node, node_entry.uid),)
        return found


def _check_lifetime(seconds: int) -> None:
    errors: list[FieldError] = []
    if seconds < _MIN_SECONDS:
        text = "may not specify a duration less than 10 minutes"
        errors.append(invalid("spec.expirationSeconds", seconds, text))
    if seconds > _MAX_SECONDS:
        text = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid("spec.expirationSeconds", seconds, text))
    if errors:
        raise refuse_invalid(_AUTHENTICATION, "TokenRequest", "", errors)
