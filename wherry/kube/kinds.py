"""The kinds wherry reads: how each is named in URLs and which struct holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from wherry.kube import objects as o

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of object: group (empty for core), version, names, scope and the type it is decoded into."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    type: type[T]

    @property
    def api_version(self) -> str:
        """``group/version``, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """``plural.group``, as RBAC messages and kubectl name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """URL path of the collection, of one object or of its subresource.

        Without a namespace the collection of a namespaced kind spans all namespaces.
        """
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def encode(self, obj: T) -> bytes:
        """JSON of an object with ``apiVersion`` and ``kind`` set."""
        builtins: dict[str, Any] = {"apiVersion": self.api_version, "kind": self.kind}
        if isinstance(obj, dict):
            return msgspec.json.encode(obj | builtins)
        body = msgspec.json.encode(obj)
        head = msgspec.json.encode(builtins)
        return head[:-1] + b"," + body[1:] if len(body) > 2 else head

    def as_dict(self) -> Kind[dict[str, Any]]:
        """The same kind with objects left as plain dictionaries."""
        return Kind(self.group, self.version, self.kind, self.plural, self.namespaced, dict[str, Any])


PODS = Kind("", "v1", "Pod", "pods", True, o.Pod)
NODES = Kind("", "v1", "Node", "nodes", False, o.Node)
NAMESPACES = Kind("", "v1", "Namespace", "namespaces", False, o.Namespace)
SERVICES = Kind("", "v1", "Service", "services", True, o.Service)
CONFIG_MAPS = Kind("", "v1", "ConfigMap", "configmaps", True, o.ConfigMap)
SECRETS = Kind("", "v1", "Secret", "secrets", True, o.Secret)
SERVICE_ACCOUNTS = Kind("", "v1", "ServiceAccount", "serviceaccounts", True, o.ServiceAccount)
EVENTS = Kind("", "v1", "Event", "events", True, o.Event)
ENDPOINT_SLICES = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, o.EndpointSlice)
LEASES = Kind("coordination.k8s.io", "v1", "Lease", "leases", True, o.Lease)
DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments", True, o.Deployment)
REPLICA_SETS = Kind("apps", "v1", "ReplicaSet", "replicasets", True, o.ReplicaSet)
DAEMON_SETS = Kind("apps", "v1", "DaemonSet", "daemonsets", True, o.DaemonSet)
PERSISTENT_VOLUMES = Kind("", "v1", "PersistentVolume", "persistentvolumes", False, o.PersistentVolume)
PERSISTENT_VOLUME_CLAIMS = Kind(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, o.PersistentVolumeClaim
)
STORAGE_CLASSES = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, o.StorageClass)
RESOURCE_QUOTAS = Kind("", "v1", "ResourceQuota", "resourcequotas", True, o.ResourceQuota)
ROLES = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", True, o.Role)
CLUSTER_ROLES = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False, o.ClusterRole)
ROLE_BINDINGS = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", True, o.RoleBinding)
CLUSTER_ROLE_BINDINGS = Kind(
    "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False, o.ClusterRoleBinding
)
POD_DISRUPTION_BUDGETS = Kind(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, o.PodDisruptionBudget
)
HORIZONTAL_POD_AUTOSCALERS = Kind(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, o.HorizontalPodAutoscaler
)
CUSTOM_RESOURCE_DEFINITIONS = Kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    False,
    o.CustomResourceDefinition,
)

KINDS: tuple[Kind[Any], ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
"""Every kind of this module."""

_BY_PLURAL = {(kind.group, kind.plural): kind for kind in KINDS}
_BY_KIND = {(kind.api_version, kind.kind): kind for kind in KINDS}
_BY_TYPE = {kind.type: kind for kind in KINDS}


def by_plural(group: str, plural: str) -> Kind[Any] | None:
    """The kind with that group and plural name."""
    return _BY_PLURAL.get((group, plural))


def by_kind(api_version: str, kind: str) -> Kind[Any] | None:
    """The kind with that ``apiVersion`` and ``kind``."""
    return _BY_KIND.get((api_version, kind))


def of(obj: o.KubeObject) -> Kind[Any]:
    """The kind of an object; KeyError for a type that is no kind."""
    return _BY_TYPE[type(obj)]


def reference(obj: o.KubeObject) -> o.ObjectReference:
    """A reference to an object, as events and target references carry it."""
    kind = of(obj)
    meta = obj.metadata
    return o.ObjectReference(
        api_version=kind.api_version,
        kind=kind.kind,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


def controller_reference(owner: o.KubeObject) -> o.OwnerReference:
    """The owner reference that makes an object the managing controller of another."""
    kind = of(owner)
    return o.OwnerReference(
        api_version=kind.api_version,
        kind=kind.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
