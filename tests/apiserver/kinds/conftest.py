"""A server small enough to hold in the hand: rows, a dict of objects, and pools."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest

from wherry.apiserver.kinds import admit, lifecycle
from wherry.apiserver.kinds.model import ClusterDefaults, Object, Refusal, Resource, User
from wherry.apiserver.kinds.table import builtin_resources
from wherry.net.service import PortPool, ServiceAddressPool

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeContext:
    """The Context of one request, with objects in a dict."""

    dry_run = False
    user = User("admin")

    def __init__(self, *ranges: str) -> None:
        networks = [ip_network(text) for text in ranges or ("10.43.0.0/24",)]
        self.defaults = ClusterDefaults(service_cidrs=tuple(networks))
        self.address_pools = {f"IPv{network.version}": ServiceAddressPool(network) for network in networks}
        self.node_ports = PortPool(range(30000, 32768))
        self.objects: dict[tuple[str, str, str, str], Object] = {}

    def now(self) -> datetime:
        return NOW

    def random_suffix(self, length: int) -> str:
        return "x" * length

    def get(self, group: str, plural: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.objects.get((group, plural, namespace, name))

    def list(self, group: str, plural: str, namespace: str) -> Iterator[Mapping[str, Any]]:
        return (
            obj
            for (its_group, its_plural, its_namespace, _), obj in self.objects.items()
            if (its_group, its_plural) == (group, plural) and namespace in ("", its_namespace)
        )


class Server:
    """Creates and updates as the handlers do, without HTTP and storage."""

    def __init__(self, *ranges: str) -> None:
        self.ctx = FakeContext(*ranges)
        self.rows = {(row.group, row.plural): row for row in builtin_resources()}
        self.revision = 0
        self.seed("", "namespaces", "", {"metadata": {"name": "default"}, "status": {"phase": "Active"}})
        self.seed("", "serviceaccounts", "default", {"metadata": {"name": "default", "namespace": "default"}})

    def row(self, resource: str) -> Resource:
        """`deployments.apps`, `pods`."""
        plural, _, group = resource.partition(".")
        return self.rows[group, plural]

    def seed(self, group: str, plural: str, namespace: str, obj: Object) -> None:
        """Put an object there without any checks."""
        self.ctx.objects[group, plural, namespace, obj["metadata"]["name"]] = obj

    def create(self, resource: str, obj: Object, namespace: str = "default") -> Object:
        row, obj = self.row(resource), copy.deepcopy(obj)
        obj.setdefault("metadata", {})
        if row.namespaced:
            obj["metadata"].setdefault("namespace", namespace)
        row.default(obj)
        admit.create(row, obj, self.ctx)
        self.revision += 1
        uid = f"00000000-0000-0000-0000-{self.revision:012d}"
        lifecycle.fill_system_metadata(obj, self.ctx, uid=uid, created="2026-01-01T11:59:00Z")
        errors = lifecycle.before_create(row, obj, self.ctx)
        if errors:
            raise row.refuse_invalid(obj["metadata"].get("name", ""), errors)
        admit.check_create(row, obj, self.ctx)
        transaction = lifecycle.begin_create(row, obj, self.ctx)
        if transaction is not None:
            transaction.commit()
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self.seed(row.group, row.plural, namespace if row.namespaced else "", obj)
        return copy.deepcopy(obj)

    def update(self, resource: str, old: Object, new: Object, sub: str = "") -> Object:
        row, new, old = self.row(resource), copy.deepcopy(new), copy.deepcopy(old)
        row.default(new)
        if not sub:
            admit.update(row, new, old, self.ctx)
        errors = lifecycle.before_update(row, new, old, self.ctx, sub)
        if errors:
            raise row.refuse_invalid(old["metadata"]["name"], errors)
        transaction = lifecycle.begin_update(row, new, old, self.ctx)
        if transaction is not None:
            transaction.commit()
        return new

    def findings(self, resource: str, obj: Object) -> list[str]:
        """What is wrong with an object as a create: `field: text` each, without the class of the refusal."""
        try:
            self.create(resource, obj)
        except Refusal as refusal:
            details = refusal.status.get("details") or {}
            causes = details.get("causes") or [{"field": "", "message": refusal.status["message"]}]
            return [f"{cause['field']}: {cause['message']}" for cause in causes]
        return []

    def changes(self, resource: str, old: Object, new: Object, sub: str = "") -> list[str]:
        """What is wrong with an update."""
        try:
            self.update(resource, old, new, sub)
        except Refusal as refusal:
            return [f"{cause['field']}: {cause['message']}" for cause in refusal.status["details"]["causes"]]
        return []


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def dual() -> Server:
    return Server("10.43.0.0/24", "fd00:43::/112")


def put(obj: Object, path: str, value: Any) -> Object:
    """A copy with the value at a dotted path (numbers index lists)."""
    result = copy.deepcopy(obj)
    *parents, last = path.split(".")
    inner: Any = result
    for key in parents:
        inner = inner[int(key)] if isinstance(inner, list) else inner.setdefault(key, {})
    if isinstance(inner, list):
        inner[int(last)] = value
    else:
        inner[last] = value
    return result


@pytest.fixture
def edit() -> Any:
    return put
