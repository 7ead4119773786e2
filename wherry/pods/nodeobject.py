"""What a node's object says, as plain values: labels, addresses, status, and the events its changes are worth.

Everything here is pure; `wherry.pods.node` writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from wherry.kube.objects import Node, NodeSpec, NodeStatus, ObjectMeta, Taint
from wherry.kube.objects.cluster import NodeAddress
from wherry.kube.times import format_time
from wherry.pods.machine import Machine, Pressure

READY = "Ready"


class NodeSettings(msgspec.Struct, frozen=True):
    """What the node says of itself; intervals in seconds."""

    name: str
    data_dir: Path
    internal_ips: tuple[str, ...]
    """One per address family, the preferred family first."""
    external_ips: tuple[str, ...] = ()
    internal_dns: tuple[str, ...] = ()
    external_dns: tuple[str, ...] = ()
    hostname: str = ""
    external_cloud: bool = False
    """A cloud controller, not the kubelet, says which addresses the node has, once it knows the node."""
    labels: dict[str, str] = {}
    """In addition to the ones every node has; `node-role.kubernetes.io/...` belongs here."""
    annotations: dict[str, str] = {}
    stale_annotations: tuple[str, ...] = ()
    """Removed where an earlier start has left them."""
    taints: tuple[Taint, ...] = ()
    """Given when the node is first registered; later changes of its taints are respected."""
    max_pods: int = 110
    kubelet_port: int = 10250
    provider_id: str = ""
    version: str = "v1.37.0+wherry"
    runtime_version: str = "wherry://0.1.0"
    lease_seconds: int = 40
    lease_interval: float = 10.0
    status_interval: float = 300.0


def node_labels(settings: NodeSettings, machine: Machine) -> dict[str, str]:
    """Return the labels the node registers with."""
    return {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": settings.hostname or settings.name,
        "kubernetes.io/os": "linux",
        **settings.labels,
    }


def node_object(settings: NodeSettings, machine: Machine, ranges: tuple[str, ...] = ()) -> Node:
    """Return the object the node registers.

    ``ranges`` are those it has from before its object was deleted: its pods have addresses of them. It has addresses
    from its first moment, so that a cloud controller and the first status do not overwrite each other's.
    """
    return Node(
        metadata=ObjectMeta(
            name=settings.name,
            labels=node_labels(settings, machine),
            annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true", **settings.annotations},
        ),
        spec=NodeSpec(
            taints=settings.taints,
            provider_id=settings.provider_id,
            pod_cidr=ranges[0] if ranges else "",
            pod_cidrs=ranges,
        ),
        status=NodeStatus(addresses=_own_addresses(settings)),
    )


def _own_addresses(settings: NodeSettings) -> tuple[NodeAddress, ...]:
    """The addresses as the kubelet part knows them; where a cloud controller comes, it tells all but the first two."""
    here = [("InternalIP", settings.internal_ips), ("Hostname", (settings.hostname or settings.name,))]
    if not settings.external_cloud:
        here[1:1] = [
            ("ExternalIP", settings.external_ips),
            ("InternalDNS", settings.internal_dns),
            ("ExternalDNS", settings.external_dns),
        ]
    return tuple(NodeAddress(type=kind, address=text) for kind, texts in here for text in texts)


def node_status(
    settings: NodeSettings, machine: Machine, node: Node, *, pressure: Pressure, problems: tuple[str, ...], now: float
) -> dict[str, Any]:
    """Return the status as plain data. Pure; `problems` are what keeps the node from being ready.

    Addresses of one type come in the order the settings give them; those of a cloud controller stay as they are.
    """
    stamp = format_time(now)
    addresses = (node.status.addresses if settings.external_cloud else ()) or _own_addresses(settings)
    capacity = machine.capacity(settings.max_pods)
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": each.type, "address": each.address} for each in addresses],
        "conditions": _conditions(node, pressure, problems, stamp),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": settings.kubelet_port}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.machine_id,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": settings.runtime_version,
            "kubeletVersion": settings.version,
            "kubeProxyVersion": settings.version,
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
    }


def _conditions(node: Node, pressure: Pressure, problems: tuple[str, ...], stamp: str) -> list[dict[str, Any]]:
    rows: list[tuple[str, bool, str, str]] = [
        (
            "MemoryPressure",
            pressure.memory,
            "KubeletHasInsufficientMemory" if pressure.memory else "KubeletHasSufficientMemory",
            f"kubelet has {'insufficient' if pressure.memory else 'sufficient'} memory available",
        ),
        (
            "DiskPressure",
            pressure.disk,
            "KubeletHasDiskPressure" if pressure.disk else "KubeletHasNoDiskPressure",
            f"kubelet has {'disk' if pressure.disk else 'no disk'} pressure",
        ),
        (
            "PIDPressure",
            pressure.pids,
            "KubeletHasInsufficientPID" if pressure.pids else "KubeletHasSufficientPID",
            f"kubelet has {'insufficient' if pressure.pids else 'sufficient'} PID available",
        ),
        (
            "Ready",
            not problems,
            "KubeletNotReady" if problems else "KubeletReady",
            "; ".join(problems) or "kubelet is posting ready status",
        ),
    ]
    found: list[dict[str, Any]] = []
    for type_, holds, reason, message in rows:
        status = "True" if holds else "False"
        before = node.status.condition(type_)
        same = before is not None and before.status == status and before.last_transition_time
        found.append(
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": before.last_transition_time if same and before is not None else stamp,
            }
        )
    return found


def status_difference(node: Node, wanted: dict[str, Any], *, heartbeat: bool) -> dict[str, Any]:
    """Return the parts of the wanted status that the API lacks, ready for a strategic patch; empty: nothing to write.

    Heartbeat times alone are no difference unless `heartbeat` asks for them.
    """
    # Both sides go through the typed status, so that defaults and unknown fields make no difference.
    reported = _plain(node.status)
    plain = _plain(msgspec.convert(wanted, NodeStatus))
    changed = {
        key: value for key, value in wanted.items() if key != "conditions" and reported.get(key) != plain.get(key)
    }
    if "addresses" in changed and reported.get("addresses"):
        # The API merges addresses by type, of which a node with two families has two alike: replace them instead.
        changed["addresses"] = [*changed["addresses"], {"$patch": "replace"}]
    by_type = {condition["type"]: condition for condition in reported.get("conditions", ())}
    for condition in wanted["conditions"]:
        before = by_type.get(condition["type"], {})
        names = [name for name in condition if heartbeat or name != "lastHeartbeatTime"]
        if any(before.get(name) != condition[name] for name in names):
            changed["conditions"] = wanted["conditions"]
            break
    return changed


_NEWS = {
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
}


def news(node: Node, wanted: dict[str, Any]) -> list[str]:
    """Return the reasons of the events that the wanted conditions are worth: those that the API shows otherwise.

    That a node is not ready yet when it registers is none.
    """
    found = []
    for condition in wanted["conditions"]:
        before = node.status.condition(condition["type"])
        status = before.status if before is not None else "False" if condition["type"] == READY else ""
        if status != condition["status"]:
            found.append(_NEWS[condition["type"], condition["status"]])
    return found


def _plain(status: NodeStatus) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(status))
    return decoded
