"""Service account tokens of pods, asked for when first needed and renewed well before they expire.

A token is bound to its pod (the API server refuses it once the pod is gone) and is renewed when four fifths of its life
or a day have passed, which leaves an API server that is away for a while no chance to lock a pod out. The old token
stays in use until a new one was got.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from wherry.kube.client import Client
from wherry.kube.errors import ApiError
from wherry.kube.kinds import SERVICE_ACCOUNTS
from wherry.kube.objects import Pod, ServiceAccountTokenProjection
from wherry.kube.times import parse_time
from wherry.pods.volumes.payload import MountError

_LONGEST_USE = 24 * 3600.0
_USED_PART = 0.8
_RETRY = 30.0
"""Seconds until a renewal that failed is tried again."""


class _Token(msgspec.Struct, frozen=True):
    text: str
    renew_at: float
    expires_at: float


class Tokens:
    """The tokens of one pod."""

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._tokens: dict[ServiceAccountTokenProjection, _Token] = {}

    @property
    def renew_at(self) -> float | None:
        """When the next token is due for renewal, in seconds since the epoch."""
        return min((token.renew_at for token in self._tokens.values()), default=None)

    async def get(self, pod: Pod, wanted: ServiceAccountTokenProjection) -> str:
        """Return a token that is good now. Raises `MountError` when there is none to be had."""
        kept = self._tokens.get(wanted)
        now = self._clock()
        if kept is not None and now < kept.renew_at:
            return kept.text
        try:
            token = await self._request(pod, wanted)
        except ApiError as error:
            if kept is not None and now < kept.expires_at:
                self._tokens[wanted] = msgspec.structs.replace(kept, renew_at=now + _RETRY)
                return kept.text
            account = f"{pod.namespace}/{pod.spec.service_account_name or 'default'}"
            raise MountError(f"failed to fetch token for service account {account}: {error}") from error
        self._tokens[wanted] = token
        return token.text

    async def _request(self, pod: Pod, wanted: ServiceAccountTokenProjection) -> _Token:
        asked = self._clock()
        spec: dict[str, Any] = {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": wanted.expiration_seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid},
        }
        answer = await self._client.create_subresource(
            SERVICE_ACCOUNTS,
            pod.spec.service_account_name or "default",
            "token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
            namespace=pod.namespace,
        )
        expires = parse_time(answer["status"]["expirationTimestamp"])
        used = min((expires - asked) * _USED_PART, _LONGEST_USE)
        return _Token(text=answer["status"]["token"], renew_at=asked + used, expires_at=expires)
