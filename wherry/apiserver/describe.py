"""The texts of printer columns: their own, or the description of the field they show."""

from __future__ import annotations

from wherry.apiserver.kinds.model import Column
from wherry.apiserver.openapi.documents import description
from wherry.apiserver.served import Served

_METADATA = {  # the fields that columns of custom kinds share with all others
    ".metadata.name",
    ".metadata.creationTimestamp",
}


def describe(served: Served, column: Column) -> str:
    """The description of `column`; texts that begin with a dot name the field that has it."""
    text = column.description
    if not text.startswith("."):
        return text
    if served.custom and text in _METADATA:
        return description("", "v1", "ConfigMap", text)
    row = served.resource
    return description(row.group, row.version, row.kind, text)
