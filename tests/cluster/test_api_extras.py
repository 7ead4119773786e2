"""What kubectl does beyond objects: top, proxies, quotas, pruning, autoscalers."""

from __future__ import annotations

import json

import yaml

from tests.cluster.manifests import deployment, service
from tests.cluster.sandbox import Sandbox


def test_pods_and_services_answer_through_the_api_server(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(deployment("web", 2), service("web", 80, 8080), namespace=namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=30s")
    name = cluster.get("-n", namespace, "pods")["items"][0]["metadata"]["name"]
    root = f"/api/v1/namespaces/{namespace}"
    answer = cluster.kubectl("get", "--raw", f"{root}/services/web:80/proxy/some/path?a=b").out
    assert "request: GET /some/path?a=b" in answer
    assert f"pod: {namespace}/{name}\n" in cluster.kubectl("get", "--raw", f"{root}/pods/{name}:8080/proxy/").out
    assert cluster.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/healthz").out == "ok"
    refused = cluster.kubectl("get", "--raw", f"{root}/pods/{name}:81/proxy/", code=1).err
    assert "error trying to reach service: dial tcp" in refused
    assert "connect: connection refused" in refused
    cluster.kubectl("-n", namespace, "scale", "deployment/web", "--replicas=0")
    cluster.kubectl("-n", namespace, "wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")
    nobody = cluster.kubectl("get", "--raw", f"{root}/services/web:80/proxy/", code=1).err
    assert 'no endpoints available for service "web:80"' in nobody


def test_top_tells_what_nodes_and_containers_use(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(deployment("web", 1), namespace=namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=30s")
    nodes = cluster.kubectl("top", "nodes", "--no-headers").out.split()
    assert {"node-1", "node-2"} <= set(nodes)
    pods = cluster.kubectl("-n", namespace, "top", "pods", "--containers", "--no-headers").out.split()
    assert (pods[0].startswith("web-"), pods[1]) == (True, "main")
    found = json.loads(cluster.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes").out)
    assert all(item["usage"]["cpu"].endswith("n") for item in found["items"])
    missing = cluster.kubectl("top", "node", "node-9", code=1).err
    assert 'nodes.metrics.k8s.io "node-9" not found' in missing


def test_quotas_refuse_what_is_too_much(cluster: Sandbox, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "quota", "few", "--hard=count/secrets=1,requests.cpu=1")
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "one")
    refused = cluster.kubectl("-n", namespace, "create", "secret", "generic", "two", code=1).err
    assert "exceeded quota: few, requested: count/secrets=1, used: count/secrets=1, limited: count/secrets=1" in refused
    silent = cluster.kubectl("-n", namespace, "run", "web", "--image=nginx", code=1).err
    assert 'pods "web" is forbidden: failed quota: few: must specify requests.cpu for: web' in silent


def test_pruning_removes_what_is_no_longer_applied(cluster: Sandbox, namespace: str) -> None:
    def maps(*names: str) -> str:
        return yaml.safe_dump_all(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"set": "a"}}}
            for name in names
        )

    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=maps("first", "second"))
    said = cluster.kubectl("-n", namespace, "apply", "--prune", "-l", "set=a", "-f", "-", stdin=maps("second")).out
    assert "configmap/first pruned" in said
    assert "second" not in said.replace("configmap/second unchanged", "")


def test_autoscalers_are_served_in_both_versions(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(deployment("web", 1), namespace=namespace)
    cluster.kubectl("-n", namespace, "autoscale", "deployment/web", "--min=1", "--max=3", "--cpu=50%")
    path = f"namespaces/{namespace}/horizontalpodautoscalers/web"
    new = json.loads(cluster.kubectl("get", "--raw", f"/apis/autoscaling/v2/{path}").out)
    old = json.loads(cluster.kubectl("get", "--raw", f"/apis/autoscaling/v1/{path}").out)
    assert new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert old["spec"]["targetCPUUtilizationPercentage"] == 50
    assert old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]
