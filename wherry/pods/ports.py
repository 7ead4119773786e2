"""The host ports of a pod. Pure."""

from __future__ import annotations

from typing import get_args

from wherry.kube.objects import Pod
from wherry.pods.model import Protocol
from wherry.pods.sandbox.model import HostPort

_PROTOCOLS: dict[str, Protocol] = {name: name for name in get_args(Protocol)}


def host_ports(pod: Pod) -> tuple[HostPort, ...]:
    """Return what containers and sidecars want of the node's ports; a hostNetwork pod has them by itself."""
    if pod.spec.host_network:
        return ()
    sidecars = (container for container in pod.spec.init_containers if container.restart_policy == "Always")
    return tuple(
        HostPort(_PROTOCOLS[port.protocol or "TCP"], port.host_port, port.container_port, port.host_ip)
        for container in (*(pod.spec.containers or ()), *sidecars)
        for port in container.ports
        if port.host_port > 0
    )
