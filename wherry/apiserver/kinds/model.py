"""The row types of the table of kinds, and what a row may ask of the server.

A `Resource` is one row: names, verbs and a handful of pure functions on plain dicts.  The generic handlers call them
through `lifecycle.before_create` and `lifecycle.before_update`, which hold the order of Kubernetes' own REST strategy:

    create:  default -> awaits -> admit_create -> (name) -> before_create -> begin_create -> store -> commit | revert
    update:  default -> admit_update -> before_update -> begin_update -> store -> commit | revert
    delete:  admit_delete -> ... -> store -> after_delete

Functions that change an object do so in place; validators change nothing and return all findings at once.  `Refusal` is
the only exception they raise on purpose: it carries the complete Kubernetes Status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NamedTuple, Protocol

from wherry.apiserver.kinds.findings import (
    DUPLICATE,
    FORBIDDEN,
    INTERNAL,
    INVALID,
    NOT_FOUND,
    NOT_SUPPORTED,
    OMITTED,
    REQUIRED,
    TOO_LONG,
    TOO_MANY,
    TYPE_INVALID,
    FieldError,
    Object,
    duplicate,
    forbidden,
    invalid,
    not_found,
    render_value,
    required,
    too_long,
    too_many,
    unsupported,
)
from wherry.apiserver.kinds.refusals import (
    Refusal,
    refuse_bad_request,
    refuse_conflict,
    refuse_forbidden,
    refuse_internal,
    refuse_invalid,
    refuse_not_found,
)

__all__ = [
    "AGE_COLUMN",
    "CREATED_COLUMN",
    "DUPLICATE",
    "FORBIDDEN",
    "INTERNAL",
    "INVALID",
    "NAME_COLUMN",
    "NOT_FOUND",
    "NOT_SUPPORTED",
    "OMITTED",
    "REQUIRED",
    "STANDARD_VERBS",
    "STATUS_VERBS",
    "TOO_LONG",
    "TOO_MANY",
    "TYPE_INVALID",
    "AddressPool",
    "Awaited",
    "ClusterDefaults",
    "Column",
    "Context",
    "FieldError",
    "NodePortPool",
    "Object",
    "Refusal",
    "Resource",
    "Subresource",
    "Transaction",
    "User",
    "duplicate",
    "forbidden",
    "invalid",
    "not_found",
    "refuse_bad_request",
    "refuse_conflict",
    "refuse_forbidden",
    "refuse_internal",
    "refuse_invalid",
    "refuse_not_found",
    "render_value",
    "required",
    "too_long",
    "too_many",
    "unsupported",
]

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS_VERBS = ("get", "patch", "update")


# --- what a row may ask of the server ---------------------------------------------------------------------------------


class AddressPool(Protocol):
    """Service addresses of one family (`wherry.net.service.ServiceAddressPool`)."""

    def allocate(self) -> Any:
        """Hand out a free address; raises `wherry.net`'s Exhausted."""

    def occupy(self, address: Any) -> None:
        """Take the given address; raises AlreadyTaken or OutOfRange."""

    def release(self, address: Any) -> None:
        """Give an address back; one that is not taken is ignored."""


class NodePortPool(Protocol):
    """Node ports (`wherry.net.service.PortPool`)."""

    def allocate(self) -> int:
        """Hand out a free port; raises Exhausted."""

    def occupy(self, port: int) -> None:
        """Take the given port; raises AlreadyTaken or OutOfRange."""

    def release(self, port: int) -> None:
        """Give a port back; one that is not taken is ignored."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDefaults:
    """Settings of the server that the rows depend on; times in seconds."""

    service_cidrs: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("10.43.0.0/16"),)
    node_port_range: tuple[int, int] = (30000, 32767)
    not_ready_toleration: int = 300
    unreachable_toleration: int = 300
    allow_privileged: bool = True


class Context(Protocol):
    """One request as the rows see it: read-only views of the server, and the pools that services draw from."""

    @property
    def defaults(self) -> ClusterDefaults:
        """Settings of the server."""

    @property
    def user(self) -> User:
        """Who asks."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing will be stored."""

    @property
    def address_pools(self) -> Mapping[str, AddressPool]:
        """Service addresses by family (`IPv4`, `IPv6`)."""

    @property
    def node_ports(self) -> NodePortPool:
        """Node ports of services."""

    def now(self) -> datetime:
        """The time of the request, in UTC."""

    def random_suffix(self, length: int) -> str:
        """Letters and digits of the alphabet that generated names use."""

    def get(self, group: str, plural: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Another object as stored (namespace "" for cluster-scoped kinds), or None; must not be changed."""

    def list(self, group: str, plural: str, namespace: str) -> Iterable[Mapping[str, Any]]:
        """All objects of a kind in a namespace ("" for all); must not be changed."""


class Transaction(Protocol):
    """Side effects of a write (addresses taken or given back) that follow what the store does."""

    def commit(self) -> None:
        """The write is stored."""

    def revert(self) -> None:
        """The write failed, or was a dry run."""


class Awaited(NamedTuple):
    """An object that a controller is about to make; it is worth waiting for that many seconds."""

    group: str
    plural: str
    namespace: str
    name: str
    seconds: float


# --- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column; `priority` 0 is always shown, 1 with `-o wide`.

    `description` is the text of the column, or where it begins with a dot the path of the field in the kind's schema
    whose description it is.
    """

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


NAME_COLUMN = Column("Name", "string", "name", ".metadata.name")
AGE_COLUMN = Column("Age", "string", "", ".metadata.creationTimestamp")
CREATED_COLUMN = Column("Created At", "date", "", ".metadata.creationTimestamp")


def _nothing(obj: Object) -> None:
    """Default of rows that need no defaulting."""


def _no_prepare(obj: Object, ctx: Context) -> None:
    """Default of rows that prepare nothing."""


def _no_prepare_update(new: Object, old: Object, ctx: Context) -> None:
    """Default of rows that prepare nothing."""


def _no_findings(obj: Object) -> list[FieldError]:
    """Default of rows that check nothing beyond the metadata."""
    return []


def _no_update_findings(new: Object, old: Object) -> list[FieldError]:
    """Default of rows whose updates are free."""
    return []


def _no_warnings(obj: Object) -> list[str]:
    """Default of rows that never warn."""
    return []


def _no_update_warnings(new: Object, old: Object) -> list[str]:
    """Default of rows that never warn on update."""
    return []


def _metadata_fields(obj: Object) -> dict[str, str]:
    """The two field labels that every kind offers."""
    metadata = obj.get("metadata") or {}
    return {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """One subresource of a row.

    An `object` subresource (status, ephemeralcontainers, resize, finalize) reads and writes the object itself through
    its own `prepare_update` and `validate_update`.  `scale` reads and writes a projection.  A `connect` one (exec, log,
    proxy) is served by the handlers, and `create` ones (binding, eviction, token) have a body of their own that
    `default` and `validate` look at.
    """

    name: str
    verbs: tuple[str, ...]
    kind: str
    style: str
    """`object`, `scale`, `create` or `connect`."""
    group: str | None = None
    """Group and version of the body where they differ from the parent's, as discovery shows them."""
    version: str | None = None
    prepare_update: Callable[[Object, Object, Context], None] = _no_prepare_update
    validate_update: Callable[[Object, Object], list[FieldError]] = _no_update_findings
    default: Callable[[Object], None] = _nothing
    validate: Callable[[Object], list[FieldError]] = _no_findings
    read: Callable[[Object], Object] | None = None
    """`scale`: the projection of an object."""
    write: Callable[[Object, Object], None] | None = None
    """`scale`: put a projection into an object."""
    create: Callable[[Object, Object, Context], None] | None = None
    """`create` style where it changes the parent: (parent, body, ctx); raises Refusal."""
    warnings: Callable[[Object, Object], list[str]] = _no_update_warnings
    bumps_generation: bool = False
    """`object`: whether a write through it can change metadata.generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of the API.  All callables are pure apart from what they ask of the Context."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = STANDARD_VERBS
    subresources: tuple[Subresource, ...] = ()
    storage_key: tuple[str, str] | None = None
    """(group, plural) of the row whose objects this row shows in another form (events.k8s.io, autoscaling/v1)."""
    to_storage: Callable[[Object], None] | None = None
    """Turn an object of this row into the stored form, in place."""
    from_storage: Callable[[Object], None] | None = None
    """Turn a stored object into this row's form, in place."""

    name_errors: Callable[[str, bool], list[str]] | None = None
    """Texts about a name; the flag says that it is a prefix (generateName)."""
    default: Callable[[Object], None] = _nothing
    prepare_create: Callable[[Object, Context], None] = _no_prepare
    prepare_update: Callable[[Object, Object, Context], None] = _no_prepare_update
    validate: Callable[[Object], list[FieldError]] = _no_findings
    validate_update: Callable[[Object, Object], list[FieldError]] = _no_update_findings
    """(new, old); what a create would check, too, is checked here as far as Kubernetes does."""
    revalidates_metadata: bool = False
    """Whether the checks of an update repeat those of a create on the metadata (so that findings come once more)."""
    generation: Callable[[Object, Object], bool] | None = None
    """Whether an update bumps metadata.generation; None for kinds without a generation."""
    allow_create_on_update: bool = False
    allow_unconditional_update: bool = True

    awaits: Callable[[Object, Context], Awaited | None] | None = None
    """What admission will ask for and a create therefore waits for."""
    admit_create: Callable[[Object, Context], None] = _no_prepare
    admit_update: Callable[[Object, Object, Context], None] = _no_prepare_update
    admit_delete: Callable[[Object, Context], None] = _no_prepare
    check_create: Callable[[Object, Context], None] = _no_prepare
    """The part of admission that changes nothing; it sees the valid object with its name. Raises Refusal."""
    begin_create: Callable[[Object, Context], Transaction | None] | None = None
    begin_update: Callable[[Object, Object, Context], Transaction | None] | None = None
    after_delete: Callable[[Object, Context], None] = _no_prepare
    decorate: Callable[[Object], None] | None = None
    """Changes that are made to each object that is read."""

    graceful_seconds: Callable[[Object, int | None], int | None] | None = None
    """Seconds of grace a delete gives (0: at once), from the object and what was asked; None for kinds without."""
    orphan_by_default: bool = False
    free_finalizers: bool = False
    """Whether finalizers need no domain: those of definitions and of custom resources."""
    returns_deleted: bool = False
    """Whether the deletion answers the last state of the object instead of a Status."""
    holds_deletion: Callable[[Object], bool] | None = None
    """Whether something beside metadata.finalizers keeps the object after a delete."""
    mark_deleted: Callable[[Object, Context], None] = _no_prepare
    """Further changes to an object that a delete leaves in place."""

    selectable_fields: Callable[[Object], dict[str, str]] = _metadata_fields
    field_labels: tuple[str, ...] = ("metadata.name", "metadata.namespace")
    """Labels that field selectors may name; one that `selectable_fields` does not give is empty."""
    field_label_error: str | None = None
    """Text about an unknown label where it differs from the usual one, with `{label}` in it."""
    columns: tuple[Column, ...] = (NAME_COLUMN, AGE_COLUMN)
    cells: Callable[[Object, datetime], list[Any]] | None = None
    """The cells of one row at the given time; None for name and age."""
    row_conditions: Callable[[Object], list[Object]] | None = None
    """Conditions of a table row (completed pods and jobs)."""
    warnings: Callable[[Object], list[str]] = _no_warnings
    update_warnings: Callable[[Object, Object], list[str]] = _no_update_warnings
    delete_warnings: tuple[str, ...] = ()
    """Said to who deletes one without saying what shall become of its dependents."""
    deprecation: str = ""
    """Warning that comes with every answer of a deprecated kind."""
    by_subresource: Mapping[str, Subresource] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_subresource", {sub.name: sub for sub in self.subresources})
        if not self.list_kind:
            object.__setattr__(self, "list_kind", f"{self.kind}List")

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """(group, plural) under which objects are stored."""
        return self.storage_key or (self.group, self.plural)

    def unknown_field_label(self, label: str) -> str:
        """The text about a field selector that names a field which this row does not offer."""
        if self.field_label_error is not None:
            return self.field_label_error.format(label=label)
        return f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'

    def refuse(self, name: str, text: str, causes: Sequence[Object] = ()) -> Refusal:
        """403 Forbidden about an object of this row."""
        return refuse_forbidden(self.group, self.plural, name, text, causes)

    def refuse_invalid(self, name: str, errors: Sequence[FieldError]) -> Refusal:
        """422 Invalid about an object of this row."""
        return refuse_invalid(self.group, self.kind, name, errors)
