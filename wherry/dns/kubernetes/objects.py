"""Kinds that only cluster DNS reads, or reads less of than the rest does."""

from __future__ import annotations

from wherry.kube.kinds import Kind
from wherry.kube.objects import KubeObject, Model


class PodIP(Model):
    """One address of a pod."""

    ip: str = ""


class PodAddresses(Model):
    """The part of a pod's status that its names come from."""

    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] = ()


class Pod(KubeObject):
    """A pod as far as its names go: of hundreds of bytes each, fifty are kept."""

    status: PodAddresses = PodAddresses()


class ImportPort(Model):
    """A port of an imported service."""

    port: int
    name: str = ""
    protocol: str = "TCP"


class ImportSpec(Model):
    """`type` is ClusterSetIP or Headless."""

    type: str = "ClusterSetIP"
    ips: tuple[str, ...] | None = ()
    ports: tuple[ImportPort, ...] | None = ()


class ServiceImport(KubeObject):
    """A service of the cluster set (KEP-1645, https://github.com/kubernetes-sigs/mcs-api)."""

    spec: ImportSpec = ImportSpec()


PODS = Kind("", "v1", "Pod", "pods", True, Pod)
SERVICE_IMPORTS = Kind("multicluster.x-k8s.io", "v1alpha1", "ServiceImport", "serviceimports", True, ServiceImport)

IMPORT_NAME_LABEL = "multicluster.kubernetes.io/service-name"
"""Label of a slice that belongs to an imported service."""
SOURCE_CLUSTER_LABEL = "multicluster.kubernetes.io/source-cluster"
"""Label of such a slice that names the cluster it comes from."""
CHANGE_TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
"""Annotation of a slice: when what it shows began to change."""
