"""Keeps the names of nodes resolvable: key `NodeHosts` of ConfigMap `kube-system/coredns`, which plugin `hosts` reads.

A line for each address of each node, `ADDRESS NODE [HOST NAME]`, as K3s writes them since 1.29.3. Lines that others put
there (k3d adds its host's name) stay. Which lines are ours is known by the node's name in them; that of a node that is
gone is known by an annotation, since nobody may have looked when it went.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import NotFound
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import ConfigMap, Node

NAMESPACE, NAME, DATA_KEY = "kube-system", "coredns", "NodeHosts"
WRITTEN = "wherry.dev/node-hosts"
"""Annotation of the ConfigMap: the nodes that have lines."""

_KEY = Key(NAMESPACE, NAME)
_ADDRESSES = ("InternalIP", "ExternalIP")
_PATIENCE = 15.0
"""Seconds after which a ConfigMap that is missing is worth a warning: at a first start it comes a moment later."""


def hosts(current: str, nodes: Iterable[Node], before: Collection[str]) -> str:
    """The text for these nodes; ``before`` are the nodes that ``current`` has lines of. Pure."""
    entries = {node.name: _lines(node) for node in nodes}
    ours = {*entries, *before}
    foreign = [line.strip() for line in current.splitlines() if _foreign(line, ours)]
    own = sorted(line for lines in entries.values() for line in lines)
    return "".join(f"{line}\n" for line in (*own, *dict.fromkeys(foreign)))


def _lines(node: Node) -> list[str]:
    """The lines of one node. An address is the node's once, whichever type it is called."""
    addresses = dict.fromkeys(address for type_ in _ADDRESSES for address in node.addresses(type_) if _is_ip(address))
    names = dict.fromkeys([node.name, *(name for name in node.addresses("Hostname") if name and not _is_ip(name))])
    return [f"{address} {' '.join(names)}" for address in addresses]


def _foreign(line: str, ours: Collection[str]) -> bool:
    words = line.partition("#")[0].split()
    if not words:
        return bool(line.strip())
    return len(words) > 1 and words[1] not in ours


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class NodeHosts(Controller):
    """Writes the ConfigMap where it does not say what it should; one that is not there is waited for."""

    name = "node-hosts"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__()
        self._client = client
        self._nodes = informers.informer(kinds.NODES)
        self._maps = informers.informer(kinds.CONFIG_MAPS, namespace=NAMESPACE, field_selector=f"metadata.name={NAME}")
        self._nodes.add_handler(self._changed)
        self._maps.add_handler(self._changed)
        self._misses = 0

    def _changed(self, old: Node | ConfigMap | None, new: Node | ConfigMap | None) -> None:
        if isinstance(old, Node) and isinstance(new, Node) and _lines(old) == _lines(new):
            return  # a heartbeat
        self.queue.add(_KEY)

    async def prepare(self) -> None:
        """Wait for the copies."""
        await self._nodes.synced()
        await self._maps.synced()

    async def reconcile(self, key: Key) -> Result | None:
        """Make the key fit the nodes."""
        found = self._maps.get(key)
        if found is None:
            return self._miss(key)
        self._misses = 0
        nodes = self._nodes.list()
        before = found.metadata.annotations.get(WRITTEN, "").split()
        names = " ".join(sorted(node.name for node in nodes))
        text = hosts(found.data.get(DATA_KEY, ""), nodes, before)
        if text == found.data.get(DATA_KEY) and names == " ".join(before):
            return None
        patch = {
            "metadata": {"resourceVersion": found.metadata.resource_version, "annotations": {WRITTEN: names}},
            "data": {DATA_KEY: text},
        }
        try:
            await self._client.patch(kinds.CONFIG_MAPS, key.name, patch, namespace=key.namespace)
        except NotFound:
            return None  # its deletion is on its way to the copy
        return None

    def _miss(self, key: Key) -> Result | None:
        """Say, once, that the ConfigMap is missing, unless it is about to be made."""
        self._misses += 1
        if self._misses == 1:
            return Result(requeue_after=_PATIENCE)
        if self._misses == 2:
            self._log.warning("%s: there is no such ConfigMap: names of nodes are not resolved", key)
        return None
