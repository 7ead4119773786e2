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

    @property
    def pods(self) -> o.LabelSelector:
        """What selects the pods."""
        return self.selector


class ReplicaSet(o.KubeObject):
    """A replica set."""

    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: o.ReplicaSetStatus = o.ReplicaSetStatus()


class ReplicationControllerSpec(o.Model):
    """What a replication controller wants: as a replica set, with plain labels as its selector."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    template: Template = msgspec.field(default_factory=dict)

    @property
    def pods(self) -> o.LabelSelector:
        """What selects the pods."""
        return o.LabelSelector(match_labels=self.selector)


class ReplicationController(o.KubeObject):
    """The elder of replica sets."""

    spec: ReplicationControllerSpec = ReplicationControllerSpec()
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


class StatefulSetRollingUpdate(o.Model):
    """From which index on pods are updated, and how many of them at a time (a count or percentage)."""

    partition: int = 0
    max_unavailable: o.IntOrString | None = None


class StatefulSetUpdateStrategy(o.Model):
    """``RollingUpdate`` or ``OnDelete``."""

    type: str = "RollingUpdate"
    rolling_update: StatefulSetRollingUpdate | None = None


class ClaimRetention(o.Model):
    """What becomes of the volume claims, ``Retain`` or ``Delete``, with the set and with a pod scaled away."""

    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class Ordinals(o.Model):
    """The number of a stateful set's first pod."""

    start: int = 0


class StatefulSetSpec(o.Model):
    """What a stateful set wants; the templates of volume claims stay plain data, as the pod template does."""

    replicas: int = 1
    selector: o.LabelSelector = o.LabelSelector()
    template: Template = msgspec.field(default_factory=dict)
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: StatefulSetUpdateStrategy = StatefulSetUpdateStrategy()
    revision_history_limit: int | None = 10
    min_ready_seconds: int = 0
    ordinals: Ordinals | None = None
    volume_claim_templates: tuple[dict[str, Any], ...] = ()
    persistent_volume_claim_retention_policy: ClaimRetention = ClaimRetention()


class StatefulSetStatus(o.Model):
    """What a stateful set has."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None


class StatefulSet(o.KubeObject):
    """A stateful set."""

    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()


class ControllerRevision(o.KubeObject):
    """A numbered snapshot of the template of a daemon set or stateful set."""

    data: dict[str, Any] = msgspec.field(default_factory=dict)
    revision: int = 0


class Endpoints(o.KubeObject):
    """The older form of endpoint slices: one object per service; subsets as plain data."""

    subsets: tuple[dict[str, Any], ...] = ()


class PartialObject(o.KubeObject):
    """Any object, of which only the metadata is read."""


DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments", True, Deployment)
REPLICA_SETS = Kind("apps", "v1", "ReplicaSet", "replicasets", True, ReplicaSet)
REPLICATION_CONTROLLERS = Kind("", "v1", "ReplicationController", "replicationcontrollers", True, ReplicationController)
DAEMON_SETS = Kind("apps", "v1", "DaemonSet", "daemonsets", True, DaemonSet)
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", True, Endpoints)
STATEFUL_SETS = Kind("apps", "v1", "StatefulSet", "statefulsets", True, StatefulSet)
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
