"""The chain of authenticators: certificate, then bearer token, then nobody in particular."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from wherry.apiserver.authn.identity import ANONYMOUS, Identity, authenticated
from wherry.apiserver.authn.serviceaccount import ServiceAccountTokens
from wherry.apiserver.authn.tokenfile import TokenFile
from wherry.apiserver.request import Request, Subject
from wherry.apiserver.status import unauthorized


@lru_cache(maxsize=512)
def _from_certificate(subject: Subject) -> Identity | None:
    name, groups = "", []
    for relative in subject:
        for attribute, value in relative:
            if attribute == "commonName":
                name = value
            elif attribute == "organizationName":
                groups.append(value)
    return authenticated(name, "", tuple(groups)) if name else None


class Authenticator:
    """Finds the caller of a request. `audiences` are those that name this server."""

    def __init__(
        self, *, tokens: TokenFile | None, accounts: ServiceAccountTokens | None, audiences: Sequence[str]
    ) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self.audiences = tuple(audiences)

    def identify(self, request: Request) -> Identity:
        """Who asks; raises Refusal (401) for a token that does not count, whatever is asked for."""
        if request.certificate is not None:
            found = _from_certificate(request.certificate)
            if found is not None:
                return found
        header = request.headers.get("authorization")
        if header is None:
            return ANONYMOUS
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        found = self.check_token(token.strip())
        if found is None:
            raise unauthorized()
        return found

    def check_token(self, token: str) -> Identity | None:
        """Who holds a bearer token meant for this server."""
        found = self.review_token(token, self.audiences)
        return found[0] if found is not None else None

    def review_token(self, token: str, audiences: Sequence[str]) -> tuple[Identity, tuple[str, ...]] | None:
        """Who holds `token`, and which of `audiences` it is for."""
        if self._tokens is not None:
            found = self._tokens.lookup(token)
            if found is not None:
                common = tuple(audience for audience in audiences if audience in self.audiences)
                return (found, common) if common else None
        if self._accounts is not None and token.count(".") == 2:
            return self._accounts.check(token, audiences)
        return None
