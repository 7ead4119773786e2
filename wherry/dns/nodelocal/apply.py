"""The node's routes and rules for the address of cluster DNS."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from wherry.dns.nodelocal import rules
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft, NftError, NftErrorKind
from wherry.net.types import IPAddress

log = logging.getLogger(__name__)

_LOCAL = 255
"""The routing table of local addresses (rtnetlink(7): RT_TABLE_LOCAL)."""


class Redirect:
    """The one owner of the table and of these routes in the namespace of ``nft``, which is at ``netns_path``."""

    def __init__(
        self,
        nft: Nft,
        addresses: Sequence[IPAddress],
        node_ips: Sequence[IPAddress],
        *,
        netns_path: str | None = None,
    ) -> None:
        self._nft = nft
        self._netns = netns_path
        self._addresses = tuple(addresses)
        self._sources = {address.version: address for address in reversed(node_ips)}
        self._answered: frozenset[IPAddress] = frozenset()

    @property
    def answered(self) -> frozenset[IPAddress]:
        """The addresses whose queries stay on this node."""
        return self._answered

    async def stands(self) -> bool:
        """Whether there is a table from before, so that a probe reaches this node's server and no other."""
        try:
            await self._nft.list_table("inet", rules.TABLE)
        except NftError as error:
            if error.kind is not NftErrorKind.NOT_FOUND:
                raise
            return False
        return True

    async def start(self, answered: Iterable[IPAddress] = ()) -> None:
        """Make the addresses this node's, over whatever is there, these of them being answered. Raises NftError."""
        wanted = frozenset(answered)
        with Netlink(self._netns) as link:
            for address in self._addresses:
                # Programs of the node ask from its own address, so that the answer of a DNS pod finds back.
                source = self._sources.get(address.version)
                link.route_replace(_host(address), dev="lo", kind="local", table=_LOCAL, src=source)
        try:
            await self._commit(rules.build(self._addresses, answered=wanted))
        except NftError as error:
            if error.kind not in (NftErrorKind.NOT_FOUND, NftErrorKind.UNSUPPORTED):
                raise
            log.info("node-dns: this kernel's nftables cannot look for sockets (nft_socket)")
            await self._commit(rules.build(self._addresses, answered=wanted, look_for_socket=False))
        self._answered = wanted

    async def answer(self, addresses: Iterable[IPAddress]) -> None:
        """Keep the queries for these addresses here, and no others. Raises NftError."""
        wanted = frozenset(addresses)
        statements = rules.change(self._answered, wanted)
        if statements:
            await self._commit(statements)
            self._answered = wanted

    async def remove(self) -> None:
        """Leave nothing behind. Raises NftError."""
        self._answered = frozenset()
        await self._commit(rules.remove())
        with Netlink(self._netns) as link:
            for address in self._addresses:
                link.route_del(_host(address), dev="lo", table=_LOCAL, missing_ok=True)

    async def _commit(self, statements: list[str]) -> None:
        await self._nft.commit("; ".join(statements))


def _host(address: IPAddress) -> str:
    return f"{address}/{address.max_prefixlen}"
