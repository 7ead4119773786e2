"""The kinds with a pod template as the controllers here read them: the template stays plain data.

A controller copies the template into the objects it makes. Read into narrow structs it would lose every field that
wherry does not know, so it is kept as the dictionary that the API server sent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.kube import objects as o
from wherry.kube.kinds import Kind

Template = dict[str, Any]
"""A ``PodTemplateSpec`` as plain data; shared by the cache and never to be changed."""


class DeploymentSpec(o.Model):
    """What a deployment wants."""

    replicas: int = 1
    selector: o.LabelSelector = o.LabelSelector()
    template: Template = msgspec.field(default_factory=dict)
    strategy: o.DeploymentStrategy = o.DeploymentStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int | None = 10
    paused: bool = False
    progress_deadline_seconds: int | None = 600


class Deployment(o.KubeObject):
    """A deployment."""

    spec: DeploymentSpec = DeploymentSpec()
    status: o.DeploymentStatus = o.DeploymentStatus()


class ReplicaSetSpec(o.Model):
    """What a replica set wants."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: o.LabelSelector = o.LabelSelector()
    template: Template = msgspec.field(default_factory=dict)


class ReplicaSet(o.KubeObject):
    """A replica set."""

    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: o.ReplicaSetStatus = o.ReplicaSetStatus()


class DaemonSetSpec(o.Model):
    """What a daemon set wants."""

    selector: o.LabelSelector = o.LabelSelector()
    template: Template = msgspec.field(default_factory=dict)
    update_strategy: o.DaemonSetUpdateStrategy = o.DaemonSetUpdateStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int | None = 10


class DaemonSet(o.KubeObject):
    """A daemon set."""

    spec: DaemonSetSpec = DaemonSetSpec()
    status: o.DaemonSetStatus = o.DaemonSetStatus()


class ControllerRevision(o.KubeObject):
    """A numbered snapshot of a daemon set's template."""

    data: dict[str, Any] = msgspec.field(default_factory=dict)
    revision: int = 0


class Endpoints(o.KubeObject):
    """The older form of endpoint slices: one object per service; subsets as plain data."""

    subsets: tuple[dict[str, Any], ...] = ()


class PartialObject(o.KubeObject):
    """Any object, of which only the metadata is read."""


DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments", True, Deployment)
REPLICA_SETS = Kind("apps", "v1", "ReplicaSet", "replicasets", True, ReplicaSet)
DAEMON_SETS = Kind("apps", "v1", "DaemonSet", "daemonsets", True, DaemonSet)
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", True, Endpoints)
CONTROLLER_REVISIONS = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", True, ControllerRevision)


def reference(kind: Kind[Any], obj: o.KubeObject) -> o.ObjectReference:
    """A reference to an object of one of these kinds, for events."""
    return o.ObjectReference(
        api_version=kind.api_version,
        kind=kind.kind,
        namespace=obj.namespace,
        name=obj.name,
        uid=obj.uid,
        resource_version=obj.metadata.resource_version,
    )


def controller_reference(kind: Kind[Any], owner: o.KubeObject) -> o.OwnerReference:
    """The reference that makes ``owner`` the managing controller of another object."""
    return o.OwnerReference(
        api_version=kind.api_version,
        kind=kind.kind,
        name=owner.name,
        uid=owner.uid,
        controller=True,
        block_owner_deletion=True,
    )
