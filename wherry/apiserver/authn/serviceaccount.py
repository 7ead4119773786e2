"""Service-account tokens: ES256 JWTs bound to a service account and, mostly, to a pod (KEP-1205).

A token counts as long as its signature, its time, its audience and the objects it is bound to do: deleting the pod or
the account ends it. The signature is checked once per token, the objects on every use.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.apiserver.authn.identity import (
    SERVICE_ACCOUNT_PREFIX,
    Extra,
    Identity,
    authenticated,
    service_account_groups,
)

_CACHE_SIZE = 4096
_LEEWAY = 10.0  # seconds a token may be ahead of our clock

UidOf = Callable[[str, str, str], str | None]
"""The uid of an object by resource (`serviceaccounts`, `pods`, ...), namespace and name; None when it is gone."""

BOUND_KINDS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


@dataclass(frozen=True, slots=True)
class Bound:
    """An object a token is bound to."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class _Claims:
    namespace: str
    account: Bound
    bound: tuple[Bound, ...]
    audiences: tuple[str, ...]
    expires: float
    token_id: str


class ServiceAccountTokens:
    """Issues and checks tokens with one signing key."""

    def __init__(self, key_file: Path, *, issuer: str, uid_of: UidOf, clock: Callable[[], float] = time.time) -> None:
        self._key_file = key_file
        self.issuer = issuer
        self._uid_of = uid_of
        self._clock = clock
        self._keys: tuple[Any, Any, str] | None = None
        self._known: dict[bytes, _Claims | None] = {}

    def _load(self) -> tuple[Any, Any, str]:
        """Private key, public key and key id; loaded late because the library takes its time."""
        if self._keys is None:
            from wherry.kube import pki

            pem = self._key_file.read_bytes()
            private = pki.load_private_key(pem)
            self._keys = (private, private.public_key(), pki.key_id(pki.public_pem(pem)))
        return self._keys

    def issue(
        self,
        *,
        namespace: str,
        account: str,
        account_uid: str,
        audiences: Sequence[str],
        seconds: int,
        bound: Sequence[Bound] = (),
    ) -> tuple[str, float]:
        """A new token and when it ends (Unix time)."""
        import jwt

        private, _, key_id = self._load()
        now = int(self._clock())
        claims: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": account, "uid": account_uid}}
        for one in bound:
            claims[one.kind.lower()] = {"name": one.name, "uid": one.uid}
        body = {
            "aud": list(audiences),
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "sub": f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{account}",
            "kubernetes.io": claims,
        }
        return jwt.encode(body, private, algorithm="ES256", headers={"kid": key_id}), float(now + seconds)

    def check(self, token: str, audiences: Sequence[str]) -> tuple[Identity, tuple[str, ...]] | None:
        """Who holds `token`, and which of `audiences` it is for; None when it does not count."""
        claims = self._claims(token)
        if claims is None or self._clock() > claims.expires:
            return None
        common = tuple(audience for audience in audiences if audience in claims.audiences)
        if not common:
            return None
        namespace = claims.namespace
        if self._uid_of("serviceaccounts", namespace, claims.account.name) != claims.account.uid:
            return None
        extra: Extra = (("authentication.kubernetes.io/credential-id", (f"JTI={claims.token_id}",)),)
        for one in claims.bound:
            scope = "" if one.kind == "Node" else namespace
            # A pod's token also names its node; only the pod has to be there still.
            counts = one.kind != "Node" or len(claims.bound) == 1
            if counts and self._uid_of(BOUND_KINDS[one.kind], scope, one.name) != one.uid:
                return None
            prefix = f"authentication.kubernetes.io/{one.kind.lower()}"
            extra += ((f"{prefix}-name", (one.name,)), (f"{prefix}-uid", (one.uid,)))
        name = f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{claims.account.name}"
        return authenticated(name, claims.account.uid, service_account_groups(namespace), extra), common

    def _claims(self, token: str) -> _Claims | None:
        digest = hashlib.sha256(token.encode()).digest()
        if digest in self._known:
            return self._known[digest]
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        found = self._known[digest] = self._decode(token)
        return found

    def _decode(self, token: str) -> _Claims | None:
        import jwt

        options: Any = {"verify_aud": False, "verify_exp": False, "require": ["exp", "iat", "sub", "aud", "iss"]}
        try:
            body = jwt.decode(
                token, self._load()[1], algorithms=["ES256"], issuer=self.issuer, options=options, leeway=_LEEWAY
            )
            private = body["kubernetes.io"]
            account = private["serviceaccount"]
            audience = body["aud"]
            bound = tuple(
                Bound(kind, private[kind.lower()]["name"], private[kind.lower()]["uid"])
                for kind in BOUND_KINDS
                if kind.lower() in private
            )
            return _Claims(
                private["namespace"],
                Bound("ServiceAccount", account["name"], account["uid"]),
                bound,
                (audience,) if isinstance(audience, str) else tuple(audience),
                float(body["exp"]),
                body.get("jti", ""),
            )
        except (jwt.InvalidTokenError, KeyError, TypeError):
            return None

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        import base64

        _, public, key_id = self._load()
        numbers = public.public_numbers()

        def number(value: int) -> str:
            return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()

        key = {"use": "sig", "kty": "EC", "kid": key_id, "crv": "P-256", "alg": "ES256"}
        return {"keys": [{**key, "x": number(numbers.x), "y": number(numbers.y)}]}
