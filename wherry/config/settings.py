"""Typed settings of a server and of a node, checked as a whole.

Every value is checked here, once, before anything is started: an error names the flag, the value and what would do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import msgspec

from wherry.config import parse
from wherry.config.errors import ConfigError
from wherry.config.nodename import host_name as this_host
from wherry.config.nodename import node_id, node_name
from wherry.config.nodeports import node_port_addresses
from wherry.config.parse import Address, Network, Taint, Values

Backend = Literal["vxlan", "host-gw", "none"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of a server's flags; a plain agent leaves the cluster's part at its defaults."""

    debug: bool
    data_dir: Path
    bind_address: str
    https_listen_port: int
    advertise_address: str
    advertise_port: int
    tls_sans: tuple[str, ...]
    cluster_cidrs: tuple[Network, ...]
    service_cidrs: tuple[Network, ...]
    node_ports: tuple[int, int]
    node_port_addresses: tuple[str, ...]
    cluster_dns: tuple[Address, ...]
    cluster_domain: str
    overlay_backend: Backend
    ipv6_masquerade: bool
    overlay_external: bool
    """Whether nodes reach each other's pods by their external addresses."""
    disable: tuple[str, ...]
    default_registry: str
    servicelb_namespace: str
    scheduler: bool
    services: bool
    agent: bool
    not_ready_toleration_seconds: int
    unreachable_toleration_seconds: int
    node_monitor_grace_seconds: float
    node_eviction_rate: float
    secondary_node_eviction_rate: float
    large_cluster_size: int
    node_mask_sizes: tuple[int, int]
    token: str
    server: str
    kubeconfig: Path | None
    kubeconfig_mode: int
    node_name: str
    node_labels: dict[str, str]
    node_taints: tuple[Taint, ...]
    node_ips: tuple[Address, ...]
    node_external_ips: tuple[Address, ...]
    node_internal_dns: tuple[str, ...]
    node_external_dns: tuple[str, ...]
    cloud_controller: bool
    """Whether the cluster runs the embedded cloud controller."""
    external_cloud: bool
    """Whether this node leaves it to a cloud controller, the embedded one or another, to make it known."""
    resolv_conf: Path | None
    overlay_interface: str
    max_pods: int
    lease_seconds: float
    images: Path | None


def settings_from(values: Values, *, host_name: str | None = None) -> Settings:
    """Check the resolved flags of resolve() and return them typed.

    ``host_name`` is what a node without --node-name is called; the host's name where it is None. With --with-node-id
    the machine's id is written to the data folder where it is not there yet.
    Raises ConfigError that names the flag.
    """
    one, many = parse.one(values), parse.many(values)
    cluster = parse.networks("cluster-cidr", many("cluster-cidr"))
    services = parse.networks("service-cidr", many("service-cidr"))
    parse.check_ranges(cluster, services)
    disable = parse.disable(many("disable"))
    dns = parse.cluster_dns(many("cluster-dns"), services, own="coredns" not in disable)
    wanted = one("flannel-backend") or "vxlan"
    backend = next((known for known in BACKENDS if known == wanted), None)
    if backend is None:
        raise ConfigError(f"--flannel-backend: {wanted!r} is not available; choose one of {', '.join(BACKENDS)}")
    api_args = parse.arguments("kube-apiserver-arg", many("kube-apiserver-arg"), parse.API_ARGUMENTS)
    controller_args = parse.arguments(
        "kube-controller-manager-arg", many("kube-controller-manager-arg"), parse.CONTROLLER_ARGUMENTS
    )
    parse.arguments("kube-scheduler-arg", many("kube-scheduler-arg"), {})
    kubelet_args = parse.arguments("kubelet-arg", many("kubelet-arg"), parse.KUBELET_ARGUMENTS)
    port = parse.port("https-listen-port", one("https-listen-port"), 6443)
    cloud_controller = not one("disable-cloud-controller")
    masks = parse.node_masks(controller_args, cluster)
    return Settings(
        debug=bool(one("debug")),
        data_dir=Path(one("data-dir")).absolute(),
        bind_address=parse.address_text("bind-address", one("bind-address")),
        https_listen_port=port,
        advertise_address=parse.address_text("advertise-address", one("advertise-address")),
        advertise_port=parse.port("advertise-port", one("advertise-port"), port),
        tls_sans=tuple(many("tls-san")),
        cluster_cidrs=cluster,
        service_cidrs=services,
        node_ports=parse.node_ports(one("service-node-port-range")),
        node_port_addresses=node_port_addresses(many("kube-proxy-arg")),
        cluster_dns=dns,
        cluster_domain=parse.domain(one("cluster-domain")),
        overlay_backend=backend,
        ipv6_masquerade=bool(one("flannel-ipv6-masq")),
        overlay_external=bool(one("flannel-external-ip")),
        disable=disable,
        default_registry=parse.registry(one("system-default-registry")),
        servicelb_namespace=parse.namespace("servicelb-namespace", one("servicelb-namespace") or "kube-system"),
        scheduler=not one("disable-scheduler"),
        services=not one("disable-kube-proxy"),
        agent=not one("disable-agent"),
        not_ready_toleration_seconds=int(api_args.get("default-not-ready-toleration-seconds", 300)),
        unreachable_toleration_seconds=int(api_args.get("default-unreachable-toleration-seconds", 300)),
        node_monitor_grace_seconds=controller_args.get("node-monitor-grace-period", 40.0),
        node_eviction_rate=controller_args.get("node-eviction-rate", 0.1),
        secondary_node_eviction_rate=controller_args.get("secondary-node-eviction-rate", 0.01),
        large_cluster_size=int(controller_args.get("large-cluster-size-threshold", 50)),
        node_mask_sizes=masks,
        token=parse.token(one("token"), one("token-file")),
        server=parse.server(one("server")),
        kubeconfig=Path(one("write-kubeconfig")) if one("write-kubeconfig") else None,
        kubeconfig_mode=parse.mode(one("write-kubeconfig-mode") or "600"),
        node_name=node_name(
            one("node-name"),
            host=host_name if host_name is not None else this_host(),
            id_=node_id(Path(one("data-dir")).absolute()) if one("with-node-id") else "",
        ),
        node_labels=parse.labels(many("node-label")),
        node_taints=parse.taints(many("node-taint")),
        node_ips=parse.node_ips(many("node-ip")),
        node_external_ips=parse.addresses("node-external-ip", many("node-external-ip")),
        node_internal_dns=parse.dns_names("node-internal-dns", many("node-internal-dns")),
        node_external_dns=parse.dns_names("node-external-dns", many("node-external-dns")),
        cloud_controller=cloud_controller,
        external_cloud=bool(kubelet_args.get("cloud-provider", cloud_controller)),
        resolv_conf=parse.file("resolv-conf", one("resolv-conf")),
        overlay_interface=one("flannel-iface"),
        max_pods=int(kubelet_args.get("max-pods", 110)),
        lease_seconds=kubelet_args.get("node-lease-renew-interval", 10.0),
        images=parse.file("images", one("images")),
    )
