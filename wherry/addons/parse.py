"""A manifest as the objects in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wherry.config.yaml import YamlError, load_all
from wherry.kube import kinds
from wherry.kube.kinds import Kind


class ManifestError(ValueError):
    """The manifest cannot be used; the text says which object in it and why."""


@dataclass(frozen=True)
class Item:
    """One object of a manifest."""

    kind: Kind[dict[str, Any]]
    namespace: str
    name: str
    obj: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


def parse(text: str) -> list[Item]:
    """The objects of a manifest in its order, Lists taken apart; documents without an object are passed over.

    Raises ManifestError.
    """
    try:
        documents = list(load_all(text))
    except YamlError as error:
        raise ManifestError(str(error)) from error
    return [_item(obj) for document in documents if document is not None for obj in _objects(document)]


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict):
        raise ManifestError(f"a document is no object but {document!r:.60}")
    if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
        for each in document["items"]:
            yield from _objects(each)
    else:
        yield document


def _item(obj: dict[str, Any]) -> Item:
    version, word = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise ManifestError(f"an object of kind {word or '?'} has no metadata.name")
    kind = kinds.by_kind(version, word)
    if kind is None:
        raise ManifestError(f"{word} {name}: {version or 'no apiVersion'} has no such kind among those known here")
    namespace = str(metadata.get("namespace") or "default") if kind.namespaced else ""
    return Item(kind.as_dict(), namespace, name, obj)
