"""Questions instead of objects: access reviews, token reviews, who am I. Nothing of them is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from wherry.apiserver.authn.authenticator import Authenticator
from wherry.apiserver.authz.rules import Attributes, Rule
from wherry.apiserver.core import Call
from wherry.apiserver.encode import payload
from wherry.apiserver.handlers.body import decode_body
from wherry.apiserver.handlers.options import read_write_options
from wherry.apiserver.kinds.core.reviews import AUTHENTICATION, AUTHORIZATION
from wherry.apiserver.kinds.model import Object, User, invalid, refuse_bad_request, refuse_invalid
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.negotiate import negotiate
from wherry.apiserver.request import Answer, Response

Review = Callable[[Call, Object], None]


class Reviews:
    """Answers every kind of review; each fills in the status of the object it gets."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._by_kind: dict[tuple[str, str], Review] = {
            (AUTHORIZATION, "selfsubjectaccessreviews"): self._self_access,
            (AUTHORIZATION, "subjectaccessreviews"): self._access,
            (AUTHORIZATION, "localsubjectaccessreviews"): self._local_access,
            (AUTHORIZATION, "selfsubjectrulesreviews"): self._rules,
            (AUTHENTICATION, "selfsubjectreviews"): self._self,
            (AUTHENTICATION, "tokenreviews"): self._token,
        }

    def handlers(self) -> dict[tuple[str, str], Callable[[Call], Awaitable[Answer]]]:
        """The handlers by group and resource."""
        return {key: partial(_answer, review) for key, review in self._by_kind.items()}

    def _self(self, call: Call, body: Object) -> None:
        body["metadata"]["creationTimestamp"] = format_time(call.core.clock())
        body["status"] = {"userInfo": call.identity.info()}

    def _token(self, call: Call, body: Object) -> None:
        spec = body.setdefault("spec", {})
        token = spec.get("token")
        if not token:
            raise refuse_bad_request("token is required for TokenReview in authentication")
        found = self._authenticator.review_token(token, spec.get("audiences") or self._authenticator.audiences)
        if found is None:
            body["status"] = {"user": {}, "error": "the token is invalid, expired or meant for another audience"}
        else:
            identity, audiences = found
            body["status"] = {"authenticated": True, "user": identity.info(), "audiences": list(audiences)}

    def _self_access(self, call: Call, body: Object) -> None:
        spec = body.setdefault("spec", {})
        _check_question(spec)
        body["status"] = _decide(call, call.identity, spec)

    def _access(self, call: Call, body: Object) -> None:
        spec = body.setdefault("spec", {})
        _check_question(spec)
        body["status"] = _decide(call, _subject(spec), spec)

    def _local_access(self, call: Call, body: Object) -> None:
        spec = body.setdefault("spec", {})
        _check_question(spec)
        body["metadata"].setdefault("namespace", call.route.namespace)
        asked = (spec.get("resourceAttributes") or {}).get("namespace", "")
        if asked != call.route.namespace:
            error = invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace")
            raise refuse_invalid(AUTHORIZATION, "", "", [error])
        body["status"] = _decide(call, _subject(spec), spec)

    def _rules(self, call: Call, body: Object) -> None:
        namespace = body.setdefault("spec", {}).get("namespace", "")
        if not namespace:
            raise refuse_bad_request("no namespace on request")
        rules = call.core.rbac.rules(call.identity, namespace)
        body["spec"] = {}
        body["status"] = {
            "resourceRules": [_listed(rule) for rule in rules if rule.resources],
            "nonResourceRules": [_listed(rule) for rule in rules if rule.paths],
            "incomplete": False,
        }


async def _answer(review: Review, call: Call) -> Answer:
    row = call.served.resource
    form = negotiate(call.request.headers.get("accept", ""), shapes=False)
    options = read_write_options("CreateOptions", call.request.query)
    body = await decode_body(call, group=row.group, version=row.version, kind=row.kind, validation=options.validation)
    body.setdefault("metadata", {})
    review(call, body)
    return Response(201, payload(form, body), form.media_type)


def _listed(rule: Rule) -> dict[str, Any]:
    return rule.to_object()


def _check_question(spec: Object) -> None:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        name = "nonResourceAttributes" if resource is not None else "resourceAttributes"
        shown = None if resource is None else path
        raise refuse_invalid(AUTHORIZATION, "", "", [invalid(f"spec.{name}", shown, text)])


def _subject(spec: Object) -> User:
    user, groups = spec.get("user", ""), spec.get("groups") or ()
    if not user and not groups:
        text = "at least one of user or group must be specified"
        raise refuse_invalid(AUTHORIZATION, "", "", [invalid("spec.user", "", text)])
    return User(user, spec.get("uid", ""), tuple(groups))


def _decide(call: Call, user: User, spec: Object) -> Object:
    resource = spec.get("resourceAttributes")
    if resource is not None:
        asked = Attributes(
            resource.get("verb", ""),
            resource.get("group", ""),
            resource.get("resource", ""),
            resource.get("subresource", ""),
            resource.get("namespace", ""),
            resource.get("name", ""),
        )
    else:
        path = spec["nonResourceAttributes"]
        asked = Attributes(path.get("verb", ""), path=path.get("path", ""))
    allowed, reason = call.core.rbac.decide(user, asked)
    return {"allowed": allowed, "reason": reason} if reason else {"allowed": allowed}
