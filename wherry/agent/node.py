"""The processes of a node: the runtime, which holds what runs, and the agent, which decides."""

from __future__ import annotations

import asyncio
import logging
import os
import socket as sockets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from socket import socket
from typing import Protocol

from wherry.agent.admission import NodeAdmission
from wherry.agent.cloud import cloud_identity
from wherry.agent.interfaces import NodeInterfaces
from wherry.agent.mtu import underlay_mtu
from wherry.agent.storage import LocalVolumes
from wherry.cloud import forwarder
from wherry.config.nodeports import node_port_ranges
from wherry.config.settings import Settings
from wherry.dns import image as dns_image
from wherry.dns.nodelocal import process as node_dns_process
from wherry.dns.nodelocal.controller import NodeDns
from wherry.dns.nodelocal.controller import remove as node_dns_removal
from wherry.dns.nodelocal.files import Folder
from wherry.kernel.addresswatch import interface_addresses
from wherry.kernel.loop import run
from wherry.kernel.nft import Nft
from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import NODES
from wherry.kube.objects.cluster import Taint
from wherry.overlay.controller import OverlayController
from wherry.overlay.model import pod_mtu
from wherry.pods.api.server import KubeletApi, KubeletApiSettings
from wherry.pods.context import PodSettings
from wherry.pods.controller import PodController
from wherry.pods.dns import ClusterDns, read_resolv_conf
from wherry.pods.images import Bind, ImageEntry
from wherry.pods.imagetable import load_table
from wherry.pods.node import NodeController
from wherry.pods.nodeobject import NodeSettings
from wherry.pods.runtime import __main__ as runtime_main
from wherry.pods.runtime.client import RuntimeClient
from wherry.pods.runtime.programs import find_programs
from wherry.pods.runtime.service import Settings as RuntimeSettings
from wherry.pods.sandbox.manager import Sandboxes
from wherry.services.controller import ServicesController
from wherry.services.names import Ranges
from wherry.workloads.storage.names import NODE_DIRECTORY

log = logging.getLogger(__name__)

_SET_UP_SECONDS = 20.0
"""Until a node that was Ready when its agent ended is told not to be, where the agent cannot set it up again."""

BUILT_IN = (
    ImageEntry(
        match=forwarder.IMAGE,
        entrypoint=forwarder.entrypoint(forwarder.MOUNTED),
        binds=tuple(Bind(str(source), str(target)) for source, target in forwarder.FILES.items()),
    ),
    *(
        ImageEntry(
            match=match,
            entrypoint=dns_image.entrypoint(),
            binds=tuple(Bind(str(path), str(path)) for path in dns_image.mounts()),
        )
        for match in dns_image.IMAGES
    ),
)
"""The images of load-balancer pods and of cluster DNS; the user's own table goes before them."""


class Runnable(Protocol):
    """A part of the agent: runs until cancelled."""

    async def run(self) -> None:
        """Run until cancelled."""


@dataclass(frozen=True, kw_only=True)
class NodeSite:
    """One node: its name, where its files are, how it reaches the API, and what it shows to it."""

    settings: Settings
    name: str
    addresses: tuple[str, ...]
    run_dir: Path
    data_dir: Path
    hidden: tuple[str, ...]
    """Folders with keys, which containers must not see."""
    inherited: Sequence[socket]
    """Sockets that the supervisor holds for other processes, to be closed here."""
    endpoint: Callable[[], Endpoint]
    serving: Path
    serving_key: Path
    client_ca: Path
    resolv_conf: Path
    images: Path | None
    version: str
    labels: dict[str, str]
    config: dict[str, str]
    """Annotations that say how it was started."""

    @property
    def runtime_socket(self) -> Path:
        """Where the runtime answers."""
        return self.run_dir / "runtime.sock"

    def runtime(self) -> None:
        """Become the runtime process."""
        programs = find_programs(hidden=self.hidden)
        state = self.run_dir / "runtime"
        state.mkdir(parents=True, exist_ok=True)
        settings = RuntimeSettings(socket=str(self.runtime_socket), state_dir=str(state), programs=programs)
        # A fresh interpreter: this one holds the modules of all other processes, which the runtime does not need.
        argv = runtime_main.command(settings)
        os.execv(argv[0], argv)

    def agent(self) -> None:
        """Run the agent until told to end; the node's pods stay."""
        for one in self.inherited:
            one.close()
        run(self._agent(), debug=self.settings.debug)

    async def _agent(self) -> None:
        async with Client(self.endpoint(), user_agent=f"wherry-agent/{self.name}") as client:
            informers = Informers(client)
            recorder = EventRecorder(client, "kubelet", self.name)
            node = NodeController(client, informers, settings=self._node_settings(), recorder=recorder)
            ranges: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()

            def known(found: tuple[str, ...]) -> None:
                # A node that has ranges keeps them; what comes later can only be the same.
                if not ranges.done():
                    ranges.set_result(found)

            node.on_ranges(known)
            node.set_problem(
                "agent",
                "container runtime network not ready: the node's network is being set up",
                patience=_SET_UP_SECONDS,
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(informers.run(), name="informers")
                group.create_task(node.run(), name="node")
                await self._parts(client, informers, recorder, node, await ranges, group)

    async def _parts(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        node: NodeController,
        ranges: tuple[str, ...],
        group: asyncio.TaskGroup,
    ) -> None:
        """Start what needs the node's pod ranges, and let the node be ready once it can run pods."""
        settings = self.settings
        nodes = informers.informer(NODES, field_selector=f"metadata.name={self.name}")
        runtime = RuntimeClient(self.runtime_socket, programs=find_programs(hidden=self.hidden))
        networks = tuple(ip_network(text) for text in ranges)
        versions = tuple(one.version for one in networks)
        nft = Nft()
        sandboxes = Sandboxes(
            run_dir=self.run_dir,
            data_dir=self.data_dir,
            ranges=networks,
            mtu=pod_mtu(settings.overlay_backend, underlay_mtu(self.addresses[0]), versions),
            nft=nft,
            interfaces=interface_addresses(),
        )
        pods = PodController(
            client,
            informers,
            recorder,
            settings=self._pod_settings(node),
            runtime=runtime,
            sandboxes=sandboxes,
            admit=NodeAdmission(partial(nodes.get, Key("", self.name))),
        )
        api = KubeletApi(
            pods,
            settings=KubeletApiSettings(certificate=self.serving, key=self.serving_key, client_ca=self.client_ca),
        )
        overlay = OverlayController(
            client,
            informers,
            recorder,
            node=self.name,
            backend=settings.overlay_backend,
            cluster_cidrs=settings.cluster_cidrs,
            nft=nft,
            masquerade=(4, 6) if settings.ipv6_masquerade else (4,),
            node_ips=[ip_address(text) for text in self.addresses],
            interface=settings.overlay_interface,
        )
        parts: dict[str, Runnable] = {
            "events": recorder,
            "runtime": runtime,
            "pods": pods,
            "kubelet API": api,
            "overlay": overlay,
            "interfaces": NodeInterfaces(client, nodes, node=self.name, follow=sandboxes.follow),
            "local volumes": LocalVolumes(
                client, informers, recorder, node=self.name, directory=self.data_dir / "storage"
            ),
        }
        for name, part in parts.items():
            group.create_task(part.run(), name=name)

        def ports_changed(text: str) -> None:
            log.warning("%s", text)
            if (own := nodes.get(Key("", self.name))) is not None:
                recorder.event(own, "Warning", "HostPortRulesChanged", text)

        group.create_task(sandboxes.guard(ports_changed), name="host ports")
        if settings.services:
            services = ServicesController(
                client,
                informers,
                recorder,
                node_name=self.name,
                node_ips=[ip_address(text) for text in self.addresses],
                ranges=Ranges(
                    cluster=tuple(map(str, settings.cluster_cidrs)),
                    own=ranges,
                    services=tuple(map(str, settings.service_cidrs)),
                    node_ports=node_port_ranges(settings.node_port_addresses, self.addresses),
                ),
            )
            group.create_task(services.run(), name="services")
            await services.ready()
        if self._answers_dns:
            node_dns = NodeDns(
                informers,
                nft=nft,
                addresses=settings.cluster_dns,
                node_ips=[ip_address(text) for text in self.addresses],
                domain=settings.cluster_domain,
                folder=self._dns_folder,
            )
            group.create_task(node_dns.run(), name="node DNS")
        else:
            await node_dns_removal(nft, settings.cluster_dns)
        await overlay.ready.wait()
        await runtime.list()
        node.set_problem("agent", None)

    def _node_settings(self) -> NodeSettings:
        settings = self.settings
        cloud = cloud_identity(settings, self.addresses, name=self.name, host=sockets.gethostname())
        storage = {} if "local-storage" in settings.disable else {NODE_DIRECTORY: str(self.data_dir / "storage")}
        return NodeSettings(
            name=self.name,
            data_dir=self.data_dir,
            internal_ips=self.addresses,
            external_ips=tuple(str(address) for address in settings.node_external_ips),
            internal_dns=settings.node_internal_dns,
            external_dns=settings.node_external_dns,
            external_cloud=settings.external_cloud,
            labels={**self.labels, **settings.node_labels},
            annotations={**storage, **cloud.annotations, **self.config},
            stale_annotations=cloud.stale,
            taints=(
                *(Taint(key=t.key, value=t.value, effect=t.effect) for t in settings.node_taints),
                *cloud.taints,
            ),
            max_pods=settings.max_pods,
            version=self.version,
            lease_seconds=max(4, round(settings.lease_seconds * 4)),
            lease_interval=settings.lease_seconds,
        )

    def _pod_settings(self, node: NodeController) -> PodSettings:
        settings = self.settings
        dns = ClusterDns(
            servers=tuple(str(address) for address in settings.cluster_dns),
            domain=settings.cluster_domain,
            node=read_resolv_conf(self.resolv_conf.read_text()),
        )
        memory = self.run_dir / "memory"
        memory.mkdir(parents=True, exist_ok=True)
        return PodSettings(
            node_name=self.name,
            node_ips=self.addresses,
            data_dir=self.data_dir,
            memory_dir=memory,
            dns=dns,
            images=(*(load_table(self.images) if self.images is not None else ()), *BUILT_IN),
            allocatable=node.allocatable,
        )

    @property
    def _answers_dns(self) -> bool:
        """Whether this node answers queries for cluster DNS itself."""
        return not {"coredns", "node-dns"} & {*self.settings.disable}

    @property
    def _dns_folder(self) -> Folder:
        return Folder(self.run_dir / "dns", self.resolv_conf)

    def dns(self) -> None:
        """Answer the node's DNS queries until told to end."""
        for one in self.inherited:
            one.close()
        addresses = [str(address) for address in self.settings.cluster_dns]
        node_dns_process.main(self._dns_folder.corefile, addresses=addresses, endpoint=self.endpoint)

    def processes(self) -> list[tuple[str, partial[None]]]:
        """Role and function of each process, in the order of their start."""
        found = [("runtime", partial(NodeSite.runtime, self)), ("agent", partial(NodeSite.agent, self))]
        return [*found, ("dns", partial(NodeSite.dns, self))] if self._answers_dns else found
