"""The host ports of a pod. Pure.

A port is one of every address of the node, or of the one that ``hostIP`` names. Kubernetes knows no more; here the
annotation `ON_INTERFACE` puts ports on the addresses of an interface. For nodes that do not know it such a port has a
``hostIP`` of 127.0.0.0/8, so that there nobody outside reaches it; those are the ports that the annotation is about.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import get_args

from wherry.kube.objects import Pod
from wherry.pods.model import Protocol
from wherry.pods.sandbox.model import HostPort

ON_INTERFACE = "wherry.dev/host-interface"
"""Annotation of a pod: the interface of the node whose addresses its host ports are of."""

_PROTOCOLS: dict[str, Protocol] = {name: name for name in get_args(Protocol)}


def host_ports(pod: Pod) -> tuple[HostPort, ...]:
    """Return what containers and sidecars want of the node's ports; a hostNetwork pod has them by itself."""
    if pod.spec.host_network:
        return ()
    sidecars = (container for container in pod.spec.init_containers if container.restart_policy == "Always")
    interface = pod.metadata.annotations.get(ON_INTERFACE, "")
    return tuple(
        HostPort(
            _PROTOCOLS[port.protocol or "TCP"],
            port.host_port,
            port.container_port,
            port.host_ip,
            interface if interface and port.host_ip and ip_address(port.host_ip).is_loopback else "",
        )
        for container in (*(pod.spec.containers or ()), *sidecars)
        for port in container.ports
        if port.host_port > 0
    )
