"""Making the cluster hold an add-on's objects, and taking them out of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from wherry.addons import ownership
from wherry.addons.parse import Item
from wherry.kube.client import Client
from wherry.kube.errors import Invalid, NotFound
from wherry.kube.kinds import Kind
from wherry.kube.wire import name_of

log = logging.getLogger(__name__)

MANAGER = "wherry-addons"
"""Field manager: what a manifest says is ours, whatever somebody wrote there; what it leaves out is theirs."""


async def apply(client: Client, name: str, items: Sequence[Item], *, also: Iterable[Kind[dict[str, Any]]] = ()) -> None:
    """Apply the objects of add-on ``name`` in their order, then remove those it had before and has no more.

    ``also`` names kinds that earlier manifests had. Raises ApiError at the first object that is refused.
    """
    for item in items:
        await _apply_one(client, ownership.marked(item.obj, name), item)
    kept = {(item.kind.resource, item.namespace, item.name) for item in items}
    await _remove(client, name, [*(item.kind for item in items), *also], kept)


async def remove(client: Client, name: str, found: Iterable[Kind[dict[str, Any]]]) -> int:
    """Remove every object of the add-on among these kinds; returns how many there were. Raises ApiError."""
    return await _remove(client, name, found, set())


async def _apply_one(client: Client, obj: dict[str, Any], item: Item) -> None:
    namespace = item.namespace or None

    async def write() -> None:
        await client.patch(
            item.kind, item.name, obj, namespace=namespace, type="apply", field_manager=MANAGER, force=True
        )

    try:
        await write()
    except Invalid as error:
        # Some fields cannot change: a Service's address, a workload's selector. The manifest is right.
        log.warning("%s: made anew, as it cannot be changed: %s", item, error)
        try:
            await client.delete(item.kind, item.name, namespace=namespace, propagation="Background")
        except NotFound:
            raise error from None
        await write()


async def _remove(
    client: Client, name: str, wanted: Iterable[Kind[dict[str, Any]]], kept: set[tuple[str, str, str]]
) -> int:
    removed = 0
    for kind in {kind.resource: kind for kind in wanted}.values():
        listed = await client.list(kind, label_selector=f"{ownership.HASH}={ownership.digest(name)}")
        for obj in listed.items:
            namespace, own = name_of(obj)
            if (kind.resource, namespace, own) in kept:
                continue
            try:
                await client.delete(kind, own, namespace=namespace or None, propagation="Background")
            except NotFound:
                continue
            removed += 1
            log.info("%s: removed %s %s/%s", name, kind.kind, namespace, own)
    return removed
