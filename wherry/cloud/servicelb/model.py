"""Names, keys and values of ServiceLB. Pure.

Source of names and defaults: K3s' networking page (https://docs.k3s.io/networking/networking-services) and the objects
that K3s makes, so that nodes, Services and DaemonSets of a K3s cluster mean the same here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wherry.kube.objects import Node, Service, ServicePort

_PREFIX = "svccontroller.k3s.cattle.io/"
SERVICE_NAME = _PREFIX + "svcname"
"""Label of DaemonSets and pods: the Service's name."""
SERVICE_NAMESPACE = _PREFIX + "svcnamespace"
NODE_SELECTOR = _PREFIX + "nodeselector"
"""Label of DaemonSets: whether only the nodes of the allow-list are wanted, ``true`` or ``false``."""
ENABLE_LB = _PREFIX + "enablelb"
"""Label of nodes; on any node, with any value, it turns on the allow-list: only nodes with the value ``true``."""
POOL = _PREFIX + "lbpool"
"""Label of nodes and of Services: a pool's name."""
POOL_PREFIX = "lbpool." + _PREFIX
"""Start of the label, with the value ``true``, of a node in several pools; the pool's name follows."""
PRIORITY_CLASS = _PREFIX + "priorityclassname"
TOLERATIONS = _PREFIX + "tolerations"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
LEGACY_FINALIZER = "svccontroller.k3s.cattle.io/daemonset"

ADVERTISE = "wherry.dev/lb-addresses"
"""Annotation of a Service: which addresses its status shows; see `advertise.parse`."""
BIND = "wherry.dev/lb-bind"
"""Annotation of a Service: the address, or the interface, of the nodes that its ports listen on; see `binding`."""
PROXY_PROTOCOL = "wherry.dev/proxy-protocol"
"""Annotation of a Service: the version of the PROXY header before each TCP connection; there is `PROXY_V2`."""
PROXY_V2 = "v2"
PREEMPTION = "wherry.dev/preemption"
"""Annotation of pods; ``Never``: it waits for a port rather than having the pod deleted that holds it."""

ACCOUNT = "svclb"
PART = "wherry.dev/part-of"
PART_NAME = "servicelb"
OUR_IMAGE = "wherry/klipper-lb"

CONDITION = "LoadBalancerPortsError"
"""Kubernetes' own name of the condition about ports that a load balancer cannot offer."""
CONFLICT = "PortConflict"
UNBOUND = "NoBindAddress"
NO_CONFLICT = "PortsAvailable"


@dataclass(frozen=True, kw_only=True)
class LbSettings:
    """What is configured for the whole cluster."""

    namespace: str = "kube-system"
    image: str = OUR_IMAGE
    priority_class: str = "system-node-critical"
    rootless: bool = False
    """Whether users reach the nodes' ports at 127.0.0.1 alone, as with K3s run rootless."""


class Unusable(ValueError):
    """A Service asks for something that cannot be done; the text is for its events."""


def wants(service: Service) -> bool:
    """Whether a Service is ours to serve; one with a class is somebody else's."""
    return service.spec.type == "LoadBalancer" and service.spec.load_balancer_class is None and not service.deleting


def held(service: Service) -> bool:
    """Whether a Service is held until it is cleaned up; K3s before 1.25 did so by a finalizer of its own."""
    return any(one in (FINALIZER, LEGACY_FINALIZER) for one in service.metadata.finalizers)


def only_local(service: Service) -> bool:
    """Whether traffic from outside may go only to endpoints of the node that it reaches."""
    return service.spec.type in ("LoadBalancer", "NodePort") and service.spec.external_traffic_policy == "Local"


def proxied(service: Service) -> bool:
    """Whether TCP connections of a Service begin with a PROXY header, so that its pods learn who the client is.

    Its addresses are those of a proxy then, and no node may lead packets past the forwarders, which write the header.
    """
    return _proxy_version(service) == PROXY_V2 and any(_is_tcp(port) for port in service.spec.ports)


def proxy_trouble(service: Service) -> str:
    """Why a Service's wish for PROXY headers has no effect; empty where it has one, or there is none."""
    version = _proxy_version(service)
    if not version or proxied(service):
        return ""
    if version != PROXY_V2:
        return f"annotation {PROXY_PROTOCOL}: {version!r} is ignored, there is {PROXY_V2} alone"
    return f"annotation {PROXY_PROTOCOL}: ignored, as PROXY headers are for TCP and this Service has no TCP port"


def _proxy_version(service: Service) -> str:
    return service.metadata.annotations.get(PROXY_PROTOCOL, "").strip()


def _is_tcp(port: ServicePort) -> bool:
    return port.protocol in ("", "TCP")


def owner(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """Namespace and name of the Service that a DaemonSet or pod with these labels belongs to."""
    name, namespace = labels.get(SERVICE_NAME), labels.get(SERVICE_NAMESPACE)
    return (namespace, name) if name and namespace else None


def allow_list(nodes: list[Node]) -> bool:
    """Whether only chosen nodes serve: any node that stays carries the label, whatever its value."""
    return any(in_allow_list(node) for node in nodes)


def in_allow_list(node: Node) -> bool:
    """Whether a node makes the allow-list count."""
    return ENABLE_LB in node.labels and not node.deleting


def eligible(service: Service, nodes: list[Node]) -> list[Node]:
    """The nodes whose labels let them serve a Service."""
    listed = allow_list(nodes)
    pool = service.labels.get(POOL, "")
    return [
        node
        for node in nodes
        if not node.deleting
        and (not listed or node.labels.get(ENABLE_LB) == "true")
        and (not pool or node.labels.get(POOL) == pool or node.labels.get(POOL_PREFIX + pool) == "true")
    ]


def no_node(service: Service, nodes: list[Node]) -> str:
    """Why the labels of the nodes leave none to a Service; empty where they leave one."""
    if eligible(service, nodes):
        return ""
    pool = service.labels.get(POOL, "")
    wanted = [f"{ENABLE_LB}=true"] if allow_list(nodes) else []
    if pool:
        wanted.append(f"{POOL}={pool} or {POOL_PREFIX}{pool}=true")
    return f"no node has the label {', and '.join(wanted)}" if wanted else "the cluster has no node"
