"""The processes of the control plane: what runs in each, and on which sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNIX, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET
from socket import socket as Socket

from wherry.addons import packaged
from wherry.addons.controller import PackagedAddons
from wherry.apiserver.config import ApiServerConfig, JoinFiles, KubeletFiles, TlsFiles
from wherry.apiserver.server import ApiServer
from wherry.cloud.ccm.absent import AbsentCloudController
from wherry.cloud.ccm.names import LEASE, LEASE_NAMESPACE
from wherry.cloud.ccm.nodes import COMPONENT, CloudNodeController
from wherry.cloud.ccm.passwords import NodePasswords
from wherry.cloud.leading import Led
from wherry.cloud.servicelb import controller as servicelb
from wherry.cloud.servicelb.model import LbSettings
from wherry.cloud.servicelb.removal import ServiceLbRemoval
from wherry.config.errors import ConfigError
from wherry.config.settings import Settings
from wherry.dns.nodehosts import NodeHosts
from wherry.ipam.controller import IpamController
from wherry.kernel.loop import run
from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.server.notices import notices
from wherry.server.paths import ServerPaths
from wherry.workloads.assembly import Runnable, WorkloadSettings, controllers
from wherry.workloads.nodes.zones import Rates
from wherry.workloads.scheduler.controller import Scheduler

_LEFT_OUT = {
    "coredns": "--disable=coredns: the cluster has no DNS of its own; deploy another one that answers at --cluster-dns",
}
"""What is said of a packaged component that is disabled."""


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """Where the API server listens and what it tells the cluster of itself.

    ``inherited`` are listening sockets opened elsewhere; ``listen`` are (address, port) to open where the process runs.
    """

    settings: Settings
    paths: ServerPaths
    api_socket: Path
    inherited: Sequence[Socket] = ()
    listen: Sequence[tuple[str, int]] = ()
    advertise: tuple[str, ...]
    advertise_port: int

    def apiserver(self) -> None:
        """Run the API server until told to end."""
        settings, paths = self.settings, self.paths
        families = [net.version for net in settings.service_cidrs]
        # One address of each family of services, in their order, as the endpoints of `kubernetes.default`.
        advertised = [ip_address(text) for text in self.advertise]
        firsts = {address.version: address for address in reversed(advertised)}
        addresses = [firsts[family] for family in families if family in firsts]
        config = ApiServerConfig(
            data_dir=paths.root,
            tls_sockets=[*self.inherited, *open_sockets(self.listen)],
            plain_sockets=[_listen_unix(self.api_socket)],
            tls=TlsFiles(certificate=paths.serving, key=paths.serving_key, client_authority=paths.client_ca),
            kubelet=KubeletFiles(
                certificate=paths.kubelet_client, key=paths.kubelet_client_key, authority=paths.server_ca
            ),
            join=JoinFiles(
                token=paths.join_token,
                server_authority=(paths.server_ca, paths.server_ca_key),
                client_authority=(paths.client_ca, paths.client_ca_key),
                cluster=cluster_values(settings),
                own_node=settings.node_name if settings.agent else "",
            ),
            token_file=paths.tokens,
            service_account_key=paths.service_account_key,
            issuer=f"https://kubernetes.default.svc.{settings.cluster_domain}",
            service_cidrs=settings.service_cidrs,
            service_node_port_range=settings.node_ports,
            advertise_addresses=tuple(addresses),
            advertise_port=self.advertise_port,
            default_not_ready_toleration_seconds=settings.not_ready_toleration_seconds,
            default_unreachable_toleration_seconds=settings.unreachable_toleration_seconds,
            resource_metrics="metrics-server" not in settings.disable,
            notices=notices,
        )
        run(ApiServer(config).run(), debug=settings.debug)

    def controllers(self) -> None:
        """Run the controllers until told to end."""
        run(self._controllers(), debug=self.settings.debug)

    async def _controllers(self) -> None:
        settings = self.settings
        endpoint = Endpoint.unix(self.api_socket, self.paths.controllers_token)
        as_addons = Endpoint.unix(self.api_socket, self.paths.addons_token)
        async with (
            Client(endpoint, user_agent="wherry-controllers") as client,
            Client(as_addons, user_agent="wherry-addons") as addons_client,
        ):
            informers = Informers(client)
            workloads = WorkloadSettings(
                root_ca=self.paths.server_ca.read_text(),
                node_grace=settings.node_monitor_grace_seconds,
                local_storage="local-storage" not in settings.disable,
                eviction_rates=Rates(
                    usual=settings.node_eviction_rate,
                    reduced=settings.secondary_node_eviction_rate,
                    large=settings.large_cluster_size,
                ),
            )
            parts: list[Runnable] = [
                part
                for part in controllers(client, informers, workloads)
                if settings.scheduler or not isinstance(part, Scheduler)
            ]
            if settings.cluster_cidrs:
                recorder = EventRecorder(client, "node-ipam")
                masks = dict(zip((4, 6), settings.node_mask_sizes, strict=True))
                ranges = IpamController(
                    client,
                    informers,
                    recorder,
                    cluster_cidrs=settings.cluster_cidrs,
                    service_cidrs=settings.service_cidrs,
                    mask_sizes=masks,
                )
                parts += [recorder, ranges]
            parts += self._cloud(client, informers)
            parts.append(self._addons(addons_client))
            if "coredns" not in settings.disable:
                parts.append(NodeHosts(client, informers))
            async with asyncio.TaskGroup() as group:
                group.create_task(informers.run(), name="informers")
                for part in parts:
                    group.create_task(part.run(), name=type(part).__name__)

    def _addons(self, client: Client) -> Runnable:
        """The packaged components, their manifests written anew."""
        settings = self.settings
        values = packaged.variables(
            cluster_domain=settings.cluster_domain,
            cluster_dns=settings.cluster_dns,
            registry=settings.default_registry,
        )
        packaged.stage(self.paths.manifests, values, disabled=settings.disable)
        disabled = {name: _LEFT_OUT[name] for name in packaged.COMPONENTS if name in settings.disable}
        return PackagedAddons(client, self.paths.manifests, values=values, disabled=disabled)

    def _cloud(self, client: Client, informers: Informers) -> list[Runnable]:
        """The cloud controller and ServiceLB, of which one process at a time leads, and what runs beside them."""
        recorder = EventRecorder(client, COMPONENT)
        led = self._load_balancers(client, informers)
        beside: list[Runnable] = [recorder, NodePasswords(client, informers)]
        if self.settings.cloud_controller:
            led.append(CloudNodeController(client, informers, recorder))
        else:
            beside.append(AbsentCloudController(informers, recorder))
        identity = self.settings.node_name
        return [*beside, Led(client, led, lease=LEASE, namespace=LEASE_NAMESPACE, identity=identity)]

    def _load_balancers(self, client: Client, informers: Informers) -> list[Runnable]:
        """ServiceLB, or what takes its traces away where it is disabled."""
        if "servicelb" in self.settings.disable:
            return [ServiceLbRemoval(client)]
        recorder = EventRecorder(client, servicelb.NAME)
        settings = LbSettings(namespace=self.settings.servicelb_namespace)
        return [recorder, servicelb.ServiceLb(client, informers, recorder, settings=settings)]

    def processes(self) -> list[tuple[str, partial[None]]]:
        """Name and function of each process, in the order of their start."""
        return [
            ("apiserver", partial(ControlPlane.apiserver, self)),
            ("controllers", partial(_without_sockets, self)),
        ]


def _without_sockets(plane: ControlPlane) -> None:
    close_all(plane.inherited)
    plane.controllers()


def cluster_values(settings: Settings) -> dict[str, list[str]]:
    """The flags that every node must share with its server, as a joining machine is told them."""
    return {
        "cluster-cidr": [str(net) for net in settings.cluster_cidrs],
        "service-cidr": [str(net) for net in settings.service_cidrs],
        "cluster-dns": [str(address) for address in settings.cluster_dns],
        "cluster-domain": [settings.cluster_domain],
        "disable": list(settings.disable),
        "flannel-backend": [settings.overlay_backend],
        "flannel-ipv6-masq": ["true"] if settings.ipv6_masquerade else [],
        "flannel-external-ip": ["true"] if settings.overlay_external else [],
        "disable-kube-proxy": [] if settings.services else ["true"],
        "disable-cloud-controller": [] if settings.cloud_controller else ["true"],
    }


def close_all(sockets: Sequence[Socket]) -> None:
    """Close inherited sockets in a process that does not serve them, so that they end with the one that does."""
    for one in sockets:
        one.close()


def open_sockets(places: Sequence[tuple[str, int]]) -> list[Socket]:
    """Listen on each (address, port). Raises ConfigError where one is in use or not this host's."""
    opened: list[Socket] = []
    try:
        for address, port in places:
            opened.append(_listen(address, port))
    except ConfigError:
        close_all(opened)
        raise
    return opened


def _listen(address: str, port: int) -> Socket:
    family = AF_INET6 if ":" in address else AF_INET
    server = Socket(family, SOCK_STREAM)
    server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    if family == AF_INET6:
        server.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    try:
        server.bind((address, port))
    except OSError as error:
        server.close()
        raise ConfigError(f"the API server cannot listen on {address} port {port}: {error.strerror}") from error
    server.listen(1024)
    return server


def _listen_unix(path: Path) -> Socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    # What is there is left from a process that died: the supervisor runs one API server at a time.
    path.unlink(missing_ok=True)
    server = Socket(AF_UNIX, SOCK_STREAM)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(1024)
    return server
