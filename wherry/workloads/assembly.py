"""Everything that runs in the controllers process on behalf of workloads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wherry.kube.client import Client
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.workloads.autoscaling.controller import HorizontalPodAutoscalerController
from wherry.workloads.cronjob.controller import CronJobController
from wherry.workloads.daemonset.controller import DaemonSetController
from wherry.workloads.deployment.controller import DeploymentController
from wherry.workloads.disruption.controller import DisruptionController, StaleDisruptions
from wherry.workloads.endpoints.classic_controller import EndpointsController, EndpointsMirror
from wherry.workloads.endpoints.controller import EndpointSliceController
from wherry.workloads.garbage.controller import GarbageCollector
from wherry.workloads.job.controller import JobController
from wherry.workloads.job.orphans import JobOrphans
from wherry.workloads.namespaces import NamespaceController
from wherry.workloads.nodes.eviction import TaintEvictionController
from wherry.workloads.nodes.lifecycle import GRACE, NodeLifecycleController
from wherry.workloads.nodes.podgc import QUARANTINE, PodCollector
from wherry.workloads.nodes.zones import DEFAULT_RATES, Rates
from wherry.workloads.replicaset.controller import ReplicaSetController, ReplicationControllerController
from wherry.workloads.scheduler.controller import SCHEDULER_NAME, Scheduler
from wherry.workloads.serviceaccounts import ServiceAccountController
from wherry.workloads.statefulset.controller import StatefulSetController
from wherry.workloads.storage.binder import VolumeBinder
from wherry.workloads.storage.ephemeral import EphemeralVolumes
from wherry.workloads.storage.names import LOCAL_PROVISIONER
from wherry.workloads.storage.provision import LocalProvisioner
from wherry.workloads.ttl.controller import TtlAfterFinishedController


class Runnable(Protocol):
    """Something that runs until cancelled."""

    async def run(self) -> None:
        """Run until cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSettings:
    """What the controllers need to be told.

    ``root_ca`` is the PEM text that every namespace's ``kube-root-ca.crt`` holds; times are seconds.
    """

    root_ca: str
    node_grace: float = GRACE
    eviction_rates: Rates = DEFAULT_RATES
    pod_quarantine: float = QUARANTINE
    scheduler_name: str = SCHEDULER_NAME
    local_storage: bool = True
    """Whether the default storage class and its provisioner are there."""
    batch_clock: Callable[[], float] = time.time
    """The time that jobs and cron jobs go by."""


def controllers(client: Client, informers: Informers, settings: WorkloadSettings) -> list[Runnable]:
    """All workload controllers and the recorders of their events; run them and ``informers`` in one task group.

    Each controller reports events under its own component, as ``kubectl describe`` shows them.
    """
    recorders: list[EventRecorder] = []

    def component(name: str) -> EventRecorder:
        recorders.append(EventRecorder(client, name))
        return recorders[-1]

    events = component("node-controller")
    local = LocalProvisioner(client, component(LOCAL_PROVISIONER)) if settings.local_storage else None
    running: list[Runnable] = [
        Scheduler(client, informers, component("default-scheduler"), scheduler_name=settings.scheduler_name),
        DeploymentController(client, informers, component("deployment-controller")),
        ReplicaSetController(client, informers, component("replicaset-controller")),
        ReplicationControllerController(client, informers, component("replication-controller")),
        DaemonSetController(client, informers, component("daemonset-controller")),
        StatefulSetController(client, informers, component("statefulset-controller")),
        JobController(client, informers, component("job-controller"), clock=settings.batch_clock),
        JobOrphans(client, informers),
        TtlAfterFinishedController(client, informers, clock=settings.batch_clock),
        CronJobController(client, informers, component("cronjob-controller"), clock=settings.batch_clock),
        EndpointSliceController(client, informers, component("endpoint-slice-controller")),
        EndpointsController(client, informers, component("endpoint-controller")),
        EndpointsMirror(client, informers, events),
        ServiceAccountController(client, informers, events, root_ca=settings.root_ca),
        NodeLifecycleController(client, informers, events, grace=settings.node_grace, rates=settings.eviction_rates),
        TaintEvictionController(client, informers, component("taint-eviction-controller")),
        DisruptionController(client, informers, component("controllermanager")),
        StaleDisruptions(client, informers),
        HorizontalPodAutoscalerController(client, informers, component("horizontal-pod-autoscaler")),
        PodCollector(client, informers, events, quarantine=settings.pod_quarantine),
        VolumeBinder(client, informers, component("persistentvolume-controller"), local=local),
        EphemeralVolumes(client, informers, component("ephemeral_volume")),
        NamespaceController(client, informers, events),
        GarbageCollector(client, informers, events),
    ]
    if local is not None:
        running.append(local)
    return [*recorders, *running]
