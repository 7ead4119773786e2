"""What the status of a Service says: its addresses and whether it lacks ports. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from wherry.cloud.servicelb import advertise, binding
from wherry.cloud.servicelb.binding import Unbound
from wherry.cloud.servicelb.model import ADVERTISE, CONDITION, CONFLICT, NO_CONFLICT, UNBOUND, only_local, owner
from wherry.kube.objects import Condition, EndpointSlice, LoadBalancerIngress, Node, Pod, Service

LOOPBACK = "127.0.0.1"
_PROXY = "Proxy"


def local_nodes(slices: Iterable[EndpointSlice]) -> set[str]:
    """Nodes with a pod that is ready to serve; endpoints that are no pods do not count, nor does an unknown state."""
    return {
        endpoint.node_name
        for each in slices
        for endpoint in each.endpoints or ()
        if endpoint.node_name
        and endpoint.conditions.ready is True
        and endpoint.target_ref is not None
        and endpoint.target_ref.kind == "Pod"
    }


def serving(
    service: Service, pods: Iterable[Pod], nodes: Callable[[str], Node | None], slices: Iterable[EndpointSlice]
) -> list[Node]:
    """The nodes that serve a Service now; ``pods`` are its forwarders."""
    ready = {pod.spec.node_name for pod in pods if pod.spec.node_name and _serves(pod)}
    if only_local(service):
        ready &= local_nodes(slices)
    found = [node for node in map(nodes, sorted(ready)) if node is not None]
    bind = binding.parse(service)
    return [node for node in found if bind is None or binding.addresses(bind, node, service.spec.ip_families)]


def addresses(service: Service, nodes: Sequence[Node], *, rootless: bool = False) -> list[str]:
    """Addresses and host names of a Service that these nodes serve, in the order in which its status shows them.

    Raises `model.Unusable` for annotations that cannot be read.
    """
    if not nodes:
        return []
    bind = binding.parse(service)
    bound: set[str] = set()
    if bind is not None:
        bound.update(*(binding.addresses(bind, node, service.spec.ip_families) for node in nodes))
    wanted = advertise.parse(service)
    external = _of_type(nodes, "ExternalIP")
    internal = _of_type(nodes, "InternalIP")
    if bound and wanted.usual:
        found = bound
    else:
        found = wanted.of_nodes(external, internal, bound) | {one for one in wanted.fixed if _version(one)}
    shown = in_families(found, service.spec.ip_families)
    if shown and rootless:
        return [LOOPBACK]
    return shown + sorted({one for one in wanted.fixed if not _version(one)})


def nothing_shown(service: Service, nodes: Sequence[Node]) -> str:
    """Why the status shows no address although these nodes serve."""
    families = " or ".join(service.spec.ip_families)
    chosen = service.metadata.annotations.get(ADVERTISE, "").strip()
    named = f"annotation {ADVERTISE}: {chosen!r} chooses no {families} address" if chosen else f"no {families} address"
    return f"{named} of the nodes that serve ({', '.join(node.name for node in nodes)})"


def in_families(found: Iterable[str], families: Sequence[str]) -> list[str]:
    """The addresses of the Service's families: those of one sorted as text, the families in the Service's order."""
    texts = sorted(found)
    return [text for family in families for text in texts if f"IPv{_version(text)}" == family]


def ingress(shown: Iterable[str], *, proxied: bool = False) -> list[dict[str, str]]:
    """The list as the status holds it; addresses of a proxy are not served by the nodes themselves (KEP-1860)."""
    mode = {"ipMode": _PROXY} if proxied else {}
    return [{"ip": text, **mode} if _version(text) else {"hostname": text} for text in shown]


def is_shown(current: Sequence[LoadBalancerIngress], shown: Sequence[str], *, proxied: bool) -> bool:
    """Whether the status holds that list already. An API server older than the mode of addresses leaves it out."""
    return [one.ip or one.hostname for one in current] == [*shown] and all(
        one.ip_mode is None or (one.ip_mode == _PROXY) == proxied for one in current
    )


def _serves(pod: Pod) -> bool:
    return bool(pod.status.pod_ip) and pod.ready and not pod.deleting


def _of_type(nodes: Iterable[Node], type_: str) -> set[str]:
    return {address for node in nodes for address in node.addresses(type_) if _version(address)}


def _version(text: str) -> int:
    try:
        return ip_address(text).version
    except ValueError:
        return 0


class Conflict(NamedTuple):
    """A port of a node that a Service wants and another pod has."""

    node: str
    port: str
    """Number and protocol."""
    holder: str

    def __str__(self) -> str:
        return f"port {self.port} of node {self.node} is held by {self.holder}"


Trouble = Conflict | Unbound
"""Why a node does not serve."""


def reason_of(trouble: Trouble) -> str:
    """The word for it in conditions and events."""
    return CONFLICT if isinstance(trouble, Conflict) else UNBOUND


def host_ports(pod: Pod) -> list[tuple[int, str, str]]:
    """Host ports that a pod takes, as (number, protocol, address; empty for all of the node's)."""
    if pod.finished:
        return []
    any_address = ("", "0.0.0.0", "::")
    sidecars = (container for container in pod.spec.init_containers if container.restart_policy == "Always")
    return [
        (port.host_port, port.protocol or "TCP", "" if port.host_ip in any_address else port.host_ip)
        for container in (*(pod.spec.containers or ()), *sidecars)
        for port in container.ports
        if port.host_port
    ]


def waits_for(pod: Pod) -> str:
    """The node that a DaemonSet's pod was made for and did not get yet; empty when it has it, or is ending."""
    scheduled = pod.status.condition("PodScheduled")
    if pod.spec.node_name or pod.deleting or scheduled is None or scheduled.status != "False":
        return ""
    affinity = pod.spec.affinity
    required = affinity.node_affinity.required if affinity is not None and affinity.node_affinity is not None else None
    for term in required.node_selector_terms if required is not None else ():
        for field in term.match_fields:
            if field.key == "metadata.name" and field.operator == "In" and field.values:
                return field.values[0]
    return ""


def conflicts(pods: Iterable[Pod], on_node: Callable[[str], Iterable[Pod]]) -> list[Conflict]:
    """Who has the ports that these pods wait for, by node.

    A pod of the same Service is no such one: it is of a DaemonSet of before and on its way out.
    """
    found: set[Conflict] = set()
    for pod in pods:
        node = waits_for(pod)
        wanted = host_ports(pod) if node else []
        if not wanted:
            continue
        for other in on_node(node):
            if owner(other.labels) == owner(pod.labels) is not None:
                continue
            held = host_ports(other)
            for number, protocol, address in wanted:
                if any(n == number and p == protocol and _overlap(address, a) for n, p, a in held):
                    found.add(Conflict(node, f"{number}/{protocol}", _holder(other)))
    return sorted(found)


def _overlap(a: str, b: str) -> bool:
    return not a or not b or a == b


def _holder(pod: Pod) -> str:
    served = owner(pod.labels)
    if served is None:
        return f"pod {pod.namespace}/{pod.name}"
    return f"Service {served[0]}/{served[1]} (pod {pod.namespace}/{pod.name})"


def conditions(current: Sequence[Condition], found: Sequence[Trouble], now: str) -> list[Condition] | None:
    """The conditions of a Service; None when they are right already."""
    before = next((one for one in current if one.type == CONDITION), None)
    if not found and (before is None or before.status == "False"):
        return None
    message = "; ".join(map(str, found))
    status, reason = ("True", reason_of(found[0])) if found else ("False", NO_CONFLICT)
    if before is not None and (before.status, before.reason, before.message) == (status, reason, message):
        return None
    since = before.last_transition_time if before is not None and before.status == status else now
    condition = Condition(type=CONDITION, status=status, reason=reason, message=message, last_transition_time=since)
    return [*(one for one in current if one.type != CONDITION), condition]


def without(current: Sequence[Condition]) -> list[Condition]:
    """The conditions that are not ours."""
    return [one for one in current if one.type != CONDITION]


def as_data(listed: Sequence[Condition]) -> list[dict[str, Any]]:
    """Conditions as a status patch holds them; every field that Kubernetes requires is there."""
    return [
        {
            "type": one.type,
            "status": one.status,
            "reason": one.reason,
            "message": one.message,
            "lastTransitionTime": one.last_transition_time,
            **({} if one.observed_generation is None else {"observedGeneration": one.observed_generation}),
        }
        for one in listed
    ]
