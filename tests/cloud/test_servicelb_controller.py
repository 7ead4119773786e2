"""The controller against an API server: what it makes, reports and takes away, and what makes it look again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from wherry.cloud.servicelb.binding import INTERFACES
from wherry.cloud.servicelb.controller import NAME, ServiceLb
from wherry.cloud.servicelb.model import (
    ADVERTISE,
    BIND,
    ENABLE_LB,
    FINALIZER,
    LEGACY_FINALIZER,
    POOL,
    PROXY_PROTOCOL,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    TOLERATIONS,
    LbSettings,
)
from wherry.cloud.servicelb.removal import ServiceLbRemoval
from wherry.kube import kinds
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informer, Informers
from wherry.kube.objects import Condition, DaemonSet, Node, ObjectMeta, Pod, Service
from wherry.kube.objects.cluster import NodeAddress, NodeStatus
from wherry.kube.objects.containers import Container, ContainerPort
from wherry.kube.objects.network import LoadBalancerIngress, LoadBalancerStatus, ServicePort, ServiceSpec, ServiceStatus
from wherry.kube.objects.pods import (
    Affinity,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodSpec,
    PodStatus,
)
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import running


def service(name: str, *, type_: str = "LoadBalancer", class_: str | None = None, ips: tuple[str, ...] = (),
            finalizers: tuple[str, ...] = (), labels: dict[str, str] | None = None,
            annotations: dict[str, str] | None = None) -> Service:  # fmt: skip
    ingress = tuple(LoadBalancerIngress(ip=ip) for ip in ips)
    return Service(
        metadata=ObjectMeta(
            name=name, namespace="shop", finalizers=finalizers, labels=labels or {}, annotations=annotations or {}
        ),
        spec=ServiceSpec(
            type=type_,
            cluster_ips=("10.43.0.9",),
            ip_families=("IPv4",),
            external_traffic_policy="Cluster",
            load_balancer_class=class_,
            ports=(ServicePort(port=443, node_port=30443),),
        ),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def node(name: str, address: str, labels: dict[str, str] | None = None, *, beat: str = "") -> Node:
    return Node(
        metadata=ObjectMeta(name=name, labels=labels or {}, annotations={"beat": beat} if beat else {}),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )


def forwarder(name: str, on: str, *, waiting: bool = False, namespace: str = "kube-system") -> Pod:
    requirement = NodeSelectorRequirement(key="metadata.name", operator="In", values=(on,))
    term = NodeSelectorTerm(match_fields=(requirement,))
    affinity = Affinity(node_affinity=NodeAffinity(required=NodeSelector(node_selector_terms=(term,))))
    state = ("PodScheduled", "False") if waiting else ("Ready", "True")
    return Pod(
        metadata=ObjectMeta(
            name=f"svclb-{name}-{on}", namespace=namespace, labels={SERVICE_NAME: name, SERVICE_NAMESPACE: "shop"}
        ),
        spec=PodSpec(
            node_name="" if waiting else on,
            containers=(Container(name="lb", ports=(ContainerPort(container_port=443, host_port=443),)),),
            affinity=affinity,
        ),
        status=PodStatus(
            pod_ip="" if waiting else "10.42.0.7", conditions=(Condition(type=state[0], status=state[1]),)
        ),
    )


class Seen:
    """What is on the server, through informers of its own."""

    def __init__(self, server: FakeApiServer, informers: Informers) -> None:
        self.server = server
        self.services = informers.informer(kinds.SERVICES)
        self.sets = informers.informer(kinds.DAEMON_SETS)
        self.events = informers.informer(kinds.EVENTS)
        self.accounts = informers.informer(kinds.SERVICE_ACCOUNTS)
        self._changed = asyncio.Event()
        every: tuple[Informer[Any], ...] = (self.services, self.sets, self.events, self.accounts)
        for informer in every:
            informer.add_handler(lambda *_: self._changed.set())

    async def until(self, condition: Callable[[], object], within: float = 5) -> None:
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def service(self, name: str) -> Service | None:
        return next((one for one in self.services.list() if one.name == name), None)

    def daemon_set(self, name: str) -> DaemonSet | None:
        return next((one for one in self.sets.list() if one.labels.get(SERVICE_NAME) == name), None)

    def selector(self, name: str) -> dict[str, str] | None:
        found = self.daemon_set(name)
        return None if found is None else found.spec.template.spec.node_selector

    def shown(self, name: str) -> list[str]:
        found = self.service(name)
        return [] if found is None else [one.ip for one in found.status.load_balancer.ingress]

    def told(self, name: str) -> set[str]:
        return {one.reason for one in self.events.list() if one.involved_object.name == name}

    def said(self, name: str, reason: str) -> list[str]:
        return [one.message for one in self.events.list() if (one.involved_object.name, one.reason) == (name, reason)]


@asynccontextmanager
async def lb(server: FakeApiServer, **settings: Any) -> AsyncIterator[Seen]:
    async with server.client(retry_for=5.0) as client:
        informers, watching = Informers(client), Informers(client)
        recorder = EventRecorder(client, NAME)
        controller = ServiceLb(client, informers, recorder, settings=LbSettings(**settings))
        seen = Seen(server, watching)
        async with running(informers.run(), watching.run(), recorder.run(), controller.run()):
            await watching.synced()
            yield seen


async def removal(server: FakeApiServer) -> None:
    async with server.client(retry_for=5.0) as client:
        controller = ServiceLbRemoval(client)
        async with running(controller.run()):
            await asyncio.wait_for(controller.done.wait(), 5)


async def test_promise_14_and_17_a_daemon_set_for_each_service(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a", finalizers=("other", LEGACY_FINALIZER)))
    server.put(kinds.SERVICES, service("b"))
    server.put(kinds.SERVICES, service("c", type_="NodePort"))
    server.put(kinds.NODES, node("n1", "10.0.0.1"))
    async with lb(server) as seen:
        await seen.until(lambda: len(seen.sets) == 2 and {"AppliedDaemonSet", "EnsuringLoadBalancer"} <= seen.told("a"))
        found = seen.service("a")
        assert found is not None
        assert found.metadata.finalizers == ("other", FINALIZER)
        assert [(one.namespace, one.name) for one in seen.accounts.list()] == [("kube-system", "svclb")]
        server.put(kinds.PODS, forwarder("a", "n1"))
        await seen.until(lambda: seen.shown("a") == ["10.0.0.1"])
        await seen.until(lambda: seen.said("a", "UpdatedLoadBalancer"))
        assert seen.said("a", "UpdatedLoadBalancer") == ["Updated LoadBalancer with new IPs: [] -> [10.0.0.1]"]
    before = len(server.requests)
    async with lb(server) as seen:
        # A restart finds everything right.
        server.put(kinds.SERVICES, service("d"))
        await seen.until(lambda: seen.daemon_set("d"))
    writes = [
        one for one in server.requests[before:] if one[0] in ("PUT", "PATCH", "DELETE") and "/events/" not in one[1]
    ]
    assert all("/services/d" in path for _, path in writes), writes


async def test_vector_8_and_bug_3_status_follows_pods_and_addresses(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a"))
    server.put(kinds.NODES, node("n1", "10.0.0.1"))
    server.put(kinds.PODS, forwarder("a", "n1"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.shown("a") == ["10.0.0.1"])
        server.put(kinds.NODES, node("n1", "10.0.0.99"))
        await seen.until(lambda: seen.shown("a") == ["10.0.0.99"], within=1)
        server.remove(kinds.PODS, "svclb-a-n1", "kube-system")
        await seen.until(lambda: seen.shown("a") == [] and "UnAvailableLoadBalancer" in seen.told("a"))
        text = ["There are no available nodes for LoadBalancer"]
        assert seen.said("a", "UnAvailableLoadBalancer") == text


async def test_vector_14_and_bug_2_the_allow_list_comes_and_goes(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a", labels={POOL: "p"}))
    server.put(kinds.NODES, node("n1", "10.0.0.1", {ENABLE_LB: "true"}))
    server.put(kinds.NODES, node("n2", "10.0.0.2"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.selector("a") == {ENABLE_LB: "true"})
        generation = len(server.requests)
        server.put(kinds.NODES, node("n1", "10.0.0.1", {ENABLE_LB: "true"}, beat="1"))
        server.put(kinds.NODES, node("n2", "10.0.0.2", beat="1"))
        server.put(kinds.SERVICES, service("b"))
        await seen.until(lambda: seen.daemon_set("b"))
        writes = [path for method, path in server.requests[generation:] if method in ("PUT", "PATCH")]
        assert not any("svclb-a" in path or "/services/a" in path for path in writes)
        server.put(kinds.NODES, node("n1", "10.0.0.1"))
        await seen.until(lambda: seen.selector("a") == {} and seen.selector("b") == {})
        found = seen.daemon_set("a")
        assert found is not None
        assert found.spec.template.spec.affinity is not None
        server.put(kinds.NODES, node("n2", "10.0.0.2", {ENABLE_LB: "false"}))
        await seen.until(lambda: seen.selector("a") == {ENABLE_LB: "true"})
        server.remove(kinds.NODES, "n2")
        await seen.until(lambda: seen.selector("a") == {} and seen.selector("b") == {})


async def test_a_pool_without_nodes_is_told(server: FakeApiServer) -> None:
    server.put(kinds.NODES, node("n1", "10.0.0.1", {ENABLE_LB: "true", POOL: "other"}))
    server.put(kinds.NODES, node("n2", "10.0.0.2", {"lbpool.svccontroller.k3s.cattle.io/p": "true"}))
    server.put(kinds.SERVICES, service("a", labels={POOL: "p"}))
    server.put(kinds.SERVICES, service("b", labels={POOL: "other"}))
    async with lb(server) as seen:
        await seen.until(lambda: "UnAvailableLoadBalancer" in seen.told("a") and "AppliedDaemonSet" in seen.told("b"))
        pool = "svccontroller.k3s.cattle.io/lbpool=p or lbpool.svccontroller.k3s.cattle.io/p=true"
        assert seen.said("a", "UnAvailableLoadBalancer") == [
            "There are no available nodes for LoadBalancer: no node has the label "
            f"svccontroller.k3s.cattle.io/enablelb=true, and {pool}"
        ]
        assert "UnAvailableLoadBalancer" not in seen.told("b")


async def test_proxy_headers_make_the_addresses_a_proxys(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a", annotations={PROXY_PROTOCOL: "v2"}))
    server.put(kinds.SERVICES, service("b", annotations={PROXY_PROTOCOL: "v1"}))
    server.put(kinds.NODES, node("n1", "10.0.0.1"))
    for name in ("a", "b"):
        server.put(kinds.PODS, forwarder(name, "n1"))

    def modes(name: str) -> list[tuple[str, str | None]]:
        found = seen.service(name)
        return [] if found is None else [(one.ip, one.ip_mode) for one in found.status.load_balancer.ingress]

    async with lb(server) as seen:
        await seen.until(lambda: modes("a") == [("10.0.0.1", "Proxy")] and modes("b") == [("10.0.0.1", None)])
        await seen.until(lambda: seen.said("b", "ProxyProtocolIgnored"))
        # Told once, however often the Service is looked at.
        server.put(kinds.NODES, node("n1", "10.0.0.9"))
        await seen.until(lambda: modes("a") == [("10.0.0.9", "Proxy")] and modes("b") == [("10.0.0.9", None)])
        (event,) = [one for one in seen.events.list() if one.reason == "ProxyProtocolIgnored"]
        assert (event.type, event.count) == ("Warning", 1)
        assert "'v1' is ignored" in event.message
    async with lb(server, image="rancher/klipper-lb:v0.4.9") as seen:
        await seen.until(lambda: seen.said("a", "SyncLoadBalancerFailed"))
        assert "writes no PROXY headers" in seen.said("a", "SyncLoadBalancerFailed")[0]


async def test_bug_5_labels_and_families_are_followed(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.daemon_set("a"))
        found = seen.service("a")
        assert found is not None
        server.put(kinds.SERVICES, service("a", labels={POOL: "p"}, finalizers=(FINALIZER,)))
        await seen.until(lambda: (each := seen.daemon_set("a")) and each.spec.template.spec.affinity)


async def test_bug_4_a_service_with_a_class_is_left_alone(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("foreign", class_="example.com/lb", ips=("192.0.2.1",), finalizers=(FINALIZER,)))
    server.put(kinds.SERVICES, service("ours"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.daemon_set("ours"))
        found = seen.service("foreign")
        assert found is not None
        assert found.metadata.finalizers == (FINALIZER,)
        assert seen.shown("foreign") == ["192.0.2.1"]
        assert seen.daemon_set("foreign") is None
    assert not any("/services/foreign" in path for method, path in server.requests if method != "GET")


async def test_a_service_of_another_type_loses_everything(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a", ips=("10.0.0.1",)))
    server.put(kinds.NODES, node("n1", "10.0.0.1"))
    server.put(kinds.PODS, forwarder("a", "n1"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.daemon_set("a"))
        server.put(kinds.SERVICES, service("a", type_="ClusterIP", ips=("10.0.0.1",), finalizers=("other", FINALIZER)))
        await seen.until(
            lambda: (
                not seen.daemon_set("a")
                and (one := seen.service("a"))
                and one.metadata.finalizers == ("other",)
                and not one.status.load_balancer.ingress
            )
        )
        await seen.until(lambda: {"Type", "DeletedDaemonSet", "DeletedLoadBalancer"} <= seen.told("a"))


async def test_deleting_a_service_deletes_its_daemon_set_first(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.daemon_set("a") and "AppliedDaemonSet" in seen.told("a"))
        async with server.client() as client:
            await client.delete(kinds.SERVICES, "a", namespace="shop")
        await seen.until(lambda: seen.service("a") is None and not seen.daemon_set("a"))
    order = [path.rpartition("/")[2][:7] for method, path in server.requests
             if method == "DELETE" or (method == "PATCH" and path.endswith("/services/a"))]  # fmt: skip
    assert order[-1] == "a"
    assert "svclb-a" in order


async def test_services_that_an_old_k3s_holds_are_released(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("plain", type_="ClusterIP", finalizers=(LEGACY_FINALIZER,)))
    server.put(kinds.SERVICES, service("going", finalizers=(LEGACY_FINALIZER,)))
    async with server.client() as client:
        await client.delete(kinds.SERVICES, "going", namespace="shop")
    async with lb(server) as seen:
        await seen.until(lambda: seen.service("going") is None)
        await seen.until(lambda: (found := seen.service("plain")) and not found.metadata.finalizers)


async def test_bug_7_a_service_says_who_has_its_port_until_it_is_free(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("first"))
    server.put(kinds.SERVICES, service("second"))
    server.put(kinds.NODES, node("n1", "10.0.0.1"))
    server.put(kinds.PODS, forwarder("first", "n1"))
    server.put(kinds.PODS, forwarder("second", "n1", waiting=True))

    def condition() -> Condition | None:
        found = seen.service("second")
        return found.status.conditions[0] if found is not None and found.status.conditions else None

    async with lb(server) as seen:
        await seen.until(lambda: condition() and "PortConflict" in seen.told("second"))
        told = condition()
        assert told is not None
        assert (told.type, told.status) == ("LoadBalancerPortsError", "True")
        holder = "Service shop/first (pod kube-system/svclb-first-n1)"
        assert told.message == f"port 443/TCP of node n1 is held by {holder}"
        server.remove(kinds.PODS, "svclb-first-n1", "kube-system")
        server.put(kinds.PODS, forwarder("second", "n1"))
        await seen.until(
            lambda: seen.shown("second") == ["10.0.0.1"] and (one := condition()) and one.status == "False"
        )


async def test_a_node_without_the_interface_is_told_and_not_shown(server: FakeApiServer) -> None:
    def having(name: str, address: str, interfaces: str) -> Node:
        made = node(name, address)
        made.metadata.annotations[INTERFACES] = interfaces
        return made

    server.put(kinds.SERVICES, service("a", annotations={BIND: "eth1"}))
    server.put(kinds.NODES, having("n1", "10.0.0.1", '{"eth1":["192.0.2.1"]}'))
    server.put(kinds.NODES, having("n2", "10.0.0.2", '{"eth0":["10.0.0.2"]}'))
    for name in ("n1", "n2"):
        server.put(kinds.PODS, forwarder("a", name))

    def trouble() -> list[tuple[str, str]]:
        found = seen.service("a")
        return [] if found is None else [(one.status, one.reason) for one in found.status.conditions]

    async with lb(server) as seen:
        await seen.until(lambda: seen.shown("a") == ["192.0.2.1"] and trouble() == [("True", "NoBindAddress")])
        await seen.until(lambda: seen.said("a", "NoBindAddress"))
        assert seen.said("a", "NoBindAddress") == [
            "node n2 has no interface eth1 with an address (wherry.dev/lb-bind): "
            "this load balancer does not serve there"
        ]
        server.put(kinds.NODES, having("n2", "10.0.0.2", '{"eth0":["10.0.0.2"],"eth1":["192.0.2.2"]}'))
        await seen.until(lambda: seen.shown("a") == ["192.0.2.1", "192.0.2.2"] and trouble()[0][0] == "False")


async def test_a_choice_of_addresses_that_leaves_none_is_told_once(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a", annotations={ADVERTISE: "external"}))
    server.put(kinds.NODES, node("n1", "10.0.0.1"))
    server.put(kinds.PODS, forwarder("a", "n1"))
    text = "annotation wherry.dev/lb-addresses: 'external' chooses no IPv4 address of the nodes that serve (n1)"
    async with lb(server) as seen:
        await seen.until(lambda: seen.said("a", "UnAvailableLoadBalancer"))
        server.put(kinds.NODES, node("n1", "10.0.0.9"))
        server.put(kinds.SERVICES, service("b"))
        await seen.until(lambda: seen.daemon_set("b"))
        assert seen.said("a", "UnAvailableLoadBalancer") == [text]
        server.put(kinds.SERVICES, service("a", annotations={ADVERTISE: "internal"}))
        await seen.until(lambda: seen.shown("a") == ["10.0.0.9"])


async def test_vector_15_tolerations_that_make_no_sense_are_an_event(server: FakeApiServer) -> None:
    wrong = {TOLERATIONS: '[{"operator":"Equal","value":"x"}]'}
    server.put(kinds.SERVICES, service("a", annotations=wrong))
    server.put(kinds.SERVICES, service("b"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.daemon_set("b") and "SyncLoadBalancerFailed" in seen.told("a"))
        (text,) = seen.said("a", "SyncLoadBalancerFailed")
        assert text.startswith("Error syncing load balancer: failed to ensure load balancer: annotation ")
        found = seen.service("a")
        assert found is not None
        assert found.metadata.finalizers == ()
        assert seen.daemon_set("a") is None


async def test_a_service_account_that_somebody_deleted_is_made_again(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.accounts.list())
        before = seen.accounts.list()[0].uid
        server.remove(kinds.SERVICE_ACCOUNTS, "svclb", "kube-system")
        await seen.until(lambda: any(one.uid != before for one in seen.accounts.list()))


async def test_another_namespace_cleans_up_the_one_before(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.daemon_set("a"))
    async with lb(server, namespace="lb") as seen:
        await seen.until(lambda: [one.namespace for one in seen.sets.list()] == ["lb"])
        await seen.until(lambda: [one.namespace for one in seen.accounts.list()] == ["lb"])


async def test_a_daemon_set_of_a_service_that_is_no_more_is_removed(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.daemon_set("a"))
    server.put(kinds.SERVICES, service("a", type_="ClusterIP"))
    server.remove(kinds.SERVICES, "a", "shop")
    async with lb(server) as seen:
        await seen.until(lambda: not seen.sets.list())


async def test_promise_23_disabled_it_leaves_no_trace(server: FakeApiServer) -> None:
    server.put(kinds.SERVICES, service("a"))
    server.put(kinds.SERVICES, service("classed", class_="example.com/lb", ips=("192.0.2.1",), finalizers=(FINALIZER,)))
    server.put(kinds.SERVICES, service("anothers", ips=("192.0.2.2",), finalizers=(FINALIZER,)))
    server.put(kinds.NODES, node("n1", "10.0.0.1"))
    server.put(kinds.PODS, forwarder("a", "n1"))
    async with lb(server) as seen:
        await seen.until(lambda: seen.shown("a") == ["10.0.0.1"])
        # One that another load balancer serves since then.
        await seen.until(lambda: seen.daemon_set("anothers") and seen.shown("anothers") == [])
    made = next(one.name for one in seen.sets.list() if one.labels[SERVICE_NAME] == "anothers")
    server.remove(kinds.DAEMON_SETS, made, "kube-system")
    server.put(kinds.SERVICES, service("anothers", ips=("192.0.2.2",), finalizers=(FINALIZER,)))
    for _ in range(2):
        await removal(server)
        async with server.client() as client:
            assert (await client.list(kinds.DAEMON_SETS)).items == []
            assert (await client.list(kinds.SERVICE_ACCOUNTS)).items == []
            found = {one.name: one for one in (await client.list(kinds.SERVICES)).items}
        assert found["a"].metadata.finalizers == ()
        assert found["a"].status.load_balancer.ingress == ()
        for name in ("classed", "anothers"):
            assert found[name].metadata.finalizers == (FINALIZER,), name
            assert found[name].status.load_balancer.ingress, name
