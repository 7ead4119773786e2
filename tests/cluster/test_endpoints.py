"""Which pods answer for a service, as slices, Endpoints and their mirror say."""

from __future__ import annotations

from typing import Any

from tests.cluster.manifests import deployment, pod, service
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import EndpointSlice, Node
from wherry.workloads.kinds import ENDPOINTS, Endpoints

MIRROR = "endpointslicemirroring-controller.k8s.io"


def ready(slices: list[EndpointSlice], name: str) -> int:
    mine = [each for each in slices if each.service_name == name]
    return sum(bool(endpoint.conditions.ready) for each in mine for endpoint in each.endpoints or ())


def events(cluster: Sandbox, namespace: str, reason: str) -> str:
    return cluster.kubectl("-n", namespace, "get", "events", f"--field-selector=reason={reason}").out


def test_services_of_every_kind(cluster: Sandbox, namespace: str) -> None:
    """One namespace, so that all the pods and controllers are waited for once."""

    def backend(name: str, number: int) -> dict[str, Any]:
        ports = [{"name": "web", "containerPort": number}]
        return {**pod(name, container={"image": "registry.example/x:1", "ports": ports}),
                "metadata": {"name": name, "labels": {"app": "mixed"}}}  # fmt: skip

    member = pod("m-0", hostname="m-0", subdomain="members", container={"image": "registry.example/x:1"})
    unready = pod("late", "sleep", "infinity", container={"readinessProbe": {"exec": {"command": ["false"]}}})
    by_hand: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside"}, "spec": {"ports": [{"port": 5432}]}},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "outside"},
         "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "notReadyAddresses": [{"ip": "192.0.2.8"}],
                      "ports": [{"port": 5432}]}]},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sliced"}, "spec": {"ports": [{"port": 1}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "FQDN",
         "metadata": {"name": "sliced-mine", "labels": {"kubernetes.io/service-name": "sliced"}},
         "endpoints": [{"addresses": ["example.org"]}], "ports": [{"port": 1}]},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "elsewhere"},
         "spec": {"type": "ExternalName", "externalName": "example.org", "selector": {"app": "mixed"}}},
    ]  # fmt: skip
    mixed = service("mixed", 80, 80)
    mixed["spec"]["ports"][0]["targetPort"] = "web"
    headless = service("members", 80, 80, clusterIP="None")
    headless["spec"].update(selector={"app": "m-0"}, ports=[])
    cluster.apply(
        mixed, backend("a", 8080), backend("b", 9090), member, headless, unready,
        service("late", 80, 80), service("early", 80, 80, selector={"app": "late"}, publishNotReadyAddresses=True),
        *by_hand, namespace=namespace,
    )  # fmt: skip
    slices = cluster.until(
        kinds.ENDPOINT_SLICES,
        lambda found: (
            [ready(found, name) for name in ("mixed", "members", "early", "outside")] == [2, 1, 1, 1]
            and [each for each in found if each.service_name == "late" and each.endpoints]
        ),
        namespace=namespace,
    )

    def of(name: str) -> list[EndpointSlice]:
        return [each for each in slices if each.service_name == name]

    # Pods that give a named port other numbers are in slices of their own.
    assert sorted(each.ports[0].port or 0 for each in of("mixed") if each.ports) == [8080, 9090]
    (members,) = of("members")
    assert not members.ports
    assert members.labels["service.kubernetes.io/headless"] == ""
    assert [(each.hostname, each.node_name is not None) for each in members.endpoints or ()] == [("m-0", True)]
    (late,), (early,) = of("late"), of("early")
    assert [each.conditions.ready for each in (late.endpoints or ()) + (early.endpoints or ())] == [False, True]
    (mirrored,) = of("outside")
    assert mirrored.labels["endpointslice.kubernetes.io/managed-by"] == MIRROR
    assert [each.conditions.ready for each in mirrored.endpoints or ()] == [True, False]
    assert [each.name for each in of("sliced")] == ["sliced-mine"]
    assert of("elsewhere") == []

    def classic(found: list[Endpoints]) -> bool:
        ports = {each.name: sorted(port["port"] for s in each.subsets for port in s.get("ports", ())) for each in found}
        return ports.get("mixed") == [8080, 9090] and "late" in ports and "elsewhere" not in ports

    found = {each.name: each for each in cluster.until(ENDPOINTS, classic, namespace=namespace)}
    assert [[*subset] for subset in found["late"].subsets] == [["notReadyAddresses", "ports"]]
    assert "endpoints.kubernetes.io/last-change-trigger-time" in found["mixed"].metadata.annotations

    # What is written by hand can be taken back, and out of the mirror.
    cluster.kubectl("-n", namespace, "label", "endpoints", "outside", "endpointslice.kubernetes.io/skip-mirror=true")
    cluster.until(kinds.ENDPOINT_SLICES, lambda found: ready(found, "outside") == 0, namespace=namespace)


def test_hints_follow_zones_and_nodes(cluster: Sandbox, namespace: str) -> None:
    zones = ("topology.kubernetes.io/zone=east", "topology.kubernetes.io/zone=west")
    nodes = ("node-1", "node-2")
    auto, close, same = service("auto", 80, 8080), service("close", 80, 8080), service("same", 80, 8080)
    auto["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    for each, distribution in ((close, "PreferClose"), (same, "PreferSameNode")):
        each["spec"]["trafficDistribution"] = distribution
    for each in (auto, close, same):
        each["spec"]["selector"] = {"app": "app"}
    spread = [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
               "labelSelector": {"matchLabels": {"app": "app"}}}]  # fmt: skip

    def hints(slices: list[EndpointSlice], name: str) -> set[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        return {
            (
                endpoint.zone or "",
                tuple(each.name for each in endpoint.hints.for_zones) if endpoint.hints else (),
                tuple(each.name for each in endpoint.hints.for_nodes) if endpoint.hints else (),
            )
            for found in slices
            if found.service_name == name
            for endpoint in found.endpoints or ()
        }

    try:
        for node, label in zip(nodes, zones, strict=True):
            cluster.kubectl("label", "node", node, label)
        cluster.apply(deployment("app", 4, topologySpreadConstraints=spread), auto, close, same, namespace=namespace)
        own = {(zone, (zone,), ()) for zone in ("east", "west")}
        by_node = {("east", ("east",), ("node-1",)), ("west", ("west",), ("node-2",))}
        cluster.until(
            kinds.ENDPOINT_SLICES,
            lambda found: (
                (hints(found, "auto"), hints(found, "close"), hints(found, "same")) == (own, own, by_node)
                and ready(found, "auto") == 4
            ),
            namespace=namespace,
        )
        cluster.kubectl(
            "-n", namespace, "wait", "--for=jsonpath={.reason}=TopologyAwareHintsEnabled", "event",
            "--field-selector=reason=TopologyAwareHintsEnabled", "--timeout=20s",
        )  # fmt: skip
        assert "Topology Aware Hints has been enabled, addressType: IPv4" in events(
            cluster, namespace, "TopologyAwareHintsEnabled"
        )
        # With one node too few endpoints are left to share out; without a zone nobody can tell what is near.
        cluster.kubectl("label", "node", "node-2", "topology.kubernetes.io/zone-")
        cluster.until(
            kinds.ENDPOINT_SLICES,
            lambda found: all(not zones for _, zones, _ in hints(found, "auto")),
            namespace=namespace,
        )
    finally:
        for node in nodes:
            cluster.kubectl("label", "node", node, "topology.kubernetes.io/zone-")
    cluster.until(kinds.NODES, unlabelled)


def unlabelled(nodes: list[Node]) -> bool:
    return not [each for each in nodes if "topology.kubernetes.io/zone" in each.labels]
