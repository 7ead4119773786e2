"""What a node's agent says to cloud controllers: its addresses and names as annotations, and the taint it comes with.

Who looks after the node follows from two settings: whether the cluster runs the embedded cloud controller, and
whether the kubelet part is told that its cloud provider is external (`--kubelet-arg cloud-provider=external`, the
default where the embedded one runs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.cloud.ccm import names
from wherry.config.settings import Settings
from wherry.kube.objects.cluster import Taint
from wherry.overlay.annotations import OVERWRITE

_UNINITIALIZED = Taint(key=names.UNINITIALIZED, value="true", effect="NoSchedule")


@dataclass(frozen=True)
class CloudIdentity:
    """Annotations to write, annotations of an earlier start to remove, and taints to register with."""

    annotations: dict[str, str]
    stale: tuple[str, ...]
    taints: tuple[Taint, ...]


def cloud_identity(settings: Settings, addresses: Sequence[str], *, name: str, host: str) -> CloudIdentity:
    """Return what the node ``name`` on the machine ``host`` with those internal addresses says. Pure."""
    said: dict[str, str] = {}
    if settings.external_cloud and settings.cloud_controller:
        said = {
            names.INTERNAL_IP: ",".join(addresses),
            names.EXTERNAL_IP: ",".join(str(address) for address in settings.node_external_ips),
            names.INTERNAL_DNS: ",".join(settings.node_internal_dns),
            names.EXTERNAL_DNS: ",".join(settings.node_external_dns),
            names.HOSTNAME: name if not host or "localhost" in host else host,
            names.PROVIDED_NODE_IP: ",".join(addresses),
        }
    elif settings.external_cloud and settings.node_ips:
        # A cloud controller that does not know our annotations still has to respect what the user chose.
        said = {names.PROVIDED_NODE_IP: ",".join(addresses)}
    annotations = {key: value for key, value in said.items() if value}
    if settings.overlay_external:
        # Of several of a family the last counts, as in K3s. Where the flag is not given, people may have written these.
        annotations |= {OVERWRITE[address.version]: str(address) for address in settings.node_external_ips}
    stale = tuple(key for key in (*names.SAID_BY_AGENTS, names.PROVIDED_NODE_IP) if key not in annotations)
    return CloudIdentity(annotations, stale, (_UNINITIALIZED,) if settings.external_cloud else ())
