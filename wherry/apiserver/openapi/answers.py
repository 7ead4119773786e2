"""``/openapi/v2`` and ``/openapi/v3`` over HTTP: media types, hashes, and what clients may keep.

The answers are those of kube-openapi's handlers: a document's hash is its ETag, and one of v3 that was asked for by
its hash never changes, so that clients keep it for a year.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from wherry.apiserver.negotiate import clauses
from wherry.apiserver.openapi.documents import Document, OpenApi, url
from wherry.apiserver.request import JSON, TEXT, Answer, Request, Response
from wherry.apiserver.served import Registry

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_PROTOBUF_OLD = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_ANY = ("*/*", "application/*")
_FOREVER = timedelta(days=365)

Headers = tuple[tuple[str, str], ...]


class OpenApiAnswers:
    """Answers requests for the documents of a registry."""

    def __init__(self, registry: Registry, *, version: str) -> None:
        self._documents = OpenApi(registry, version=version)

    def answer(self, request: Request, parts: list[str]) -> Answer | None:
        """The document at a path below /openapi, or None where there is none."""
        if parts[1:] == ["v2"]:
            return self._v2(request)
        if parts[1:] == ["v3"]:
            return _given(request, self._documents.index(), TEXT)
        if len(parts) > 2 and parts[1] == "v3":
            return self._v3(request, "/".join(parts[2:]))
        return None

    def _v2(self, request: Request) -> Answer:
        wanted = _choose(request, (JSON, V2_PROTOBUF, _V2_PROTOBUF_OLD))
        if wanted is None:
            return _NOT_ACCEPTABLE
        if wanted == JSON:
            return _given(request, self._documents.v2(), JSON, _VARY)
        return _given(request, self._documents.v2(protobuf=True), V2_PROTOBUF, _VARY)

    def _v3(self, request: Request, path: str) -> Answer:
        document = self._documents.document(path)
        if document is None:
            return Response(404, b"", "")
        if _choose(request, (JSON,)) is None:
            return _NOT_ACCEPTABLE
        asked = request.query.get("hash")
        if asked and asked != document.hash:
            return Response(301, b"", "", (("Location", url(path, document.hash)), *_VARY))
        headers = _VARY
        if asked:
            expires = format_datetime(datetime.now(UTC) + _FOREVER, usegmt=True)
            headers += (("Cache-Control", "public, immutable"), ("Expires", expires))
        return _given(request, document, JSON, headers)


_VARY: Headers = (("Vary", "Accept"),)
_NOT_ACCEPTABLE = Response(406, b"", "", _VARY)


def _choose(request: Request, offered: tuple[str, ...]) -> str | None:
    """The media type to answer with, or None where the client takes none of them."""
    for media_type, _ in clauses(request.headers.get("accept", "") or "*/*"):
        if media_type in offered:
            return media_type
        if media_type in _ANY:
            return offered[0]
    return None


def _given(request: Request, document: Document, content_type: str, headers: Headers = ()) -> Response:
    """The document, unless the client has it already."""
    etag = f'"{document.hash}"'
    headers = (("ETag", etag), *headers)
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", "", headers)
    return Response(200, document.body, content_type, headers)
