"""Writing the table ``inet wherry-services``: one commit for each change, of the change's size.

Only :class:`ServiceTable` writes that table. It keeps what it last wrote and sends differences; after a start or a
doubt it reads the kernel's state first and then writes what is missing or wrong, which is nothing when all is right.
A table made by another release is replaced in one transaction, so that no packet finds a gap.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from socket import AF_INET, AF_INET6
from typing import Any, Final

import msgspec

from wherry.kernel.conntrack import UDP, Conntrack, Entry
from wherry.kernel.model import Chain, Rule
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft, NftError, NftErrorKind
from wherry.kernel.nftwatch import Change, TableWatch
from wherry.kernel.transaction import Transaction
from wherry.kube.keys import Key
from wherry.net.types import IPAddress
from wherry.services import names
from wherry.services.claims import Claims, Denied
from wherry.services.content import EMPTY, Content, Uses, add_rules, change, digest, render
from wherry.services.model import ANY, NO_SERVICE, Frontend, ServiceState, Target
from wherry.services.readback import content_of, has_fixed, version_of

Allowed = dict[Frontend, frozenset[Target]]
"""UDP frontends and the targets whose flows may go on."""

PART: Final = 250
"""So many services in one transaction of a first load, and in one of a great change."""

_NOTHING: Final = frozenset[Target]()
_NO_RANGES: Final = names.Ranges()


class ServiceTable:
    """The table in one network namespace (None: the caller's) and the services written to it.

    ``batches`` counts commits. Methods are not to be called concurrently.
    """

    def __init__(
        self,
        netns_path: str | os.PathLike[str] | None = None,
        *,
        ranges: names.Ranges = _NO_RANGES,
    ) -> None:
        self._watch: TableWatch | None = None
        self._nft = Nft(netns_path, on_processes=self._write_as)
        self._conntrack = Conntrack(netns_path)
        self._netns = netns_path
        self._fixed = names.fixed_rules(ranges)
        self._states: dict[Key, ServiceState] = {}
        self._contents: dict[Key, Content] = {}
        self._uses = Uses()
        self._claims = Claims()
        self._picks: set[str] = set()
        self.batches = 0

    async def close(self) -> None:
        """Stop the nft program; the table stays and works on."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        await self._nft.close()
        self._conntrack.close()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever somebody else has changed the table; :meth:`harm` says what. Raises OSError."""
        self._watch = TableWatch("inet", names.TABLE, changed, self._netns)
        self._write_as(self._nft.processes)

    def harm(self) -> Change | None:
        """What others did to the table since the last call, which :meth:`verify` repairs; None when nothing."""
        return self._watch.take() if self._watch is not None else None

    def _write_as(self, processes: Iterable[int]) -> None:
        if self._watch is not None:
            self._watch.owners(processes)

    async def remove(self) -> None:
        """Remove the table and with it all that services need on this node."""
        await self._nft.commit(Transaction("inet", names.TABLE).delete_table())

    async def sync(self, states: Mapping[Key, ServiceState], *, elements_only: bool = True) -> str:
        """Make the table what these services need, whatever it is now. Raises NftError.

        Rules are recognised by their chain's signature; where that may deceive as not only elements were touched,
        ``elements_only`` is False and the table is replaced. Returns in words what was not right, nothing where all
        was.
        """
        claims = Claims()
        granted = claims.change(states)
        there = await self._read()
        version = _version(self._fixed)
        current = elements_only and version_of(there) == version and has_fixed(there, self._fixed)
        # what is there decides which place each target has, so that only what is wrong has to be written
        found = content_of(there, EMPTY) if current else EMPTY
        contents = {key: render(state, found) for key, state in granted.items()}
        uses = Uses()
        batch = Transaction("inet", names.TABLE)
        if there:
            _, wanted = uses.replace((), contents.values())
            if not current:
                self._make(batch)
            change(content_of(there, wanted) if current else EMPTY, wanted, batch)
            await self._commit(batch)
        else:
            # nothing works yet, so there is no gap to fear: others need not wait for one long transaction
            self._make(batch)
            everything = [*contents.values()]
            for start in range(0, len(everything), PART):
                _, come = uses.replace((), everything[start : start + PART])
                await self._commit(change(EMPTY, come, batch))
                batch = Transaction("inet", names.TABLE)
            await self._commit(batch)
        self._claims, self._contents, self._uses = claims, contents, uses
        self._states = {key: state for key, state in granted.items() if state != NO_SERVICE}
        self._picks = _picks(contents.values())
        await self._cut(_allowed(granted.values()))
        return _difference(there, current, len(batch.statements))

    async def verify(self, *, elements_only: bool = True) -> str:
        """Read the table back and write what is not as it was left; returns in words what that was. Raises NftError."""
        return await self.sync(self._claims.all(), elements_only=elements_only)

    def denied(self, key: Key) -> tuple[Denied, ...]:
        """The frontends that a service asks for and another one has."""
        return self._claims.denied(key)

    async def update(self, states: Mapping[Key, ServiceState]) -> None:
        """Change some services (``NO_SERVICE``: gone) in one commit. Raises NftError, and then nothing is changed."""
        asked = {key: state for key, state in states.items() if state != self._claims.wanted(key)}
        asked_before = {key: self._claims.wanted(key) for key in asked}
        granted = self._claims.change(asked)
        granted = {key: state for key, state in granted.items() if state != self._states.get(key, NO_SERVICE)}
        before = {key: self._contents.get(key, EMPTY) for key in granted}
        after = {key: render(state, before[key]) for key, state in granted.items()}
        gone, come = self._uses.replace(before.values(), after.values())
        # nothing ever removes these, and to write one again costs more than all the rest of a change
        come = msgspec.structs.replace(
            come, chains={name: rules for name, rules in come.chains.items() if name not in self._picks}
        )
        try:
            await self._commit(change(gone, come, Transaction("inet", names.TABLE)))
        except BaseException:
            self._uses.replace(after.values(), before.values())
            self._claims.change(asked_before)
            raise
        self._picks |= _picks([come])
        cut = _to_cut(_allowed(self._states.get(key, NO_SERVICE) for key in granted), _allowed(granted.values()))
        for key, state in granted.items():
            if state == NO_SERVICE:
                self._contents.pop(key, None)
                self._states.pop(key, None)
            else:
                self._contents[key], self._states[key] = after[key], state
        await self._cut(cut)

    async def _commit(self, batch: Transaction) -> None:
        if batch:
            await self._nft.commit(batch)
            self.batches += 1

    async def _read(self) -> list[dict[str, Any]]:
        try:
            return await self._nft.list_table("inet", names.TABLE)
        except NftError as error:
            if error.kind is NftErrorKind.NOT_FOUND:
                return []
            raise

    def _make(self, batch: Transaction) -> None:
        """Replace the table by one without services."""
        batch.recreate_table()
        for declaration in names.MAPS:
            word, name, body = declaration.split(" ", 2)
            batch.raw(f"add {word} inet {names.TABLE} {name} {body}")
        for name in self._fixed:
            hook = names.BASE_CHAINS.get(name)
            batch.raw(f"add chain inet {names.TABLE} {name}" + (f" {{ {hook}; policy accept; }}" if hook else ""))
        for name, rules in self._fixed.items():
            if rules:
                add_rules(batch, name, rules)
        batch.add(Chain(names.VERSION)).rules(Rule(names.VERSION, "return", comment=_version(self._fixed)))

    async def _cut(self, allowed: Allowed) -> None:
        """End UDP flows to endpoints that are gone, and those that passed before their service was known.

        UDP flows follow their connection tracking entry for as long as packets keep coming.
        """
        if allowed:
            await asyncio.to_thread(self._cut_now, allowed)

    def _cut_now(self, allowed: Allowed) -> None:
        own: frozenset[IPAddress] = frozenset()
        if any(frontend.node_port for frontend in allowed):
            with Netlink(self._netns) as link:
                own = frozenset(entry.address for entry in link.addr_list())

        def stale(entry: Entry) -> bool:
            original, reply = entry.original, entry.reply
            if original.protocol != UDP:
                return False
            targets = allowed.get(Frontend(original.dst, "udp", original.dport))
            if targets is None and original.dst in own:
                targets = allowed.get(Frontend(ANY[original.dst.version], "udp", original.dport))
            return targets is not None and Target(reply.src, reply.sport) not in targets

        for version in {frontend.address.version for frontend in allowed}:
            self._conntrack.delete(stale, family=AF_INET if version == 4 else AF_INET6)


def _picks(contents: Iterable[Content]) -> set[str]:
    return {name for content in contents for name in content.chains if name.startswith(names.PICK)}


def _difference(there: list[dict[str, Any]], current: bool, statements: int) -> str:
    if not there:
        return "the table was not there"
    if not current:
        return "its chains and rules were not as this release and its settings make them"
    return f"{statements} statements were needed" if statements else ""


def _allowed(states: Iterable[ServiceState]) -> Allowed:
    return {
        frontend: backend.serving
        for state in states
        for frontends in (state.frontends, state.external)
        for frontend, backend in frontends.items()
        if frontend.protocol == "udp"
    }


def _to_cut(before: Allowed, after: Allowed) -> Allowed:
    """The frontends with flows that may have lost their target, or that passed before the frontend was known."""
    return {
        frontend: after.get(frontend, _NOTHING)
        for frontend in before | after
        if frontend not in before or not before[frontend] <= after.get(frontend, _NOTHING)
    }


def _version(fixed: dict[str, tuple[str, ...]]) -> str:
    """The digest of everything that does not depend on services."""
    chains = [text for name, rules in sorted(fixed.items()) for text in (name, names.BASE_CHAINS.get(name, ""), *rules)]
    return digest((*names.MAPS, *chains))
