"""What all handlers share: the storage, the rows, the authorizer, the pools; and a request's view of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from wherry.apiserver.authn.identity import ANONYMOUS, Identity
from wherry.apiserver.authz.rbac import Rbac
from wherry.apiserver.encode import Tables
from wherry.apiserver.kinds.model import AddressPool, ClusterDefaults, NodePortPool, refuse_bad_request
from wherry.apiserver.negotiate import PLAIN, Format
from wherry.apiserver.quota.quotas import Quotas
from wherry.apiserver.request import Request, Route
from wherry.apiserver.served import Registry, Served
from wherry.apiserver.storage import Store
from wherry.apiserver.watch import Hub

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and no look-alikes, as k8s.io/apimachinery/util/rand


@dataclass(slots=True)
class Core:
    """The state of one server."""

    store: Store
    registry: Registry
    hub: Hub
    tables: Tables
    rbac: Rbac
    defaults: ClusterDefaults
    address_pools: Mapping[str, AddressPool]
    node_ports: NodePortPool
    quotas: Quotas
    notices: Callable[[str, str, Mapping[str, Any]], Iterable[str]] = field(default=lambda *_: ())
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def context(self, identity: Identity, *, dry_run: bool = False) -> RequestContext:
        """A request's view of the server."""
        return RequestContext(self, identity, dry_run)


class RequestContext:
    """See `wherry.apiserver.kinds.model.Context`."""

    __slots__ = ("_core", "_dry_run", "_user")

    def __init__(self, core: Core, user: Identity, dry_run: bool) -> None:
        self._core = core
        self._user = user
        self._dry_run = dry_run

    @property
    def defaults(self) -> ClusterDefaults:
        """Settings of the server."""
        return self._core.defaults

    @property
    def user(self) -> Identity:
        """Who asks."""
        return self._user

    @property
    def dry_run(self) -> bool:
        """Whether nothing will be stored."""
        return self._dry_run

    @property
    def address_pools(self) -> Mapping[str, AddressPool]:
        """Service addresses by family."""
        return self._core.address_pools

    @property
    def node_ports(self) -> NodePortPool:
        """Node ports of services."""
        return self._core.node_ports

    def now(self) -> datetime:
        """The time of the request, in UTC."""
        return self._core.clock()

    def random_suffix(self, length: int) -> str:
        """Letters and digits of the alphabet that generated names use."""
        return "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(length))

    def get(self, group: str, plural: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Another object in its newest state, or None."""
        entry = self._core.registry.bucket(group, plural).head(f"{namespace}/{name}" if namespace else name)
        return entry.object() if entry is not None else None

    def list(self, group: str, plural: str, namespace: str) -> Iterator[Mapping[str, Any]]:
        """All objects of a kind in a namespace ("" for all)."""
        return (entry.object() for entry in self._core.registry.bucket(group, plural).scan(namespace))


@dataclass(slots=True)
class Call:
    """One request on its way through the handlers."""

    core: Core
    request: Request
    route: Route
    identity: Identity = ANONYMOUS
    form: Format = PLAIN

    served: Served = field(init=False)

    @property
    def key(self) -> str:
        """The storage key of the object named in the path."""
        return self.served.key(self.route.namespace, self.route.name)

    @property
    def include(self) -> str:
        """What of each object goes along in the rows of a Table; raises Refusal for an unknown word."""
        asked = self.request.query.get("includeObject") or "Metadata"
        if asked not in ("None", "Metadata", "Object"):
            text = f"includeObject: Invalid value: \"{asked}\": must be 'Metadata', 'Object', 'None', or empty"
            raise refuse_bad_request(f"Unable to convert to Table as requested: {text}")
        return asked
