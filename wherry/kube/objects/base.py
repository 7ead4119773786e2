"""What every struct of this package shares: JSON naming, immutability and the metadata of objects.

Fields are only those that some part of wherry reads, so that a cache of ten thousand objects stays small; whatever is
not named here is dropped while decoding and survives on the server because changes are sent as patches.
Lists are tuples: objects in a cache are shared by every controller of a process and nobody may change them.
Fields that Kubernetes sends as ``null`` when empty (Go slices without ``omitempty``) admit ``None``; read them with
``or ()``.
"""

from __future__ import annotations

from typing import TypeAlias, dataclass_transform

import msgspec

from wherry.kube.keys import Key

IntOrString: TypeAlias = int | str
"""A port number or name, a count or a percentage."""

Quantity: TypeAlias = str | int | float
"""A resource amount as found in JSON; read it with :func:`wherry.kube.quantity.parse`."""

_ACRONYMS = {"api": "API", "cidr": "CIDR", "cidrs": "CIDRs", "id": "ID", "ip": "IP", "ipc": "IPC", "ips": "IPs",
             "pid": "PID", "urls": "URLs", "uuid": "UUID"}  # fmt: skip


def json_name(attribute: str) -> str:
    """The JSON name of a Python attribute, spelled as Kubernetes does: ``pod_ips`` → ``podIPs``."""
    first, *rest = attribute.split("_")
    return first + "".join(_ACRONYMS.get(word) or word.capitalize() for word in rest)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class ModelMeta(msgspec.StructMeta):
    """Tells type checkers that what :class:`Model` sets holds for its subclasses too."""


class Model(
    msgspec.Struct,
    metaclass=ModelMeta,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename=json_name,
    gc=False,
):
    """Base of every struct: immutable, keyword-only, camel case in JSON, defaults left out when encoded.

    ``gc=False`` keeps the trees out of the cycle collector: immutable values built from JSON cannot form cycles.
    """


class OwnerReference(Model):
    """Who owns an object; the garbage collector follows it."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Model):
    """The metadata every object carries; times are RFC 3339 text, ``wherry.kube.times`` reads them."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def controller(self) -> OwnerReference | None:
        """The one owner marked as the managing controller, if any."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class KubeObject(Model):
    """Base of every kind: an object with metadata."""

    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """``metadata.namespace``, empty for cluster-scoped objects."""
        return self.metadata.namespace

    @property
    def uid(self) -> str:
        """``metadata.uid``."""
        return self.metadata.uid

    @property
    def labels(self) -> dict[str, str]:
        """``metadata.labels``; not to be changed."""
        return self.metadata.labels

    @property
    def deleting(self) -> bool:
        """Whether deletion has been asked for and finalizers or a grace period still hold the object."""
        return self.metadata.deletion_timestamp is not None


class LabelSelectorRequirement(Model):
    """One expression of a selector: ``In``, ``NotIn``, ``Exists`` or ``DoesNotExist``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Model):
    """``matchLabels`` and ``matchExpressions``, all of which must hold; empty selects everything."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Condition(Model):
    """One condition of a status; pods and nodes add their own times through this same struct."""

    type: str
    status: str
    observed_generation: int | None = None
    last_heartbeat_time: str | None = None
    last_probe_time: str | None = None
    last_update_time: str | None = None
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""


class LocalObjectReference(Model):
    """The name of an object in the same namespace."""

    name: str = ""


class ObjectReference(Model):
    """A reference to any object; ``fieldPath`` names a part of it."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""
