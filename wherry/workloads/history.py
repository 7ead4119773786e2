"""Numbered snapshots of a template, for ``kubectl rollout history`` and ``undo``. Pure.

A daemon set or stateful set keeps one ``ControllerRevision`` for every template it had lately. Its data is a strategic
merge patch that brings the template back, its number says how recent the template is, and going back to an older
template gives that one the highest number again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.workloads import templates
from wherry.workloads.kinds import ControllerRevision, Template

_DIRECTIVE = "$patch"

_LONGEST_PREFIX = 223
"""Characters of the owner's name in the name of a revision, so that the hash still fits."""


@dataclass(frozen=True, slots=True)
class Present:
    """The snapshot of the present template, if there is one, and the number it should have."""

    revision: ControllerRevision | None
    number: int


def snapshot(template: Template) -> dict[str, Any]:
    """The patch that brings an object back to a template.

    Keys are in order: kubectl compares the bytes with those it would write itself, to tell that nothing would change.
    """
    patch = {"spec": {"template": {**templates.normal(template), _DIRECTIVE: "replace"}}}
    ordered: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(patch, order="sorted"))
    return ordered


def template_of(revision: ControllerRevision) -> Template:
    """The template that a snapshot holds."""
    stored = (revision.data.get("spec") or {}).get("template") or {}
    return {key: value for key, value in stored.items() if key != _DIRECTIVE}


def same(revision: ControllerRevision, template: Template) -> bool:
    """Whether a snapshot is of this template."""
    return templates.same_template(template_of(revision), template)


def oldest_first(revisions: Sequence[ControllerRevision]) -> list[ControllerRevision]:
    """Revisions by number, then age, then name."""
    return sorted(revisions, key=lambda each: (each.revision, each.metadata.creation_timestamp or "", each.name))


def present(template: Template, revisions: Sequence[ControllerRevision]) -> Present:
    """Find a template among the snapshots; it should have the highest number of all."""
    found = next((each for each in reversed(oldest_first(revisions)) if same(each, template)), None)
    highest = max((each.revision for each in revisions if each is not found), default=0)
    if found is not None and found.revision > highest:
        return Present(found, found.revision)
    return Present(found, highest + 1)


def name_of(owner: str, digest: str) -> str:
    """The name of an owner's revision."""
    return f"{owner[:_LONGEST_PREFIX]}-{digest}"


def surplus(
    old: Sequence[ControllerRevision], limit: int | None, *, live: Collection[str]
) -> tuple[ControllerRevision, ...]:
    """The oldest of the ``old`` revisions beyond ``limit``; those named ``live`` count but are never among them."""
    number = len(old) - limit if limit is not None and limit >= 0 else 0
    unused = [each for each in oldest_first(old) if each.name not in live and not each.deleting]
    return tuple(unused[: max(0, number)])
