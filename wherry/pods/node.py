"""The node's own object: registration, status, heartbeat.

Written only when something changed, and once every `status_interval` even if not; between those a Lease in
`kube-node-lease` says that the node is alive (KEP-9). A Node object that someone deleted is made again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from wherry.kube.client import Client
from wherry.kube.errors import AlreadyExists, ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import LEASES, NODES
from wherry.kube.objects import Lease, LeaseSpec, Node, NodeSpec, NodeStatus, ObjectMeta, OwnerReference, Taint
from wherry.kube.objects.cluster import NodeAddress
from wherry.kube.times import format_micro_time, format_time
from wherry.pods.machine import Machine, Pressure, read_machine, read_pressure

LEASE_NAMESPACE = "kube-node-lease"
READY = "Ready"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_log = logging.getLogger(__name__)


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


class NodeController:
    """Registers one node and keeps its status and lease. `run` works until cancelled.

    `set_problem` lets other parts of the agent hold the node NotReady; until the node has a pod range it is NotReady
    by itself.
    """

    def __init__(
        self,
        client: Client,
        informers: Informers,
        *,
        settings: NodeSettings,
        recorder: EventRecorder | None = None,
        machine: Machine | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._settings = settings
        self._recorder = recorder
        self._machine = machine or read_machine(settings.name, settings.data_dir)
        self._clock = clock
        self._informer = informers.informer(NODES, field_selector=f"metadata.name={settings.name}")
        self._informer.add_handler(self._noticed)
        self._problems: dict[str, str] = {}
        self._ranges_handlers: list[Callable[[tuple[str, ...]], None]] = []
        self._ranges: tuple[str, ...] = ()
        self._has_ranges = asyncio.Event()
        self._dirty = asyncio.Event()
        self._uid = ""

    @property
    def allocatable(self) -> dict[str, Any]:
        """What pods may use of the node."""
        return dict(self._machine.capacity(self._settings.max_pods))

    def set_problem(self, source: str, text: str | None) -> None:
        """Say what keeps the node from being ready, as one part sees it; None: nothing does any more."""
        if self._problems.get(source) == text:
            return
        if text is None:
            self._problems.pop(source, None)
        else:
            self._problems[source] = text
        self._dirty.set()

    def on_ranges(self, handler: Callable[[tuple[str, ...]], None]) -> None:
        """Call `handler` with the node's pod ranges, now if they are known and whenever they change."""
        self._ranges_handlers.append(handler)
        if self._ranges:
            handler(self._ranges)

    async def ranges(self) -> tuple[str, ...]:
        """Wait until the node has its pod ranges and return them."""
        await self._has_ranges.wait()
        return self._ranges

    async def run(self) -> None:
        """Register, then follow the node's object until cancelled."""
        await self._insist(self._register, "register")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_status(), name="node status")
            group.create_task(self._keep_lease(), name="node lease")

    def _noticed(self, _old: Node | None, new: Node | None) -> None:
        if new is not None:
            ranges = new.spec.pod_cidrs or ((new.spec.pod_cidr,) if new.spec.pod_cidr else ())
            if ranges and ranges != self._ranges:
                self._ranges = ranges
                self._has_ranges.set()
                for handler in self._ranges_handlers:
                    handler(ranges)
        self._dirty.set()

    # -- object and status ---------------------------------------------------------------------------------------

    async def _register(self) -> None:
        wanted = node_object(self._settings, self._machine, self._ranges)
        try:
            made = await self._client.create(NODES, wanted)
            self._uid = made.uid
            return
        except AlreadyExists:
            found = await self._client.get(NODES, self._settings.name)
        self._uid = found.uid
        labels = {key: value for key, value in wanted.labels.items() if found.labels.get(key) != value}
        notes = wanted.metadata.annotations
        there = found.metadata.annotations
        annotations: dict[str, str | None] = {key: text for key, text in notes.items() if there.get(key) != text}
        annotations |= {key: None for key in self._settings.stale_annotations if key in there}
        if labels or annotations:
            patch = {"metadata": {"labels": labels, "annotations": annotations}}
            await self._client.patch(NODES, self._settings.name, patch)

    async def _keep_status(self) -> None:
        await self._informer.synced()
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time()
        self._dirty.set()
        while True:
            try:
                async with asyncio.timeout_at(heartbeat_at):
                    await self._dirty.wait()
            except TimeoutError:
                self._dirty.set()
            self._dirty.clear()
            due = loop.time() >= heartbeat_at
            await self._insist(partial(self._write_status, heartbeat=due), "write the status of")
            if due:
                heartbeat_at = loop.time() + self._settings.status_interval

    async def _write_status(self, *, heartbeat: bool) -> None:
        node = self._informer.get(Key("", self._settings.name))
        if node is None:
            # Either someone deleted the object or the cache has not seen it yet; registering settles both.
            await self._register()
            node = await self._client.get(NODES, self._settings.name)
        problems = list(self._problems.values())
        if not (node.spec.pod_cidrs or node.spec.pod_cidr):
            problems.append(
                "container runtime network not ready: no range of pod addresses has been given to this node"
            )
        wanted = node_status(
            self._settings,
            self._machine,
            node,
            pressure=read_pressure(self._settings.data_dir),
            problems=tuple(problems),
            now=self._clock(),
        )
        changed = status_difference(node, wanted, heartbeat=heartbeat)
        if changed:
            patch = {"status": changed}
            await self._client.patch(NODES, node.name, patch, subresource="status", type="strategic")
            if self._recorder is not None:
                for reason in news(node, wanted):
                    self._recorder.event(node, "Normal", reason, f"Node {node.name} status is now: {reason}")

    # -- lease ---------------------------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        while True:
            await self._insist(self._renew_lease, "renew the lease of")
            await asyncio.sleep(self._settings.lease_interval)

    async def _renew_lease(self) -> None:
        name = self._settings.name
        stamp = format_micro_time(self._clock())
        renewed = {"spec": {"renewTime": stamp, "holderIdentity": name}}
        try:
            await self._client.patch(LEASES, name, renewed, namespace=LEASE_NAMESPACE)
            return
        except NotFound:
            _log.debug("node %s has no lease yet", name)
        owner = OwnerReference(api_version="v1", kind="Node", name=name, uid=self._uid)
        lease = Lease(
            metadata=ObjectMeta(name=name, namespace=LEASE_NAMESPACE, owner_references=(owner,)),
            spec=LeaseSpec(holder_identity=name, lease_duration_seconds=self._settings.lease_seconds, renew_time=stamp),
        )
        await self._client.create(LEASES, lease)

    async def _insist(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Do it until it is done, however long the API is away."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await work()
                return
            except ApiError as error:
                _log.info("cannot %s node %s: %s", what, self._settings.name, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
