"""Which service has a frontend that several claim, as ``externalIPs`` and load balancer addresses can be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from wherry.kube.keys import Key
from wherry.services.model import NO_SERVICE, Frontend, ServiceState


class Denied(NamedTuple):
    """A frontend that a service asks for and another one has."""

    frontend: Frontend
    owner: Key


class Claims:
    """Gives every frontend to one service, whatever the order in which they are told.

    A service's own address comes before external ones, then the older service comes first, then the one whose name
    does. The others keep the rest of their frontends, and get this one when its owner goes.
    """

    def __init__(self) -> None:
        self._wanted: dict[Key, ServiceState] = {}
        self._claimants: dict[Frontend, tuple[Key, ...]] = {}

    def wanted(self, key: Key) -> ServiceState:
        """What a service asked for last."""
        return self._wanted.get(key, NO_SERVICE)

    def all(self) -> dict[Key, ServiceState]:
        """What every service asked for last."""
        return dict(self._wanted)

    def change(self, states: Mapping[Key, ServiceState]) -> dict[Key, ServiceState]:
        """Take what some services ask for now; returns what they get, and what others get that this changes."""
        affected = dict.fromkeys(states)
        for key, state in states.items():
            before = self.wanted(key)
            frontends = _frontends(before) | _frontends(state)
            for frontend in frontends:
                others = tuple(one for one in self._claimants.get(frontend, ()) if one != key)
                affected |= dict.fromkeys(others)
                claimants = (*others, key) if frontend in state.frontends or frontend in state.external else others
                if claimants:
                    self._claimants[frontend] = claimants
                else:
                    self._claimants.pop(frontend, None)
            if state == NO_SERVICE:
                self._wanted.pop(key, None)
            else:
                self._wanted[key] = state
        return {key: self._granted(key) for key in affected}

    def denied(self, key: Key) -> tuple[Denied, ...]:
        """What a service asked for and did not get."""
        found = []
        for frontend in _frontends(self.wanted(key)):
            claimants = self._claimants[frontend]
            if len(claimants) > 1 and (owner := self._owner(frontend, claimants)) != key:
                found.append(Denied(frontend, owner))
        return tuple(sorted(found, key=str))

    def _granted(self, key: Key) -> ServiceState:
        wanted = self.wanted(key)
        lost = {one.frontend for one in self.denied(key)}
        if not lost:
            return wanted
        return msgspec.structs.replace(
            wanted,
            frontends={frontend: one for frontend, one in wanted.frontends.items() if frontend not in lost},
            external={frontend: one for frontend, one in wanted.external.items() if frontend not in lost},
        )

    def _owner(self, frontend: Frontend, claimants: tuple[Key, ...]) -> Key:
        return min(claimants, key=lambda key: (frontend in self._wanted[key].external, self._wanted[key].created, key))


def _frontends(state: ServiceState) -> set[Frontend]:
    return {*state.frontends, *state.external}
