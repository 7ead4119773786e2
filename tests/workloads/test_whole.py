"""All controllers together against the real API server."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.workloads.world import ROOT_CA, World, world
from wherry.kube import kinds
from wherry.kube.keys import Key
from wherry.kube.kinds import Kind
from wherry.workloads.kinds import CONTROLLER_REVISIONS, ENDPOINTS


async def test_a_deployment_from_apply_to_delete() -> None:
    async with world() as w:
        await w.add_node("a")
        await w.add_node("b")
        await w.add_service("web")
        await w.add_deployment("web", 4)
        await w.until(lambda: len(w.ready_addresses("web")) == 4)
        assert Counter(pod.spec.node_name for pod in w.running("web")) == {"a": 2, "b": 2}
        await w.until(lambda: w.deployment("web").status.available_replicas == 4)
        await w.until(lambda: _condition(w.deployment("web"), "Progressing") == ("True", "NewReplicaSetAvailable"))
        assert _condition(w.deployment("web"), "Available") == ("True", "MinimumReplicasAvailable")
        assert w.deployment("web").metadata.annotations["deployment.kubernetes.io/revision"] == "1"

        container = {"name": "main", "image": "app:2"}
        change = {"spec": {"template": {"spec": {"containers": [container]}}}}
        await w.client.patch(kinds.DEPLOYMENTS, "web", change, namespace="default", type="strategic")
        await w.until(lambda: _images(w) == {"app:2": 4} and len(w.ready_addresses("web")) == 4)
        await w.until(lambda: sorted(each.spec.replicas for each in w.replica_sets.list()) == [0, 4])
        await w.until(lambda: w.deployment("web").status.updated_replicas == 4)

        await w.client.patch(kinds.DEPLOYMENTS, "web", {"spec": {"replicas": 1}}, namespace="default")
        await w.until(lambda: len(w.pods.list()) == 1 and len(w.ready_addresses("web")) == 1)

        await w.client.delete(kinds.DEPLOYMENTS, "web", namespace="default")
        await w.client.delete(kinds.SERVICES, "web", namespace="default")
        await w.until(lambda: not w.pods.list() and not w.replica_sets.list())
        await w.until(lambda: not [each for each in w.slices.list() if each.service_name == "web"])
        await w.until(lambda: {"ScalingReplicaSet"} <= w.reasons("web"))


async def test_a_pod_that_fits_nowhere_says_so_and_goes_when_it_fits() -> None:
    async with world() as w:
        await w.add_node("a", taints=[{"key": "dedicated", "effect": "NoSchedule"}])
        await w.add_node("b", cpu="1")
        request = {"requests": {"cpu": "2"}}
        container = {"name": "main", "image": "x", "resources": request}
        await w.until(lambda: w.nodes.get(Key("", "b")).ready)
        await w.create(kinds.PODS, "big", spec={"containers": [container]})
        await w.until(lambda: _scheduled(w, "big"))
        assert _scheduled(w, "big") == (
            "False", "Unschedulable",
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). "
            "no new claims to deallocate, preemption: 0/2 nodes "
            "are available: 2 Preemption is not helpful for scheduling.",
        )  # fmt: skip
        await w.until(lambda: "FailedScheduling" in w.reasons("big"))
        await w.client.patch(kinds.NODES, "a", {"spec": {"taints": None}})
        await w.until(lambda: w.pods.get(Key("default", "big")).spec.node_name == "a")
        await w.until(lambda: "Scheduled" in w.reasons("big"))


async def test_a_daemon_set_follows_the_nodes() -> None:
    async with world() as w:
        await w.add_node("a")
        labels = {"app": "agent"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
        await w.create(kinds.DAEMON_SETS, "agent", spec={"selector": {"matchLabels": labels}, "template": template})
        await w.until(lambda: len(w.running("agent")) == 1)
        await w.add_node("b")
        await w.until(lambda: {pod.spec.node_name for pod in w.running("agent")} == {"a", "b"})
        await w.until(lambda: w.daemon_sets.list()[0].status.number_available == 2)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "y"}]}}}}
        await w.client.patch(kinds.DAEMON_SETS, "agent", change, namespace="default", type="strategic")
        await w.until(lambda: _images(w, "agent") == {"y": 2})
        await w.until(lambda: w.daemon_sets.list()[0].status.updated_number_scheduled == 2)
        history = (await w.client.list(CONTROLLER_REVISIONS, namespace="default")).items
        assert sorted(each.revision for each in history) == [1, 2]
        await w.client.delete(kinds.DAEMON_SETS, "agent", namespace="default")
        await w.until(lambda: not w.pods.list())


async def test_a_namespace_goes_with_all_it_holds() -> None:
    async with world() as w:
        await w.add_node("a")
        await w.create(kinds.NAMESPACES, "team", None)
        await w.until(lambda: w.accounts.get(Key("team", "default")))
        await w.client.create(
            kinds.CONFIG_MAPS.as_dict(), {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}},
            namespace="team",
        )  # fmt: skip
        spec = {"containers": [{"name": "main", "image": "x"}]}
        await w.client.create(kinds.PODS.as_dict(), {"metadata": {"name": "p"}, "spec": spec}, namespace="team")
        await w.until(lambda: w.pods.list("team") and w.pods.list("team")[0].ready)
        await w.client.delete(kinds.NAMESPACES, "team")
        await w.until(lambda: _namespace_condition(w, "team", "NamespaceFinalizersRemaining") == "True")
        assert not w.pods.list("team")
        await w.client.patch(kinds.CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, namespace="team")
        await w.until(lambda: w.namespaces.get(Key("", "team")) is None)
        assert not w.config_maps.list("team")


async def test_every_namespace_has_its_account_and_certificate() -> None:
    async with world() as w:
        await w.create(kinds.NAMESPACES, "team", None)
        await w.until(lambda: w.config_maps.get(Key("team", "kube-root-ca.crt")))
        await w.client.delete(kinds.SERVICE_ACCOUNTS, "default", namespace="team")
        spoilt = {"data": {"ca.crt": "spoilt", "more": "x"}}
        await w.client.patch(kinds.CONFIG_MAPS, "kube-root-ca.crt", spoilt, namespace="team")
        await w.until(lambda: w.config_maps.get(Key("team", "kube-root-ca.crt")).data == {"ca.crt": ROOT_CA})
        await w.until(lambda: w.accounts.get(Key("team", "default")))


async def test_classic_endpoints_both_ways() -> None:
    async with world() as w:
        await w.add_node("a")
        await w.add_service("web")
        await w.add_deployment("web", 1)
        await w.until(lambda: len(w.ready_addresses("web")) == 1)
        await w.until(lambda: w.endpoints.get(Key("default", "web")) and w.endpoints.get(Key("default", "web")).subsets)
        (subset,) = w.endpoints.get(Key("default", "web")).subsets
        assert {each["ip"] for each in subset["addresses"]} == w.ready_addresses("web")
        await w.client.delete(kinds.SERVICES, "web", namespace="default")
        await w.until(lambda: w.endpoints.get(Key("default", "web")) is None)

        subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432}]}]
        await w.create(ENDPOINTS, "db", subsets=subsets)
        await w.create(kinds.SERVICES, "db", spec={"ports": [{"port": 5432}]})
        await w.until(lambda: w.ready_addresses("db") == {"192.0.2.1"})
        await w.client.delete(ENDPOINTS, "db", namespace="default")
        await w.until(lambda: not w.ready_addresses("db"))


async def test_a_lost_node_loses_its_pods_and_gets_them_back_when_it_returns() -> None:
    async with world(grace=2.5, toleration=1) as w:
        await w.add_node("a")
        await w.add_node("b")
        await w.add_service("web")
        await w.add_deployment("web", 2)
        await w.until(lambda: len(w.ready_addresses("web")) == 2)
        beats = iter(f"2024-01-01T00:00:{second:02}Z" for second in range(60))
        w.kubelets.discard("b")

        def lost() -> bool:
            return {each.key for each in w.node("b").spec.taints} == {"node.kubernetes.io/unreachable"}

        while not lost():
            # The kubelet of "a" goes on reporting; that of "b" has fallen silent.
            await w.report("a", "True", beat=next(beats))
            try:
                await w.until(lost, within=0.5)
            except TimeoutError:
                continue
        assert _condition(w.node("b"), "Ready") == ("Unknown", "NodeStatusUnknown")
        there = {pod.status.pod_ip for pod in w.pods.list() if pod.spec.node_name == "b"}
        await w.until(lambda: not (w.ready_addresses("web") & there))
        await w.report("a", "True", beat=next(beats))
        await w.until(lambda: [pod.spec.node_name for pod in w.running("web")] == ["a", "a"])
        await w.report("b", "True", beat=next(beats))
        w.wake("b")
        await w.until(lambda: w.node("b").spec.taints == ())
        await w.until(lambda: len(w.pods.list()) == 2)


async def test_ending_pods_of_a_node_out_of_service_are_removed() -> None:
    async with world() as w:
        await w.add_node("a")
        await w.add_node("b")
        await w.add_deployment("web", 2)
        await w.until(lambda: len(w.running("web")) == 2)
        (there,) = [pod for pod in w.running("web") if pod.spec.node_name == "a"]
        w.kubelets.discard("a")
        await w.report("a", "False")
        await w.client.delete(kinds.PODS, there.name, namespace="default")
        await w.until(lambda: w.pods.get(there.key) and w.pods.get(there.key).deleting)
        taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        await w.client.patch(kinds.NODES, "a", {"spec": {"taints": [taint]}})
        await w.until(lambda: w.pods.get(there.key) is None)


async def test_pods_of_a_deleted_node_are_removed() -> None:
    async with world() as w:
        await w.add_node("a")
        await w.add_deployment("web", 1)
        await w.until(lambda: len(w.running("web")) == 1)
        (before,) = w.running("web")
        w.kubelets.discard("a")
        await w.client.delete(kinds.NODES, "a")
        await w.until(lambda: w.pods.get(before.key) is None)
        await w.add_node("b")
        await w.until(lambda: [pod.spec.node_name for pod in w.running("web")] == ["b"])


async def test_deletion_that_orphans_and_deletion_in_the_foreground() -> None:
    async with world() as w:
        await w.add_node("a")
        await w.add_deployment("web", 1)
        await w.until(lambda: len(w.running("web")) == 1)
        await w.client.delete(kinds.DEPLOYMENTS, "web", namespace="default", propagation="Orphan")
        await w.until(lambda: not w.deployments.list())
        await w.until(lambda: [each.metadata.owner_references for each in w.replica_sets.list()] == [()])
        (left,) = w.replica_sets.list()
        # Made anew the deployment takes the replica set over instead of making another.
        await w.add_deployment("web", 1)
        await w.until(lambda: [bool(each.metadata.controller) for each in w.replica_sets.list()] == [True])
        assert w.replica_sets.list()[0].uid == left.uid
        await w.client.delete(kinds.DEPLOYMENTS, "web", namespace="default", propagation="Foreground")
        await w.until(lambda: not w.deployments.list())
        assert not w.replica_sets.list()


async def test_owners_may_be_custom_objects_or_missing() -> None:
    widgets = Kind("example.com", "v1", "Widget", "widgets", True, dict[str, Any])
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    async with world() as w:
        definitions = w.view(kinds.CUSTOM_RESOURCE_DEFINITIONS.as_dict())
        await w.create(kinds.CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com", None, spec=definition)
        await w.until(lambda: _established(definitions.list()))
        made = await w.client.create(widgets, {"metadata": {"name": "w"}}, namespace="default")
        owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": made["metadata"]["uid"]}
        await w.create(kinds.CONFIG_MAPS, "child", metadata={"ownerReferences": [owner]})
        gone = owner | {"uid": "11111111-1111-1111-1111-111111111111"}
        await w.create(kinds.CONFIG_MAPS, "lost", metadata={"ownerReferences": [gone]})
        await w.create(kinds.CONFIG_MAPS, "torn", metadata={"ownerReferences": [gone, owner]})
        await w.until(lambda: _held(w, "torn") and not _held(w, "lost"))
        await w.until(lambda: len(w.config_maps.get(Key("default", "torn")).metadata.owner_references) == 1)
        assert _held(w, "child")
        await w.client.delete(widgets, "w", namespace="default")
        await w.until(lambda: not _held(w, "child"))
        await w.until(lambda: not _held(w, "torn"))


async def test_nothing_is_lost_or_made_twice_when_the_api_server_restarts() -> None:
    async with world(durable=True) as w:
        await w.add_node("a", cpu="64")
        await w.add_service("web")
        await w.add_deployment("web", 100)
        await w.until(lambda: len(w.pods.list()) > 20)
        await w.api.stop()
        assert len(w.pods.list()) < 100
        await w.api.start()
        await w.until(lambda: len(w.ready_addresses("web")) == 100)
        assert len((await w.client.list(kinds.PODS)).items) == 100
        assert len(w.replica_sets.list()) == 1


async def test_three_hundred_pods() -> None:
    async with world() as w:
        await w.add_node("a", cpu="64")
        await w.add_node("b", cpu="64")
        await w.add_service("web")
        await w.add_deployment("web", 300)
        await w.until(lambda: len(w.ready_addresses("web")) == 300)
        assert Counter(pod.spec.node_name for pod in w.pods.list()) == {"a": 150, "b": 150}
        await w.client.patch(kinds.DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, namespace="default")
        await w.until(lambda: not w.pods.list() and not w.ready_addresses("web"))


def _condition(obj: Any, type_: str) -> tuple[str, str] | None:
    found = [each for each in obj.status.conditions if each.type == type_]
    return (found[0].status, found[0].reason) if found else None


def _images(w: World, app: str = "web") -> Counter[str] | None:
    """Images of the running pods of an app, once no pod is on its way out any more."""
    pods = w.running(app)
    return Counter(pod.spec.containers[0].image for pod in pods) if len(w.pods.list()) == len(pods) else None


def _scheduled(w: World, name: str) -> tuple[str, str, str] | None:
    pod = w.pods.get(Key("default", name))
    found = pod.status.condition("PodScheduled") if pod else None
    return (found.status, found.reason, found.message) if found else None


def _namespace_condition(w: World, name: str, type_: str) -> str | None:
    namespace = w.namespaces.get(Key("", name))
    found = [each for each in namespace.status.conditions if each.type == type_] if namespace else []
    return found[0].status if found else None


def _established(definitions: list[dict[str, Any]]) -> bool:
    conditions = [each for one in definitions for each in one.get("status", {}).get("conditions") or ()]
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _held(w: World, name: str) -> bool:
    return w.config_maps.get(Key("default", name)) is not None
