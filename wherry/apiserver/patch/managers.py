"""The entries of ``metadata.managedFields``: who, how, which fields and when.

An entry belongs to a manager, an operation and a subresource; Update entries also to an API version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from wherry.apiserver.patch.fieldset import FieldSet

Object = dict[str, Any]


class Manager(NamedTuple):
    """What tells entries apart; ``api_version`` is empty for Apply."""

    name: str
    operation: str
    api_version: str
    subresource: str


@dataclass(slots=True)
class Entry:
    """One entry: its fields, the version they are written in and the time of its last change ("" for none)."""

    fields: FieldSet
    api_version: str
    time: str = ""


Managed = dict[Manager, Entry]


def with_managed_fields(obj: Object, entries: list[Object]) -> Object:
    """Return ``obj`` with these managedFields."""
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    if entries:
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


def entries_of(obj: Object | None) -> list[Any]:
    """Return an object's entries as they are stored."""
    metadata = (obj or {}).get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    return entries if isinstance(entries, list) else []


def decode_or_empty(entries: list[Any]) -> Managed:
    """Read entries; none where one of them is broken."""
    return decode(entries) or {}


def decode(entries: list[Any]) -> Managed | None:
    """Read entries; None where one of them is broken."""
    managed: Managed = {}
    for raw in entries:
        if not isinstance(raw, dict) or raw.get("operation") not in ("Apply", "Update"):
            return None
        if raw.get("fieldsType", "FieldsV1") != "FieldsV1":
            return None
        api_version = str(raw.get("apiVersion", ""))
        operation = raw["operation"]
        manager = Manager(
            str(raw.get("manager") or "unknown"),
            operation,
            api_version if operation == "Update" else "",
            str(raw.get("subresource", "")),
        )
        try:
            fields = FieldSet.from_fields(raw.get("fieldsV1") or {})
        except (ValueError, RecursionError):
            return None
        managed[manager] = Entry(fields, api_version, str(raw.get("time") or ""))
    return managed


def encode(managed: Managed) -> list[Object]:
    """Write entries in Kubernetes' order: applies first, then by time, manager, version and subresource."""

    def order(pair: tuple[Manager, Entry]) -> tuple[str, ...]:
        manager, entry = pair
        return manager.operation, entry.time, manager.name, entry.api_version, manager.subresource

    ordered = sorted(managed.items(), key=order)
    entries = []
    for manager, entry in ordered:
        raw = {"manager": manager.name, "operation": manager.operation, "apiVersion": entry.api_version}
        shown: Object = {**raw, "time": entry.time} if entry.time else dict(raw)
        shown |= {"fieldsType": "FieldsV1", "fieldsV1": entry.fields.to_fields()}
        if manager.subresource:
            shown["subresource"] = manager.subresource
        entries.append(shown)
    return entries
