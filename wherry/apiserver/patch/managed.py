"""Who manages which field: ``metadata.managedFields`` of creates, updates, patches and server-side apply (KEP-555).

What an update adds or changes, its manager takes from all others; what an apply changes against others is a conflict
unless it is forced, and what its manager no longer mentions and nobody else manages is removed.

Objects come in as they are stored (canonical for built-in kinds) and are not changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from wherry.apiserver.kinds.model import Refusal, refuse_bad_request
from wherry.apiserver.patch.fieldset import FieldSet, show
from wherry.apiserver.patch.json_patch import same_json
from wherry.apiserver.patch.managers import (
    Entry,
    Managed,
    Manager,
    decode,
    decode_or_empty,
    encode,
    entries_of,
    with_managed_fields,
)
from wherry.apiserver.patch.structured import Comparison, Place, compare, field_set, merge, remove, with_named_fields
from wherry.apiserver.patch.typed_check import typed_error
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.schema.model import Schema
from wherry.apiserver.status import failure, internal

Object = dict[str, Any]

KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT = "ancient-changes"
MAX_UPDATE_MANAGERS = 10
"""Update entries that are kept apart; the oldest beyond that are joined."""

_STRIPPED = FieldSet.from_fields(
    {
        "f:apiVersion": {},
        "f:kind": {},
        "f:metadata": {
            ".": {},
            "f:name": {},
            "f:namespace": {},
            "f:creationTimestamp": {},
            "f:selfLink": {},
            "f:uid": {},
            "f:clusterName": {},
            "f:generation": {},
            "f:managedFields": {},
            "f:resourceVersion": {},
        },
    }
)
"""Fields that nobody manages."""

RESET_FIELDS = {
    "": FieldSet.from_fields({"f:status": {}}),
    "status": FieldSet.from_fields(
        {"f:spec": {}, "f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}, "f:finalizers": {}}}
    ),
}
"""Fields that a write through a subresource cannot touch and so does not manage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Who writes what, and how. ``now`` is the time in RFC 3339; ``built_in`` objects have Go's form."""

    schema: Schema
    api_version: str
    kind: str
    manager: str
    now: str
    subresource: str = ""
    built_in: bool = True
    ignored: FieldSet | None = None

    @property
    def place(self) -> Place:
        """The root of the object."""
        return Place(self.schema)

    @property
    def ignore(self) -> FieldSet:
        """Fields that this write does not manage."""
        return self.ignored if self.ignored is not None else RESET_FIELDS.get(self.subresource, FieldSet())

    def form(self, obj: Object) -> Object:
        """The object as comparisons see it."""
        shown = canonical(obj, self.schema) if self.built_in else obj
        metadata = shown.get("metadata")
        if isinstance(metadata, dict) and "managedFields" in metadata:
            shown = {**shown, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
        return shown

    def empty(self, like: Object) -> Object:
        """An object of the kind about which nothing was said."""
        base: Object = {key: like[key] for key in ("apiVersion", "kind") if key in like}
        return self.form(base)


def track_update(live: Object | None, new: Object, operation: Operation) -> list[Object]:
    """Return the managedFields after an update from ``live`` (None: a create) to ``new``.

    ``new`` is the object as the client wants it, defaulted, before admission and allocation changed it.
    """
    managed = _managed_of_update(live, new, operation)
    if live is not None and not managed:
        return []
    before = operation.form(live) if live is not None else operation.empty(new)
    after = operation.form(new)
    managed = _update(before, after, managed, operation)
    return encode(managed)


def _managed_of_update(live: Object | None, new: Object, operation: Operation) -> Managed:
    """Find the entries to start from: those of the request, unless it has none or may not set them."""
    stored = entries_of(live)
    if operation.subresource:
        return decode_or_empty(stored)
    sent = entries_of(new)
    if len(sent) == 1 and not sent[0]:
        return {}
    return decode(sent) or decode_or_empty(stored)


def _update(before: Object, after: Object, managed: Managed, operation: Operation) -> Managed:
    difference = compare(before, after, operation.place).without(operation.ignore)
    managed = _taken(managed, difference, own=None, force=True)
    taken = difference.changed.difference(_STRIPPED)
    if taken:
        manager = Manager(operation.manager, "Update", operation.api_version, operation.subresource)
        previous = managed.get(manager)
        fields = taken if previous is None else taken.union(previous.fields)
        managed[manager] = Entry(fields, operation.api_version, operation.now)
    return _capped(managed)


def _taken(managed: Managed, difference: Comparison, *, own: Manager | None, force: bool) -> Managed:
    """Take what changed from everybody but ``own``. Raises Conflicts unless forced."""
    changed = difference.changed
    conflicts = {
        manager: both
        for manager, entry in managed.items()
        if manager != own and (both := entry.fields.intersection(changed))
    }
    if conflicts and not force:
        raise Conflicts(conflicts)
    out: Managed = {}
    for manager, entry in managed.items():
        fields = entry.fields
        if manager != own:
            if manager in conflicts:
                fields = fields.difference(conflicts[manager])
            fields = fields.difference(difference.removed)
        if fields:
            out[manager] = replace(entry, fields=fields)
    return out


class Conflicts(Exception):
    """Other managers hold fields that an apply would change."""

    def __init__(self, fields: dict[Manager, FieldSet]) -> None:
        super().__init__("apply conflicts")
        self.fields = fields

    def refusal(self) -> Refusal:
        """409 with a cause per field."""
        found = [(manager, path) for manager, fields in self.fields.items() for path in fields.paths()]
        found.sort(key=lambda pair: (pair[0], pair[1]))
        plural = "" if len(found) == 1 else "s"
        causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {_named(manager)}", "field": show(path)}
            for manager, path in found
        ]
        text = f"Apply failed with {len(found)} conflict{plural}: {_listed(found)}"
        return failure(409, "Conflict", text, {"causes": causes})


def _listed(found: list[tuple[Manager, tuple[str, ...]]]) -> str:
    by_manager: dict[str, list[str]] = {}
    for manager, path in found:
        by_manager.setdefault(_named(manager), []).append(show(path))
    if len(found) == 1:
        return "".join(f"conflict with {name}: {paths[0]}" for name, paths in by_manager.items())
    parts = []
    for name in sorted(by_manager):
        parts += [f"conflicts with {name}:", *(f"- {path}" for path in by_manager[name])]
    return "\n".join(parts)


def _named(manager: Manager) -> str:
    text = json.dumps(manager.name, ensure_ascii=False)
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return text + (f" using {manager.api_version}" if manager.operation == "Update" else "")


def apply(live: Object | None, config: Object, operation: Operation, *, force: bool = False) -> Object:
    """Apply ``config`` to ``live`` (None: create) and return the object with its new managedFields.

    Equal to ``live`` in everything but managedFields where nothing changed. Raises Refusal: 409 for conflicts, 500
    where ``config`` does not fit the schema, 400 where it is of another kind or carries managedFields.
    """
    sent = (config.get("apiVersion") or "", config.get("kind") or "")
    if sent != (operation.api_version, operation.kind):
        raise refuse_bad_request(f"invalid object type: {_group_version(str(sent[0]))}, Kind={sent[1]}")
    if entries_of(config):
        raise refuse_bad_request("metadata.managedFields must be nil")
    managed = decode_or_empty(entries_of(live))
    before = operation.form(live) if live is not None else operation.empty(config)
    if not managed and live is not None:
        first = replace(operation, manager=BEFORE_FIRST_APPLY, subresource="", ignored=FieldSet())
        managed = _update(operation.empty(config), before, managed, first)
    problem = typed_error(config, operation.place)
    if problem:
        metadata = config.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        name = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        kind = f"{_group_version(operation.api_version)}, Kind={config.get('kind', '')}"
        raise internal(f"failed to create typed patch object ({name}; {kind}): {problem}")
    try:
        after, managed = _apply(before, config, managed, operation, force=force)
    except Conflicts as conflicts:
        after, managed = _kubectl_takeover(before, config, managed, operation, conflicts)
    if operation.manager == KUBECTL and not operation.subresource:
        after = _with_last_applied(after, config)
    return with_managed_fields(after, encode(managed))


def _group_version(api_version: str) -> str:
    return api_version if "/" in api_version else f"/{api_version}"


def _apply(
    live: Object, config: Object, managed: Managed, operation: Operation, *, force: bool
) -> tuple[Object, Managed]:
    place = operation.place
    manager = Manager(operation.manager, "Apply", "", operation.subresource)
    last = managed.get(manager)
    merged = merge(live, config, place)
    fields = field_set(config, place).without_trees(operation.ignore).difference(_STRIPPED)
    former_time = last.time if last is not None else ""
    managed = {**managed, manager: Entry(fields, operation.api_version, former_time)}
    if last is not None and last.fields:
        merged = _pruned(merged, managed, last.fields, place)
    difference = compare(live, merged, place).without(operation.ignore)
    managed = _taken(managed, difference, own=manager, force=force)
    if not same_json(live, merged) and manager in managed:
        managed[manager] = replace(managed[manager], time=operation.now)
    return merged, managed


def _pruned(merged: Object, managed: Managed, last: FieldSet, place: Place) -> Object:
    """Remove what the manager applied before and nobody, itself included, manages any more."""
    everything = FieldSet()
    for entry in managed.values():
        everything = everything.union(entry.fields)
    last = with_named_fields(last, place)
    there = with_named_fields(field_set(merged, place), place)
    pruned = remove(merged, last, place) or {}
    left = with_named_fields(field_set(pruned, place), place)
    owned = with_named_fields(everything, place)
    pruned = remove(merged, there.difference(left.union(owned)), place) or {}
    left = with_named_fields(field_set(pruned, place), place)
    result = remove(merged, there.difference(left).intersection(last), place)
    return result if isinstance(result, dict) else {}


def _kubectl_takeover(
    live: Object, config: Object, managed: Managed, operation: Operation, conflicts: Conflicts
) -> tuple[Object, Managed]:
    """Let server-side ``kubectl apply`` take over what client-side apply set before; other conflicts stay."""
    annotations = (live.get("metadata") or {}).get("annotations") or {}
    text = annotations.get(LAST_APPLIED)
    if operation.manager != KUBECTL or not text:
        raise conflicts.refusal()
    try:
        applied = json.loads(text)
    except ValueError:
        raise conflicts.refusal() from None
    allowed = FieldSet()
    if isinstance(applied, dict) and not typed_error(applied, operation.place):
        difference = compare(applied, live, operation.place)
        fields = field_set(applied, operation.place)
        allowed = fields.difference(difference.modified).difference(difference.removed)
        allowed.insert(("f:metadata", "f:annotations", f"f:{LAST_APPLIED}"))
    rest = {manager: left for manager, found in conflicts.fields.items() if (left := found.difference(allowed))}
    if rest:
        raise Conflicts(rest).refusal()
    return _apply(live, config, managed, operation, force=True)


def _with_last_applied(obj: Object, config: Object) -> Object:
    """Keep the annotation of client-side apply true, where an object has it."""
    metadata = obj.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if LAST_APPLIED not in annotations:
        return obj
    clean = json.loads(json.dumps(config))
    (clean.get("metadata", {}).get("annotations") or {}).pop(LAST_APPLIED, None)
    text = json.dumps(clean, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    return {**obj, "metadata": {**metadata, "annotations": {**annotations, LAST_APPLIED: text}}}


def track_scale(entries: list[Object], *, manager: str, api_version: str) -> list[Object]:
    """Return the managedFields after a write to ``scale``: replicas that somebody manages change hands."""
    managed = decode_or_empty(entries)
    path = ("f:spec", "f:replicas")
    replicas = FieldSet()
    replicas.insert(path)
    if not any(entry.fields.has(path) for entry in managed.values()):
        return entries
    managed = {key: replace(entry, fields=entry.fields.difference(replicas)) for key, entry in managed.items()}
    scaler = Manager(manager, "Update", api_version, "scale")
    managed = {key: entry for key, entry in managed.items() if entry.fields}
    managed[scaler] = Entry(replicas, api_version)
    return encode(managed)


def _capped(managed: Managed) -> Managed:
    """Join the oldest Update entries where there are too many."""
    updates = [manager for manager in managed if manager.operation == "Update"]
    excess = len(updates) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return managed
    updates.sort(key=lambda manager: (managed[manager].time, manager))
    joined = dict(managed)
    for manager in updates[: excess + 1]:
        entry = joined.pop(manager)
        ancient = Manager(ANCIENT, "Update", entry.api_version, "")
        previous = joined.get(ancient)
        fields = entry.fields if previous is None else entry.fields.union(previous.fields)
        joined[ancient] = Entry(fields, entry.api_version, max(entry.time, previous.time if previous else ""))
    return joined
