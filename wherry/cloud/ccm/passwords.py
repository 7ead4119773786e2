"""Gives a node's name free when the node is deleted: removes the Secret with its password, as K3s' servers do.

A machine that joins sets a password for its node's name, and only who knows it may take the name again. The Secret is
there before the node is, so one without a node is removed only where the node was seen to go, or where it is old
enough that no machine can be in the middle of joining.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wherry.cloud.ccm.names import PASSWORD_NAMESPACE, PASSWORD_SUFFIX
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.errors import NotFound
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node, Secret
from wherry.kube.times import parse_time

JOINING = 600.0
"""Seconds after which a machine that has set a password has registered its node, or never will."""


class NodePasswords(Controller):
    """Runs whether or not the cloud controller does."""

    name = "node-passwords"

    def __init__(self, client: Client, informers: Informers, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._client = client
        self._clock = clock
        self._nodes = informers.informer(kinds.NODES)
        self._nodes.add_handler(self._changed)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if old is not None and new is None:
            self.queue.add(old.key)

    async def prepare(self) -> None:
        """Find the passwords of nodes that went while nobody looked."""
        await self._nodes.synced()
        secrets = await self._client.list(kinds.SECRETS, namespace=PASSWORD_NAMESPACE)
        for secret in secrets.items:
            name = secret.name.removesuffix(PASSWORD_SUFFIX)
            if name != secret.name and self._old(secret):
                self.queue.add(Key("", name))

    def _old(self, secret: Secret) -> bool:
        made = secret.metadata.creation_timestamp
        return made is not None and self._clock() - parse_time(made) > JOINING

    async def reconcile(self, key: Key) -> None:
        """Remove the password of a node that is not there."""
        if self._nodes.get(key) is not None:
            return
        try:
            await self._client.delete(kinds.SECRETS, f"{key.name}{PASSWORD_SUFFIX}", namespace=PASSWORD_NAMESPACE)
        except NotFound:  # Nodes of a server itself, and of a sandbox, have none.
            return
        self._log.info("%s: the node is gone, its name is free", key.name)
