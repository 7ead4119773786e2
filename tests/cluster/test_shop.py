"""The example shop: it runs, and everything in it can be reached from everywhere."""

from __future__ import annotations

import pytest

from tests.cluster import visits
from tests.cluster.sandbox import SHOP, Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Pod

#: With two equal endpoints the chance that all of these stay on one node is 1 in 10^12.
CALLS = 40


def ready(pod: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def test_every_pod_is_ready_and_every_node_has_some(shop: Sandbox) -> None:
    for namespace, count in (("shop", 12), ("shop-data", 2)):
        pods = shop.until(
            kinds.PODS, lambda found, n=count: len(found) == n and all(map(ready, found)), namespace=namespace
        )
        assert {pod.spec.node_name for pod in pods} == {"node-1", "node-2"}
    assert all(each.status.container_statuses[0].restart_count == 0 for each in pods)


@pytest.mark.parametrize(
    ("namespace", "service", "scheme"),
    [("shop", "web", "http"), ("shop", "api", "http"), ("shop-data", "cache", "http")],
)
def test_service_is_answered_by_pods_on_every_node(shop: Sandbox, namespace: str, service: str, scheme: str) -> None:
    spec = shop.get("-n", namespace, "service", service)["spec"]
    pods = {p["metadata"]["name"]: p["spec"]["nodeName"] for p in shop.get("-n", namespace, "pods")["items"]}
    for visitor in shop.get("-n", "shop", "pods", "-l", "app=visitor")["items"]:
        url = visits.url(scheme, spec["clusterIP"], spec["ports"][0]["port"])
        answers = visits.call(shop, "shop", visitor["metadata"]["name"], url, CALLS)
        assert {pods[a["pod"]] for a in answers} == {"node-1", "node-2"}
        # The client's own address arrives, also from the other node: nothing is masqueraded inside the cluster.
        assert {a["client"].rpartition(":")[0] for a in answers} == {visitor["status"]["podIP"]}


@pytest.mark.parametrize(("namespace", "service"), [("shop", "counter"), ("shop-data", "cache")])
def test_udp_service_echoes(shop: Sandbox, namespace: str, service: str) -> None:
    spec = shop.get("-n", namespace, "service", service)["spec"]
    port = next(p["port"] for p in spec["ports"] if p["protocol"] == "UDP")
    for visitor in shop.get("-n", "shop", "pods", "-l", "app=visitor")["items"]:
        answers = visits.call(shop, "shop", visitor["metadata"]["name"], visits.url("udp", spec["clusterIP"], port), 10)
        assert [a["text"] for a in answers] == ["ahoy"] * 10


def test_a_real_program_is_reached_from_the_other_node(shop: Sandbox) -> None:
    home = shop.get("-n", "shop", "pod", "reports")["spec"]["nodeName"]
    address = shop.get("-n", "shop", "service", "reports")["spec"]["clusterIP"]
    visitors = shop.get("-n", "shop", "pods", "-l", "app=visitor")["items"]
    far = next(v["metadata"]["name"] for v in visitors if v["spec"]["nodeName"] != home)
    assert "3 oars, 1 rope" in visits.call(shop, "shop", far, f"http://{address}/")[0]["text"]


def test_pod_reaches_itself_through_its_service(shop: Sandbox) -> None:
    address = shop.get("-n", "shop", "service", "reports")["spec"]["clusterIP"]
    assert "3 oars" in visits.call(shop, "shop", "reports", f"http://{address}/")[0]["text"]


def test_node_reaches_services_and_pods(shop: Sandbox) -> None:
    address = shop.get("-n", "shop", "service", "web")["spec"]["clusterIP"]
    pod = shop.get("-n", "shop", "pod", "reports")["status"]["podIP"]
    for node in ("node-1", "node-2"):
        for url in (f"http://{address}/", f"http://{pod}:8000/"):
            program = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).status)"
            assert shop.wherry("node exec", node, "--", "python3", "-c", program).out == "200\n"


def test_config_and_secret_reach_their_files_and_variables(shop: Sandbox) -> None:
    pod = shop.get("-n", "shop", "pods", "-l", "app=api")["items"][0]
    command = "cat /etc/credentials/password /etc/shop/currency; printenv currency DB_USER POD_IP"
    said = shop.kubectl("-n", "shop", "exec", pod["metadata"]["name"], "--", "sh", "-c", command).out
    assert said == f"row-row-rowEUREUR\nshopkeeper\n{pod['status']['podIP']}\n"


def test_apply_again_changes_nothing(shop: Sandbox) -> None:
    def generations() -> dict[str, int]:
        found = shop.get("-A", "deployments,daemonsets,pods,services")["items"]
        return {f"{o['kind']} {o['metadata']['name']}": o["metadata"].get("generation", 0) for o in found}

    before = generations()
    lines = shop.kubectl("apply", "-f", str(SHOP)).out.splitlines()
    # kubectl sends these a patch each time, on any cluster: stringData, $retainKeys and the order of injected volumes.
    sent = {"secret/api-credentials configured", "deployment.apps/api configured", "pod/reports configured"}
    assert [line for line in lines if not line.endswith(" unchanged") and line not in sent] == []
    assert generations() == before
    shop.kubectl("diff", "-f", str(SHOP))
