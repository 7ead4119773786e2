"""What a controller last wrote of objects, until its cache shows it.

Counting by a cache that does not show one's own last write counts twice. Versions of one kind can be compared as
numbers (KEP-5504), so a cached object is behind as long as its version is lower than the one written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from wherry.kube.keys import Key
from wherry.kube.objects import KubeObject

PATIENCE = 300.0
"""Seconds after which a write that the cache never showed is given up: the server's store went back in time."""


class Written:
    """Writes by the uid of the owner on whose behalf they were made.

    ``look_up`` gives the cached object of a key; ``clock`` seconds.
    """

    def __init__(
        self, look_up: Callable[[Key], KubeObject | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look_up = look_up
        self._clock = clock
        self._pending: dict[str, dict[str, tuple[Key, float, float]]] = {}

    def note(self, owner: str, answer: KubeObject) -> None:
        """The server has answered a write with this object."""
        version = float(answer.metadata.resource_version)
        self._pending.setdefault(owner, {})[answer.uid] = answer.key, version, self._clock()

    def note_gone(self, owner: str, obj: KubeObject) -> None:
        """The server has answered that this object is gone."""
        self._pending.setdefault(owner, {})[obj.uid] = obj.key, math.inf, self._clock()

    def shown(self, owner: str) -> bool:
        """Whether the cache shows all writes for the owner."""
        oldest = self._clock() - PATIENCE
        pending = {
            uid: (key, version, at)
            for uid, (key, version, at) in self._pending.get(owner, {}).items()
            if at > oldest and self._behind(key, uid, version)
        }
        if pending:
            self._pending[owner] = pending
            return False
        self._pending.pop(owner, None)
        return True

    def forget(self, owner: str) -> None:
        """The owner is gone."""
        self._pending.pop(owner, None)

    def _behind(self, key: Key, uid: str, version: float) -> bool:
        cached = self._look_up(key)
        return cached is not None and cached.uid == uid and float(cached.metadata.resource_version) < version
