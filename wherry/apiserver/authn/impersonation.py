"""Acting as somebody else: the Impersonate-* headers, each of which needs a right of its own.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import unquote

from wherry.apiserver.authn.identity import (
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    Identity,
    service_account_groups,
    split_service_account,
)
from wherry.apiserver.authz.rules import Attributes
from wherry.apiserver.kinds.model import refuse_bad_request
from wherry.apiserver.request import Request

_EXTRA = "impersonate-extra-"

Permit = Callable[[Identity, Attributes], None]
"""Raises Refusal (403) where the identity may not do it."""


def impersonate(request: Request, identity: Identity, permit: Permit) -> Identity:
    """The identity the request acts under; raises Refusal for malformed headers and missing rights."""
    user = request.headers.get("impersonate-user", "")
    groups = request.all_headers("impersonate-group")
    uid = request.headers.get("impersonate-uid", "")
    extra = _extra(request)
    if not (user or groups or uid or extra):
        return identity
    if not user:
        shown = ", ".join(json.dumps(group) for group in groups)
        listed = f"[]string{{{shown}}}" if groups else "[]string(nil)"
        raise refuse_bad_request(
            f'requested &user.DefaultInfo{{Name:"", UID:"{uid}", Groups:{listed}, Extra:map[string][]string(nil)}}'
            " without impersonating a user name"
        )
    account = split_service_account(user)
    if account is not None:
        permit(identity, Attributes("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1]))
    else:
        permit(identity, Attributes("impersonate", resource="users", name=user))
    for group in groups:
        permit(identity, Attributes("impersonate", resource="groups", name=group))
    api = "authentication.k8s.io"
    for key, values in extra.items():
        for value in values:
            permit(identity, Attributes("impersonate", api, resource="userextras", subresource=key, name=value))
    if uid:
        permit(identity, Attributes("impersonate", api, resource="uids", name=uid))
    if account is not None and not groups:
        groups = list(service_account_groups(account[0]))
    last = UNAUTHENTICATED if user == ANONYMOUS.name else AUTHENTICATED
    if last not in groups:
        groups.append(last)
    return Identity(user, uid, tuple(groups), tuple((key, tuple(values)) for key, values in sorted(extra.items())))


def _extra(request: Request) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in request.header_names():
        low = name.lower()
        if low.startswith(_EXTRA):
            found[unquote(low[len(_EXTRA) :])] = request.all_headers(name)
    return found
