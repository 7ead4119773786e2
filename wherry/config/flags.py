"""The table of flags that ``wherry server``, ``wherry agent`` and ``wherry up`` understand.

Names, short forms, environment variables and defaults are those of K3s (https://docs.k3s.io/cli/server and
https://docs.k3s.io/cli/agent). ``K3S_X`` is read where ``WHERRY_X`` is not set. A row that cannot be honoured yet says
why in ``missing``: giving such a flag is an error rather than something silently ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["text", "list", "switch"]
Scope = Literal["server", "agent", "both"]


@dataclass(frozen=True)
class Flag:
    """One flag: its name without dashes, where it is valid, how it is read, and what it means."""

    name: str
    scope: Scope
    help: str
    shape: Shape = "text"
    short: str = ""
    env: str = ""
    default: str = ""
    metavar: str = "TEXT"
    missing: str = ""
    hidden: bool = False

    @property
    def field(self) -> str:
        """The flag's name as a Python name."""
        return self.name.replace("-", "_")

    @property
    def environment(self) -> tuple[str, ...]:
        """Environment variables that set it, the strongest first."""
        return (f"WHERRY_{self.env}", f"K3S_{self.env}") if self.env else ()


_LATER = "not part of this version of wherry"

FLAGS: tuple[Flag, ...] = (
    Flag(
        "config",
        "both",
        "configuration file",
        short="c",
        env="CONFIG_FILE",
        default="/etc/wherry/config.yaml",
        metavar="FILE",
    ),
    Flag("debug", "both", "log more", "switch", env="DEBUG"),
    Flag(
        "data-dir",
        "both",
        "folder that keeps the state",
        short="d",
        env="DATA_DIR",
        metavar="DIR",
        default="/var/lib/wherry",
    ),
    # Listener
    Flag("bind-address", "server", "address the API server listens on", default="", metavar="IP"),
    Flag("https-listen-port", "server", "port the API server listens on", default="6443", metavar="PORT"),
    Flag("advertise-address", "server", "address the API server gives to the cluster", metavar="IP"),
    Flag("advertise-port", "server", "port the API server gives to the cluster", metavar="PORT"),
    Flag(
        "tls-san", "server", "further host names or addresses in the API server's certificate", "list", metavar="NAME"
    ),
    # Network
    Flag(
        "cluster-cidr",
        "server",
        "pod range, one or an IPv4 and an IPv6 one",
        "list",
        default="10.42.0.0/16",
        metavar="CIDR",
    ),
    Flag(
        "service-cidr",
        "server",
        "service range, one or an IPv4 and an IPv6 one",
        "list",
        default="10.43.0.0/16",
        metavar="CIDR",
    ),
    Flag("service-node-port-range", "server", "ports of NodePort services", default="30000-32767", metavar="LOW-HIGH"),
    Flag(
        "cluster-dns",
        "server",
        "address of cluster DNS, one or one of each family (default: the tenth of each service range)",
        "list",
        metavar="IP",
    ),
    Flag("cluster-domain", "server", "cluster domain", default="cluster.local", metavar="NAME"),
    Flag(
        "flannel-backend",
        "server",
        "pod network between nodes: vxlan, host-gw or none",
        default="vxlan",
        metavar="NAME",
    ),
    Flag("flannel-ipv6-masq", "server", "masquerade IPv6 traffic of pods that leaves the cluster", "switch"),
    Flag("flannel-external-ip", "server", "nodes reach each other's pods by --node-external-ip", "switch"),
    Flag("multi-cluster-cidr", "server", "several cluster CIDRs", "switch", missing=_LATER),
    Flag("servicelb-namespace", "server", "namespace of load-balancer pods", default="kube-system", metavar="NAME"),
    Flag(
        "egress-selector-mode",
        "server",
        "how the API server reaches nodes; always direct here",
        default="disabled",
        metavar="MODE",
        missing="the API server always reaches nodes directly; only `disabled` is available",
    ),
    # Parts
    Flag(
        "system-default-registry",
        "server",
        "registry that the images of packaged components are named after",
        env="SYSTEM_DEFAULT_REGISTRY",
        metavar="HOST",
    ),
    Flag("disable", "server", "do not deploy a packaged component", "list", metavar="NAME"),
    Flag("disable-scheduler", "server", "do not run the scheduler", "switch"),
    Flag("disable-cloud-controller", "server", "do not run the cloud controller", "switch"),
    Flag("disable-kube-proxy", "server", "do not run the service proxy", "switch"),
    Flag("disable-network-policy", "server", "do not run the network policy controller", "switch"),
    Flag("disable-helm-controller", "server", "do not run the Helm controller", "switch"),
    Flag("disable-agent", "server", "this server is no node", "switch"),
    Flag("kube-apiserver-arg", "server", "argument key=value for the API server", "list", metavar="K=V"),
    Flag("kube-controller-manager-arg", "server", "argument key=value for the controllers", "list", metavar="K=V"),
    Flag("kube-scheduler-arg", "server", "argument key=value for the scheduler", "list", metavar="K=V"),
    Flag("datastore-endpoint", "server", "external datastore", env="DATASTORE_ENDPOINT", metavar="URL", missing=_LATER),
    Flag("cluster-init", "server", "start an embedded etcd", "switch", env="CLUSTER_INIT", missing=_LATER),
    # Cluster
    Flag("token", "both", "secret that nodes join with", short="t", env="TOKEN"),
    Flag("token-file", "both", "file with the secret that nodes join with", env="TOKEN_FILE", metavar="FILE"),
    Flag("server", "both", "server to join, https://HOST:PORT", short="s", env="URL", metavar="URL"),
    Flag(
        "write-kubeconfig",
        "server",
        "where to write the administrator's kubeconfig",
        short="o",
        env="KUBECONFIG_OUTPUT",
        metavar="FILE",
    ),
    Flag("write-kubeconfig-mode", "server", "mode of that file", env="KUBECONFIG_MODE", default="600", metavar="MODE"),
    # Node
    Flag("node-name", "both", "name of this node (default: the host's name)", env="NODE_NAME", metavar="NAME"),
    Flag("with-node-id", "both", "append an id of this machine to the node's name, so that it is unique", "switch"),
    Flag("node-label", "both", "label of this node, key=value", "list", metavar="K=V"),
    Flag("node-taint", "both", "taint of this node, key=value:effect, set at registration", "list", metavar="TAINT"),
    Flag(
        "node-ip", "both", "addresses of this node, comma-separated for both families", "list", short="i", metavar="IP"
    ),
    Flag("node-external-ip", "both", "external addresses of this node", "list", metavar="IP"),
    Flag("node-internal-dns", "both", "internal DNS names of this node", "list", metavar="NAME"),
    Flag("node-external-dns", "both", "external DNS names of this node", "list", metavar="NAME"),
    Flag(
        "resolv-conf",
        "both",
        "resolv.conf that names beyond the cluster are resolved by",
        env="RESOLV_CONF",
        metavar="FILE",
    ),
    Flag("flannel-iface", "both", "interface that carries the pod network", metavar="NAME"),
    Flag("kubelet-arg", "both", "argument key=value for the kubelet part", "list", metavar="K=V"),
    Flag("kube-proxy-arg", "both", "argument key=value for the service proxy", "list", metavar="K=V"),
    Flag("images", "both", "image table: which program an image name stands for (read at start)", metavar="FILE"),
    Flag(
        "rootless",
        "both",
        "run without root; wherry up needs no flag for it",
        "switch",
        missing="use `wherry up`, which needs no root",
    ),
)

BY_NAME: dict[str, Flag] = {flag.name: flag for flag in FLAGS}

#: What ``--disable`` takes besides the names of a user's own manifests.
PACKAGED = ("coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes", "node-dns")


def flags_of(command: Literal["server", "agent"]) -> tuple[Flag, ...]:
    """The flags of one command, in the order of the table."""
    return tuple(flag for flag in FLAGS if flag.scope in (command, "both"))
