"""Which form of answer a client asks for: the Accept header after the rules of k8s.io/apiserver's negotiation.

Answers are JSON or YAML; clients that name protobuf first name JSON, too. Beside the media type a client may ask for
another shape: a Table for people, or the metadata alone for controllers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.request import JSON, PROTOBUF, YAML
from wherry.apiserver.status import failure

ACCEPTED = (JSON, YAML, PROTOBUF)
_STREAMS = (f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")
_SHAPES = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
_AGGREGATED = "APIGroupDiscoveryList"


class Format(NamedTuple):
    """The form of an answer; `shape` is empty for the object itself, else the kind that replaces it."""

    media_type: str = JSON
    shape: str = ""
    version: str = ""
    aggregated: bool = False

    @property
    def plain(self) -> bool:
        """Whether stored bytes can be sent as they are."""
        return self.media_type == JSON and not self.shape


PLAIN = Format()


def not_acceptable(message: str, *, details: bool = False) -> Refusal:
    """406."""
    return failure(406, "NotAcceptable", message, {} if details else None)


def clauses(accept: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The media types of an Accept header with their parameters, the most wanted first."""
    ranked: list[tuple[float, int, str, dict[str, str]]] = []
    for position, clause in enumerate(accept.split(",")):
        media_type, *parts = (part.strip() for part in clause.split(";"))
        parameters = dict(part.split("=", 1) for part in parts if "=" in part)
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        if media_type:
            ranked.append((-quality, position, media_type.lower(), parameters))
    for _, _, media_type, parameters in sorted(ranked, key=lambda item: item[:2]):
        yield media_type, parameters


@lru_cache(maxsize=256)
def negotiate(accept: str, *, streams: bool = False, shapes: bool = True, discovery: bool = False) -> Format:
    """The first form in `accept` that we can give; raises Refusal (406).

    `streams`: the answer is a watch; `shapes`: Tables and metadata can be given; `discovery`: the aggregated
    discovery document can be given.
    """
    if not accept:
        return PLAIN
    transformed = known_type = False
    for media_type, parameters in clauses(accept):
        if media_type in ("*/*", "application/*"):
            media_type = JSON
        if media_type not in (JSON, YAML):
            continue
        known_type = True
        shape = parameters.get("as", "")
        if not shape:
            return Format(media_type)
        transformed = True
        group, version = parameters.get("g", ""), parameters.get("v", "")
        if discovery and shape == _AGGREGATED and group == "apidiscovery.k8s.io" and version == "v2":
            return Format(media_type, "", version, aggregated=True)
        if shapes and shape in _SHAPES and group == "meta.k8s.io" and version in ("v1", "v1beta1"):
            return Format(media_type, shape, version)
    if known_type and transformed:
        raise not_acceptable("only the following media types are accepted: " + ", ".join(ACCEPTED))
    offered = ACCEPTED + (_STREAMS if streams else ())
    raise not_acceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(offered)}", details=True)


def check_shape(form: Format, *, is_list: bool, go_type: str) -> None:
    """Refuse the metadata of a list where one object is asked for, and the other way round."""
    if form.shape == "PartialObjectMetadata" and is_list:
        raise not_acceptable(f"you requested {form.shape}, but the requested object is a list (*{go_type}List)")
    if form.shape == "PartialObjectMetadataList" and not is_list:
        raise not_acceptable(f"you requested {form.shape}, but the requested object is not a list (*{go_type})")
