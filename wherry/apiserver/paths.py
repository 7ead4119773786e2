"""What lies outside of resources: discovery, health, version, OpenAPI, token keys, the index."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from wherry.apiserver import version
from wherry.apiserver.authn.serviceaccount import ServiceAccountTokens
from wherry.apiserver.config import ApiServerConfig
from wherry.apiserver.discovery import Discovery
from wherry.apiserver.health import Health
from wherry.apiserver.openapi.answers import OpenApiAnswers
from wherry.apiserver.request import Answer, Request, Response
from wherry.apiserver.served import Registry

_encode = msgspec.json.Encoder().encode
_INDEX = (
    "/.well-known/openid-configuration",
    "/healthz",
    "/healthz/ping",
    "/livez",
    "/livez/ping",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/readyz/ping",
    "/version",
)
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

PathHandler = Callable[[Request, list[str]], Answer | None]


class Paths:
    """The handlers of such paths, by their first part."""

    def __init__(
        self,
        registry: Registry,
        accounts: ServiceAccountTokens | None,
        config: ApiServerConfig,
        ready: Callable[[], bool],
        measure: Callable[[], str],
    ) -> None:
        host = config.advertise_addresses[0] if config.advertise_addresses else "127.0.0.1"
        address = f"[{host}]" if ":" in str(host) else str(host)
        self._registry = registry
        self._accounts = accounts
        self._config = config
        self._discovery = Discovery(registry, lambda: f"{address}:{config.advertise_port}")
        self._health = Health({}, {"startup": lambda: None if ready() else "the server is starting or stopping"})
        self._openapi = OpenApiAnswers(registry, version=version.GIT_VERSION)
        self._measure = measure

    def table(self) -> dict[str, PathHandler]:
        """The handlers."""
        return {
            "": self._index,
            "api": self._discovery.answer,
            "apis": self._discovery.answer,
            "healthz": self._health.answer,
            "livez": self._health.answer,
            "readyz": self._health.answer,
            "version": self._version,
            "openapi": self._openapi.answer,
            "openid": self._keys,
            ".well-known": self._issuer,
            "metrics": self._metrics,
        }

    def _index(self, request: Request, parts: list[str]) -> Answer | None:
        if parts != [""]:
            return None
        found = {"/", "/api", "/api/v1", "/apis", *_INDEX}
        for group in self._registry.groups():
            found.add(f"/apis/{group}")
            found |= {f"/apis/{group}/{one}" for one in self._registry.versions(group)}
        return Response(200, _encode({"paths": sorted(found - {"/"})}))

    def _version(self, request: Request, parts: list[str]) -> Answer | None:
        return Response(200, _encode(version.document())) if len(parts) == 1 else None

    def _metrics(self, request: Request, parts: list[str]) -> Answer | None:
        return Response(200, self._measure().encode(), _METRICS_TYPE) if len(parts) == 1 else None

    def _keys(self, request: Request, parts: list[str]) -> Answer | None:
        if parts != ["openid", "v1", "jwks"] or self._accounts is None:
            return None
        return Response(200, _encode(self._accounts.jwks()), "application/jwk-set+json")

    def _issuer(self, request: Request, parts: list[str]) -> Answer | None:
        if parts != [".well-known", "openid-configuration"] or self._accounts is None:
            return None
        host = self._config.advertise_addresses[0]
        address = f"[{host}]" if ":" in str(host) else str(host)
        body = {
            "issuer": self._accounts.issuer,
            "jwks_uri": f"https://{address}:{self._config.advertise_port}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        return Response(200, _encode(body))
