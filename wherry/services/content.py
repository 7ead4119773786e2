"""What the table holds for services, as values that can be compared, and the commit that leads from one to another.

Pure. A :class:`Content` is either what one service asks for, or everything read back from the kernel.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from wherry.kernel.model import Chain, Element, Map, Rule, Set
from wherry.kernel.transaction import Transaction
from wherry.services import names
from wherry.services.model import Backend, External, Frontend, ServiceState, Target

Place = tuple[str, tuple[str, ...]]
"""A container and a key in it."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Elements by container and key, chains by name, and sets that packets fill, by name."""

    elements: dict[Place, str] = msgspec.field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    sets: dict[str, int] = msgspec.field(default_factory=dict)
    """Client sets and the IP version of their members."""


EMPTY: Final = Content()


def render(state: ServiceState, before: Content = EMPTY) -> Content:
    """The content for a service, in which targets that stay keep the place they have in ``before``."""
    made = _Rendering(before)
    for address in state.addresses:
        made.elements[names.ADDRESSES[address.version], (str(address),)] = ""
    for address in state.foreign:
        made.elements[names.FOREIGN[address.version], (str(address),)] = ""
    for address in state.hairpin:
        made.elements[names.HAIRPIN[address.version], (str(address), str(address))] = ""
    for frontend, backend in state.frontends.items():
        made.lead(names.SERVICES, frontend, backend)
    for frontend, external in state.external.items():
        made.lead_external(frontend, external)
    return Content(elements=made.elements, chains=made.chains, sets=made.sets)


class _Rendering:
    """The content of one service as it grows."""

    def __init__(self, before: Content) -> None:
        self._before = before
        self.elements: dict[Place, str] = {}
        self.chains: dict[str, tuple[str, ...]] = {}
        self.sets: dict[str, int] = {}

    def lead(
        self, maps: Mapping[tuple[int, str], str], frontend: Frontend, backend: Backend, *, first: int = 0
    ) -> None:
        """Lead from a frontend's place in one of the verdict maps to its targets."""
        place = maps[frontend.address.version, way(frontend)], key(frontend)
        if backend.drop:
            self.elements[place] = "drop"
        elif backend.targets and backend.sticky_seconds:
            chain, sticky = _sticky(frontend, backend)
            self.chains |= sticky.chains
            self.sets |= sticky.sets
            self.elements[place] = f"goto {chain}"
        elif backend.targets:
            arranged = arrange(_arranged(frontend, first, self._before), tuple(map(_value, backend.targets)))
            chain, rules = names.pick(frontend.address.version, frontend.protocol, len(arranged), way(frontend), first)
            self.chains[chain] = rules
            self.elements[place] = f"goto {chain}"
            self.elements |= {_endpoint(frontend, first + index): value for index, value in enumerate(arranged)}

    def lead_external(self, frontend: Frontend, external: External) -> None:
        """Lead from an external frontend to the chain that tells its clients apart, and on from there."""
        version, by = frontend.address.version, way(frontend)
        chain = f"{'local' if external.outside else 'cluster'}{by}"
        if external.sources:
            rules = f"{names.IP[version]} saddr != {{ {', '.join(external.sources)} }} drop", f"goto {chain}"
            chain = f"{names.SOURCES}{version}-{digest(rules)}"
            self.chains[chain] = rules
        if external.cluster.targets or external.sources:
            self.elements[names.SERVICES[version, by], key(frontend)] = f"goto {chain}"
        if not external.cluster.targets:
            self.elements[names.REFUSED[version, by], key(frontend)] = ""
        self.lead(names.INSIDE, frontend, external.cluster)
        if external.outside:
            self.lead(names.OUTSIDE, frontend, external.outside, first=names.NEAR)


def way(frontend: Frontend) -> str:
    """Whether a frontend is looked up by its address or by its port alone: an entry of :data:`.names.WAYS`."""
    return names.WAYS[frontend.node_port]


def key(frontend: Frontend) -> tuple[str, ...]:
    """A frontend as a key of the maps."""
    port = frontend.protocol, str(frontend.port)
    return port if frontend.node_port else (str(frontend.address), *port)


def _endpoint(frontend: Frontend, index: int) -> Place:
    """Where the target of that index stands."""
    container = names.ENDPOINTS[frontend.address.version, frontend.protocol, way(frontend)]
    address = () if frontend.node_port else (str(frontend.address),)
    return container, (*address, str(frontend.port), str(index))


def _value(target: Target) -> str:
    return f"{target.address} . {target.port}"


def _arranged(frontend: Frontend, first: int, content: Content) -> tuple[str, ...]:
    """The targets of a frontend in the order of their indexes, which begin at ``first``."""
    found: list[str] = []
    while (value := content.elements.get(_endpoint(frontend, first + len(found)))) is not None:
        found.append(value)
    return tuple(found)


def arrange(before: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The wanted values in an order that changes as few places as possible.

    What stays keeps its place, new values fill holes, and what is left of the end moves into the holes that remain.
    """
    staying, seen = set(wanted), set(before)
    new = [value for value in wanted if value not in seen]
    places: list[str | None] = [value if value in staying else None for value in before]
    for index, value in enumerate(places):
        if value is None and new:
            places[index] = new.pop(0)
    places += new
    while len(places) > len(wanted):
        last = places.pop()
        if last is not None:
            places[places.index(None)] = last
    return tuple(value for value in places if value is not None)


def _label(frontend: Frontend, backend: Backend) -> str:
    """A readable name that no other service port has: service and port, family and protocol."""
    return f"{backend.name}/{frontend.address.version}/{frontend.protocol}"


def _sticky(frontend: Frontend, backend: Backend) -> tuple[str, Content]:
    """Session affinity: a set of clients for each target, asked in turn; clients in none get a random target.

    Returns the name of the chain to go to and all it needs. A client stays with its target whichever of the service's
    addresses it asks. The clients of a target are forgotten with it, as their set goes. Only frontends with affinity
    pay for it, by one look-up for each of their targets in the first packet of a connection.
    """
    version = frontend.address.version
    ip = names.IP[version]
    label = _label(frontend, backend)
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, int] = {}
    keeps: list[tuple[str, str]] = []
    for target in backend.targets:
        name = f"{label}/{str(target.address).replace(':', '_')}/{target.port}"
        clients = f"{names.CLIENTS}{name}"
        host = f"[{target.address}]" if version == 6 else str(target.address)
        sets[clients] = version
        chains[f"{names.KEEP}{name}"] = (
            f"update @{clients} {{ {ip} saddr timeout {backend.sticky_seconds}s }}",
            f"meta l4proto {frontend.protocol} dnat {ip} to {host}:{target.port}",
        )
        keeps.append((f"{names.KEEP}{name}", clients))
    lots = ", ".join(f"{index} : goto {keep}" for index, (keep, _) in enumerate(keeps))
    chain = f"{names.STICKY}{label}{'/local' if backend.local else ''}"
    chains[chain] = (
        *(f"{ip} saddr @{clients} goto {keep}" for keep, clients in keeps),
        f"numgen random mod {len(keeps)} vmap {{ {lots} }}",
    )
    return chain, Content(chains=chains, sets=sets)


class Uses:
    """How many services need each element and chain: hairpin addresses and ``pick`` chains are shared."""

    def __init__(self) -> None:
        self._counts: Counter[Place | str] = Counter()

    def replace(self, before: Iterable[Content], after: Iterable[Content]) -> tuple[Content, Content]:
        """Replace what some services use; returns what the table loses and gains by that, shared things considered.

        All that goes is counted before what comes, so that an address may pass from one service to another.
        """
        losing, gaining = [*before], [*after]
        gone, come = merged(losing), merged(gaining)
        for content in losing:
            self._counts.subtract(_used(content))
        gone = Content(
            elements={place: value for place, value in gone.elements.items() if not self._counts[place]},
            chains={name: rules for name, rules in gone.chains.items() if not self._counts[name]},
            sets=gone.sets,
        )
        come = Content(
            elements={place: value for place, value in come.elements.items() if not self._counts[place]},
            chains={name: rules for name, rules in come.chains.items() if not self._counts[name]},
            sets=come.sets,
        )
        for content in gaining:
            self._counts.update(_used(content))
        for name in _used(gone):
            if not self._counts[name]:
                del self._counts[name]
        return gone, come


def _used(content: Content) -> list[Place | str]:
    return [*content.elements, *content.chains]


def merged(contents: Iterable[Content]) -> Content:
    """Everything of several contents together."""
    elements: dict[Place, str] = {}
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, int] = {}
    for content in contents:
        elements |= content.elements
        chains |= content.chains
        sets |= content.sets
    return Content(elements=elements, chains=chains, sets=sets)


def change(before: Content, after: Content, batch: Transaction) -> Transaction:
    """Add to a transaction what leads from one content to another: only the differences, in an order nft accepts.

    Chains come before the elements that lead to them and go after them. ``pick`` chains stay when nothing leads to
    them any more: they cost nothing and are soon needed again.
    """
    for name, version in after.sets.items():
        if name not in before.sets:
            batch.add(_clients(name, version))
    changed = {name: rules for name, rules in after.chains.items() if before.chains.get(name) != rules}
    for name in changed:
        batch.add(Chain(name)).flush(Chain(name))
    for name, rules in changed.items():
        add_rules(batch, name, rules)
    _change_elements(before, after, batch)
    going = [name for name in before.chains if name not in after.chains and not name.startswith(names.PICK)]
    # what leads to other chains first
    for name in sorted(going, key=lambda name: name.startswith(names.KEEP)):
        batch.delete(Chain(name))
    for name, version in before.sets.items():
        if name not in after.sets:
            batch.delete(_clients(name, version))
    return batch


def digest(rules: tuple[str, ...]) -> str:
    """What a chain's first rule carries as comment, so that its rules can be recognised when they are read back."""
    return hashlib.sha256("\n".join(rules).encode()).hexdigest()[:16]


def add_rules(batch: Transaction, chain: str, rules: tuple[str, ...]) -> None:
    """Add to a transaction the rules of a chain, signed by their digest."""
    first, *more = rules
    batch.rules(Rule(chain, first, comment=digest(rules)), *(Rule(chain, text) for text in more))


def _change_elements(before: Content, after: Content, batch: Transaction) -> None:
    delete: dict[str, list[Element]] = {}
    add: dict[str, list[Element]] = {}
    for (container, place), value in before.elements.items():
        if after.elements.get((container, place)) != value:
            delete.setdefault(container, []).append(Element(place))
    for (container, place), value in after.elements.items():
        if before.elements.get((container, place)) != value:
            add.setdefault(container, []).append(Element(place, value))
    for container in dict.fromkeys((*delete, *add)):
        batch.change_elements(
            Map(name=container, type="", value=""), delete=delete.get(container, ()), add=add.get(container, ())
        )


def _clients(name: str, version: int) -> Set:
    return Set(name=name, type=names.ADDRESS_TYPE[version], flags=("dynamic", "timeout"), size=names.CLIENTS_SIZE)
