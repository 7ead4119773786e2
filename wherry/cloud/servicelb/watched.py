"""What ServiceLB watches, filed by the Service that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wherry.cloud.servicelb.model import ACCOUNT, SERVICE_NAME, owner
from wherry.cloud.servicelb.writer import DAEMON_SETS
from wherry.kube import kinds
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import EndpointSlice, Node, Pod

_FORWARDERS = "servicelb-forwarders"
_ON_NODE = "servicelb-node"
_SLICES = "servicelb-slices"
_SETS = "servicelb-sets"


class Watched:
    """Live copies of Services, nodes, pods, endpoint slices and our DaemonSets; forwarders are those of one namespace.

    Of all pods only those are filed that take ports of a node or forward for a Service.
    """

    def __init__(self, informers: Informers, namespace: str) -> None:
        self._namespace = namespace
        self.services = informers.informer(kinds.SERVICES)
        self.nodes = informers.informer(kinds.NODES)
        self.pods = informers.informer(kinds.PODS)
        self.slices = informers.informer(kinds.ENDPOINT_SLICES)
        # Of all namespaces: those that an earlier setting left elsewhere have to go.
        self.daemon_sets = informers.informer(DAEMON_SETS, label_selector=SERVICE_NAME)
        self.accounts = informers.informer(
            kinds.SERVICE_ACCOUNTS, namespace=namespace, field_selector=f"metadata.name={ACCOUNT}"
        )
        self.pods.add_index(_FORWARDERS, self._forwarder)
        self.pods.add_index(_ON_NODE, _taking_ports)
        self.slices.add_index(_SLICES, _slice)
        self.daemon_sets.add_index(_SETS, _set)

    async def synced(self) -> None:
        """Wait until every copy has been complete once."""
        for informer in (self.services, self.nodes, self.pods, self.slices, self.daemon_sets, self.accounts):
            await informer.synced()

    @property
    def has_account(self) -> bool:
        """Whether the service account of forwarders is there."""
        return bool(len(self.accounts))

    def node(self, name: str) -> Node | None:
        """The node of that name."""
        return self.nodes.get(Key("", name))

    def forwarders_of(self, service: Key) -> list[Pod]:
        """The pods that forward for a Service."""
        return self.pods.by_index(_FORWARDERS, str(service))

    def forwarders_on(self, node: str) -> list[Pod]:
        """The pods of a node that forward for any Service."""
        return [pod for pod in self.pods_on(node) if owner(pod.labels) is not None]

    def pods_on(self, node: str) -> list[Pod]:
        """The pods of a node that take ports of it."""
        return self.pods.by_index(_ON_NODE, node)

    def slices_of(self, service: Key) -> list[EndpointSlice]:
        """The endpoint slices of a Service."""
        return self.slices.by_index(_SLICES, str(service))

    def daemon_sets_of(self, service: Key) -> list[dict[str, Any]]:
        """The DaemonSets made for a Service, wherever they are."""
        return self.daemon_sets.by_index(_SETS, str(service))

    def _forwarder(self, pod: Pod) -> Iterator[str]:
        served = owner(pod.labels)
        if served is not None and pod.namespace == self._namespace:
            yield str(Key(*served))


def _taking_ports(pod: Pod) -> Iterator[str]:
    containers = (*pod.spec.init_containers, *(pod.spec.containers or ()))
    if pod.spec.node_name and any(port.host_port for container in containers for port in container.ports):
        yield pod.spec.node_name


def _slice(each: EndpointSlice) -> Iterator[str]:
    if each.service_name:
        yield str(Key(each.namespace, each.service_name))


def _set(daemon_set: dict[str, Any]) -> Iterator[str]:
    served = owner(daemon_set["metadata"].get("labels") or {})
    if served is not None:
        yield str(Key(*served))
