"""Aggregated ClusterRoles: their rules are gathered from the roles that their selectors match.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles. Level-triggered: any change of a
ClusterRole marks all dirty, and a pass writes only roles whose rules differ.
"""

from __future__ import annotations

import asyncio

from wherry.apiserver.authz.policy import GROUP
from wherry.apiserver.kinds.model import Object
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.storage import Event, Store
from wherry.kube.objects import LabelSelector
from wherry.kube.selectors import SelectorError, from_object


class Aggregation:
    """Keeps aggregated roles right."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bucket = store.bucket(f"{GROUP}/clusterroles")
        self._dirty = asyncio.Event()
        self._bucket.listeners.append(self._changed)

    def _changed(self, event: Event) -> None:
        self._dirty.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self.settle()

    async def settle(self) -> None:
        """One pass over all aggregated roles, repeated while a gathered role feeds another."""
        schema = schema_for(GROUP, "v1", "ClusterRole")
        assert schema is not None  # a built-in kind
        changed = True
        while changed:
            changed = False
            for entry in list(self._bucket.scan()):
                role = entry.object()
                if "aggregationRule" not in role or self._bucket.head(entry.key) is not entry:
                    continue
                rules = self._gather(entry.name, role)
                if (role.get("rules") or []) != rules:
                    role["rules"] = rules
                    await self._store.update(self._bucket, entry, canonical(role, schema))
                    changed = True

    def _gather(self, own: str, role: Object) -> list[Object]:
        rules: list[Object] = []
        for description in role["aggregationRule"].get("clusterRoleSelectors") or ():
            try:
                selector = from_object(_selector(description))
            except SelectorError:
                continue  # matches nothing, as an invalid selector does in Kubernetes
            for entry in self._bucket.scan():
                if entry.name != own and selector.matches(entry.labels):
                    for one in entry.object().get("rules") or ():
                        if one not in rules:
                            rules.append(one)
        return rules


def _selector(description: Object) -> LabelSelector:
    import msgspec

    return msgspec.convert(description, LabelSelector)
