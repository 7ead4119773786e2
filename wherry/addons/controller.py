"""Applies the packaged components when the server starts, and removes those that are disabled.

An object that somebody changes or deletes stays so until the next start, as with K3s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from wherry.addons import packaged
from wherry.addons.apply import apply, remove
from wherry.addons.parse import Item, ManifestError, parse
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Terminal
from wherry.kube.keys import Key


class PackagedAddons(Controller):
    """``folder`` is where :func:`wherry.addons.packaged.stage` has written the manifests.

    ``disabled`` maps a disabled component to what its user is told once it is gone.
    """

    name = "addons"

    def __init__(
        self, client: Client, folder: Path, *, values: Mapping[str, str], disabled: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._client = client
        self._folder = folder
        self._values = values
        self._disabled = disabled or {}
        self._pending = set(packaged.COMPONENTS)
        self.done = asyncio.Event()
        """Set when every component has been seen to."""

    async def prepare(self) -> None:
        """Ask for every component once."""
        for name in packaged.COMPONENTS:
            self.queue.add(Key("", name))

    async def reconcile(self, key: Key) -> None:
        """Apply one component, or remove it."""
        path = self._folder / f"{key.name}.yaml"
        known = [item.kind for item in parse(packaged.render(packaged.manifest(key.name), self._values))]
        if key.name in self._disabled:
            count = await remove(self._client, key.name, [*(item.kind for item in self._left(path)), *known])
            path.unlink(missing_ok=True)
            if count:
                self._log.info("%s: disabled, removed its %d objects", key.name, count)
            self._log.warning("%s", self._disabled[key.name])
        else:
            await apply(self._client, key.name, self._read(path), also=known)
        self._pending.discard(key.name)
        if not self._pending:
            self.done.set()

    def _read(self, path: Path) -> list[Item]:
        try:
            return parse(path.read_text())
        except (ManifestError, OSError, UnicodeDecodeError) as error:
            raise Terminal(f"{path}: {error}") from error

    def _left(self, path: Path) -> list[Item]:
        """What an earlier start had, where that can be told."""
        try:
            return parse(path.read_text())
        except FileNotFoundError:
            return []
        except (ManifestError, OSError, UnicodeDecodeError) as error:
            self._log.warning("%s: %s; only the kinds of this version are removed", path, error)
            return []
