"""The agent's part of a node's DNS: hands the server its configuration, and queries to the server while it answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial

from wherry.dns.nodelocal import probe
from wherry.dns.nodelocal.apply import Redirect
from wherry.dns.nodelocal.files import Folder
from wherry.kernel.nft import Nft
from wherry.kube import kinds
from wherry.kube.controller import Controller, Result
from wherry.kube.informer import Informer, Informers
from wherry.kube.keys import Key
from wherry.kube.objects import ConfigMap
from wherry.net.types import IPAddress

_NAMESPACE = "kube-system"
_CONFIG = Key(_NAMESPACE, "coredns")
_CUSTOM = Key(_NAMESPACE, "coredns-custom")
_SERVER = Key("", "server")

_WELL = 5.0
"""Seconds between two looks at a server that answers; its death is seen at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class NodeDns(Controller):
    """Runs until cancelled, and then leaves neither rules nor routes: whoever ends the agent may end the server too."""

    name = "node-dns"
    workers = 2

    def __init__(
        self,
        informers: Informers,
        *,
        nft: Nft,
        addresses: Sequence[IPAddress],
        node_ips: Sequence[IPAddress],
        domain: str,
        folder: Folder,
    ) -> None:
        super().__init__()
        self._addresses = tuple(addresses)
        self._domain = domain
        self._folder = folder
        self._redirect = Redirect(nft, addresses, node_ips)
        self._pause = _FIRST_PAUSE
        self._watched = 0
        self._maps = {key: self._informer(informers, key) for key in (_CONFIG, _CUSTOM)}

    def _informer(self, informers: Informers, key: Key) -> Informer[ConfigMap]:
        scope = f"metadata.name={key.name}"
        informer = informers.informer(kinds.CONFIG_MAPS, namespace=key.namespace, field_selector=scope)
        informer.add_handler(lambda old, new: self.queue.add(_CONFIG))
        return informer

    async def run(self) -> None:
        """Work until cancelled."""
        # An agent that starts again must not send queries elsewhere while it looks who answers.
        await self._redirect.start(await self._answering() if await self._redirect.stands() else ())
        self.queue.add(_SERVER)
        try:
            await super().run()
        finally:
            await self._redirect.remove()

    async def reconcile(self, key: Key) -> Result | None:
        """Write the configuration, or look after the server."""
        if key == _SERVER:
            return await self._look()
        await asyncio.gather(*(informer.synced() for informer in self._maps.values()))
        config = self._maps[_CONFIG].get(_CONFIG)
        if config is not None:  # else the last one stays: a node keeps its DNS while somebody replaces the object
            self._folder.write(config, self._maps[_CUSTOM].get(_CUSTOM))
        return None

    async def _look(self) -> Result:
        before = self._redirect.answered
        now = await self._answering()
        if now:
            self._watch_process()
        await self._redirect.answer(now)
        if now - before:
            self._log.info("answered on this node: %s", ", ".join(sorted(map(str, now))))
        if before - now:
            self._log.warning("answered through the Service again: %s", ", ".join(sorted(map(str, before - now))))
        if len(now) == len(self._addresses):
            self._pause = _FIRST_PAUSE
            return Result(_WELL)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return Result(self._pause)

    async def _answering(self) -> frozenset[IPAddress]:
        found = await asyncio.gather(*(probe.answers(address, self._domain) for address in self._addresses))
        return frozenset(address for address, well in zip(self._addresses, found, strict=True) if well)

    def _watch_process(self) -> None:
        """Hear of the end of the server's process, once for each."""
        process = self._folder.process()
        if not process or process == self._watched:
            return
        try:
            file = os.pidfd_open(process)
        except ProcessLookupError:
            return
        self._watched = process
        asyncio.get_running_loop().add_reader(file, partial(self._ended, file))

    def _ended(self, file: int) -> None:
        asyncio.get_running_loop().remove_reader(file)
        os.close(file)
        self._watched = 0
        self._pause = _FIRST_PAUSE
        self.queue.add(_SERVER)


async def remove(nft: Nft, addresses: Sequence[IPAddress]) -> None:
    """Take away what an earlier start with a node's DNS may have left. Raises NftError."""
    await Redirect(nft, addresses, ()).remove()
