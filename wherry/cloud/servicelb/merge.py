"""Whether an object is as wanted already, and what it has to become. Pure.

What the API server adds by itself (defaults) is no difference; ``None`` in what is wanted stands for absence.
"""

from __future__ import annotations

from typing import Any


def holds(current: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there; lists have to be of one length."""
    if wanted is None:
        return current in (None, "", [], {})
    if isinstance(wanted, dict):
        fields = current if isinstance(current, dict) else {}
        return all(holds(fields.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        items = current or []
        return len(items) == len(wanted) and all(holds(a, b) for a, b in zip(items, wanted, strict=True))
    return bool(current == wanted)


def pruned(wanted: Any) -> Any:
    """What is wanted, without the fields that are to be absent."""
    if isinstance(wanted, dict):
        return {key: pruned(value) for key, value in wanted.items() if value is not None}
    return [pruned(value) for value in wanted] if isinstance(wanted, list) else wanted


def applied(current: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The object with what is wanted: its spec as a whole, labels and annotations beside those of others."""
    desired = pruned(wanted)
    meta = dict(current["metadata"])
    for field in ("labels", "annotations"):
        meta[field] = {**(meta.get(field) or {}), **desired["metadata"][field]}
    return {**current, "metadata": meta, "spec": desired["spec"]}
