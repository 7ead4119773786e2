"""What a controller has done and its cache does not show yet.

A cache is behind; counting pods right after making some would make them twice. Each owner's creations and deletions
are remembered by the uid of the object until the cache has caught up, and nothing more is done for that owner before.
Uids are exact where counts are not: an event that was merged or lost in a gap settles nothing by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wherry.kube.keys import Key
from wherry.kube.objects import KubeObject

PATIENCE = 300.0
"""Seconds after which what the cache never showed is given up: it came and went while the watch was broken."""


@dataclass(slots=True)
class _Pending:
    created: dict[str, float] = field(default_factory=dict)
    deleted: dict[str, tuple[Key, float]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    in_flight: int = 0


class Expectations:
    """Pending creations and deletions by owner uid.

    ``look_up`` gives the cached object of a key; ``clock`` seconds.
    """

    def __init__(self, look_up: Callable[[Key], KubeObject | None], clock: Callable[[], float]) -> None:
        self._look_up = look_up
        self._clock = clock
        self._pending: dict[str, _Pending] = {}

    def begin(self, owner: str) -> None:
        """A creation for the owner is about to be sent."""
        self._pending.setdefault(owner, _Pending()).in_flight += 1

    def created(self, owner: str, obj: KubeObject | None) -> None:
        """The creation begun was answered with this object, or failed (None)."""
        pending = self._pending.get(owner)
        if pending is None:  # The owner went meanwhile, and takes the object with it.
            return
        pending.in_flight -= 1
        if obj is not None and obj.uid not in pending.gone:
            cached = self._look_up(obj.key)
            if cached is None or cached.uid != obj.uid:
                pending.created[obj.uid] = self._clock()
        if not pending.in_flight:
            pending.gone.clear()

    def deleted(self, owner: str, obj: KubeObject) -> None:
        """The server has accepted the deletion of this object."""
        self._pending.setdefault(owner, _Pending()).deleted[obj.uid] = obj.key, self._clock()

    def observe(self, old: KubeObject | None, new: KubeObject | None) -> None:
        """Informer handler of the objects that are created and deleted."""
        obj = new if new is not None else old
        owner = obj.metadata.controller if obj is not None else None
        if obj is None or owner is None or (pending := self._pending.get(owner.uid)) is None:
            return
        pending.created.pop(obj.uid, None)
        if new is None and pending.in_flight:
            pending.gone.add(obj.uid)

    def met(self, owner: str) -> bool:
        """Whether the cache shows everything done for the owner."""
        pending = self._pending.get(owner)
        if pending is None:
            return True
        oldest = self._clock() - PATIENCE
        pending.created = {uid: at for uid, at in pending.created.items() if at > oldest}
        pending.deleted = {
            uid: (key, at) for uid, (key, at) in pending.deleted.items() if at > oldest and self._stands(key, uid)
        }
        if pending.created or pending.deleted or pending.in_flight:
            return False
        del self._pending[owner]
        return True

    def forget(self, owner: str) -> None:
        """The owner is gone."""
        self._pending.pop(owner, None)

    def _stands(self, key: Key, uid: str) -> bool:
        cached = self._look_up(key)
        return cached is not None and cached.uid == uid and not cached.deleting
