"""Objects for tables of tests, from the JSON that Kubernetes would send."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from wherry.kube.objects import Node, Pod, Service
from wherry.workloads.kinds import DaemonSet, Deployment, ReplicaSet, StatefulSet

T = TypeVar("T")

START = 1_700_000_000.0
STAMP = "2023-11-14T22:13:20Z"
"""START as Kubernetes writes it."""


def of(type_: type[T], plain: dict[str, Any]) -> T:
    return msgspec.convert(plain, type_)


def meta(name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    uid = more.pop("uid", f"uid-{name}")
    return {
        "name": name,
        "uid": uid,
        "resourceVersion": "1",
        "creationTimestamp": STAMP,
        **({"namespace": namespace} if namespace else {}),
        **more,
    }


def node(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    ready: str | None = "True",
    unschedulable: bool = False,
    **allocatable: str,
) -> Node:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": STAMP}] if ready else []
    return of(
        Node,
        {
            "metadata": meta(name, labels={"kubernetes.io/hostname": name, **(labels or {})}),
            "spec": {"taints": taints or [], "unschedulable": unschedulable},
            "status": {
                "allocatable": {"cpu": cpu, "memory": memory, "pods": pods, **allocatable},
                "conditions": conditions,
            },
        },
    )


def owner(name: str, kind: str = "ReplicaSet", *, controller: bool = True, block: bool = True) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": name,
        "uid": f"uid-{name}",
        "controller": controller,
        "blockOwnerDeletion": block,
    }


def pod_dict(
    name: str,
    *,
    namespace: str = "default",
    on: str = "",
    cpu: str | None = None,
    memory: str | None = None,
    labels: dict[str, str] | None = None,
    host_ports: tuple[int | tuple[str, str, int], ...] = (),
    owned_by: str = "",
    owner_kind: str = "ReplicaSet",
    phase: str = "",
    ready: bool = False,
    ready_at: str = STAMP,
    deleting: bool = False,
    ips: tuple[str, ...] = (),
    restarts: int = 0,
    annotations: dict[str, str] | None = None,
    created: str = STAMP,
    uid: str = "",
    **spec: Any,
) -> dict[str, Any]:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    ports = []
    for port in host_ports:
        address, protocol, number = port if isinstance(port, tuple) else ("", "TCP", port)
        ports.append({"containerPort": number, "hostPort": number, "hostIP": address, "protocol": protocol})
    metadata = meta(name, namespace, labels=labels or {}, annotations=annotations or {}, creationTimestamp=created)
    if uid:
        metadata["uid"] = uid
    if owned_by:
        metadata["ownerReferences"] = [owner(owned_by, owner_kind)]
    if deleting:
        metadata["deletionTimestamp"] = STAMP
    phase = phase or ("Running" if ready else "Pending")
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": ready_at}
    return {
        "metadata": metadata,
        "spec": {
            "containers": [{"name": "main", "image": "x", "ports": ports, "resources": {"requests": requests}}],
            **({"nodeName": on} if on else {}),
            **spec,
        },
        "status": {
            "phase": phase,
            "conditions": [condition],
            "podIPs": [{"ip": each} for each in ips],
            "containerStatuses": [{"name": "main", "restartCount": restarts}],
        },
    }


def pod(name: str, **settings: Any) -> Pod:
    return of(Pod, pod_dict(name, **settings))


def template(image: str = "app:1", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels or {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": image}], **spec},
    }


def replica_set(
    name: str,
    *,
    replicas: int = 3,
    image: str = "app:1",
    available: int | None = None,
    revision: int = 0,
    created: str = STAMP,
    status: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    owned_by: str = "web",
    min_ready: int = 0,
    **metadata: Any,
) -> ReplicaSet:
    notes = dict(annotations or {})
    if revision:
        notes["deployment.kubernetes.io/revision"] = str(revision)
    there = replicas if available is None else available
    references = [owner(owned_by, "Deployment")] if owned_by else []
    return of(
        ReplicaSet,
        {
            "metadata": meta(
                name,
                "default",
                labels={"app": "web"},
                annotations=notes,
                creationTimestamp=created,
                ownerReferences=references,
                **metadata,
            ),
            "spec": {
                "replicas": replicas,
                "minReadySeconds": min_ready,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(image),
            },
            "status": status
            or {"replicas": replicas, "readyReplicas": there, "availableReplicas": there, "fullyLabeledReplicas": 0},
        },
    )


def deployment(
    name: str = "web",
    *,
    replicas: int = 3,
    image: str = "app:1",
    strategy: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Deployment:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    return of(
        Deployment,
        {
            "metadata": meta(name, "default", generation=1, annotations=annotations or {}),
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(image),
                "strategy": strategy or rolling,
                **spec,
            },
            "status": status or {},
        },
    )


def daemon_set(
    name: str = "agent", *, image: str = "agent:1", strategy: dict[str, Any] | None = None, **spec: Any
) -> DaemonSet:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return of(
        DaemonSet,
        {
            "metadata": meta(name, "default", generation=2),
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": template(image, {"app": "agent"}, **spec),
                "updateStrategy": strategy or rolling,
            },
        },
    )


def service(
    name: str = "web",
    *,
    ports: list[dict[str, Any]] | None = None,
    families: tuple[str, ...] = ("IPv4",),
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Service:
    return of(
        Service,
        {
            "metadata": meta(name, "default", labels=labels or {}, annotations=annotations or {}),
            "spec": {
                "selector": {"app": "web"},
                "ports": ports if ports is not None else [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
                "ipFamilies": list(families),
                "clusterIP": "10.43.0.9",
                **spec,
            },
        },
    )


def stateful_set(name: str = "web", *, replicas: int = 3, image: str = "app:1", **spec: Any) -> StatefulSet:
    status = spec.pop("status", {})
    wanted = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(image),
        "serviceName": name,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        **spec,
    }
    return of(StatefulSet, {"metadata": meta(name, "default", generation=1), "spec": wanted, "status": status})
