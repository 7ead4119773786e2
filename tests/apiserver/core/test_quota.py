"""Resource quotas: what counts, what is refused, and that two writers cannot share what is left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from wherry.apiserver.quota.usage import applies, missing_amounts, usage_of
from wherry.apiserver.testing import Running

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUOTAS = "/api/v1/namespaces/default/resourcequotas"
PODS = "/api/v1/namespaces/default/pods"


def container(name: str = "c", **resources: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "image": "x", "resources": resources}


def pod(name: str = "p", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    body = {"containers": [*(containers or (container(),))], "serviceAccountName": "default", **spec}
    metadata = {"name": name, "namespace": "default"}
    body["automountServiceAccountToken"] = False
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def quota(name: str, hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard, **spec}}


@pytest.fixture
async def ready(api: Running) -> Running:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert (await api.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account)).status == 201
    return api


def test_a_pod_counts_what_runs_together_or_its_largest_init_container() -> None:
    one = container("a", requests={"cpu": "500m", "memory": "1Gi"}, limits={"cpu": "1"})
    two = container("b", requests={"cpu": "250m", "memory": "1Gi"})
    first = container("init", requests={"cpu": "2"})
    used = usage_of("", "pods", pod("p", one, two, initContainers=[first]), NOW)
    assert used["requests.cpu"] == used["cpu"] == "2"
    assert (used["requests.memory"], used["limits.cpu"], used["pods"]) == ("2Gi", "1", "1")
    over = {**pod("p", one), "status": {"phase": "Succeeded"}}
    assert usage_of("", "pods", over, NOW) == {"count/pods": "1"}


def test_services_and_claims() -> None:
    ports = [{"port": 80}, {"port": 81}]
    used = usage_of("", "services", {"metadata": {}, "spec": {"type": "LoadBalancer", "ports": ports}}, NOW)
    assert (used["services.nodeports"], used["services.loadbalancers"]) == ("2", "1")
    spec = {"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}}
    used = usage_of("", "persistentvolumeclaims", {"metadata": {}, "spec": spec}, NOW)
    assert used["fast.storageclass.storage.k8s.io/requests.storage"] == used["requests.storage"] == "5Gi"
    assert usage_of("apps", "deployments", {"metadata": {}}, NOW) == {"count/deployments.apps": "1"}


@pytest.mark.parametrize(
    ("spec", "given", "expected"),
    [
        ({"scopes": ["BestEffort"]}, pod(), True),
        ({"scopes": ["NotBestEffort"]}, pod(), False),
        ({"scopes": ["Terminating"]}, pod(activeDeadlineSeconds=5), True),
        ({"scopes": ["NotTerminating"]}, pod(activeDeadlineSeconds=5), False),
        ({"scopes": ["CrossNamespacePodAffinity"]}, pod(), False),
    ],
)
def test_scopes(spec: dict[str, Any], given: dict[str, Any], expected: bool) -> None:
    assert applies({"spec": spec}, "", "pods", given) is expected


@pytest.mark.parametrize(
    ("operator", "values", "name", "expected"),
    [
        ("In", ["high"], "high", True),
        ("In", ["high"], "", False),
        ("NotIn", ["high"], "low", True),
        ("Exists", [], "low", True),
        ("DoesNotExist", [], "low", False),
    ],
)
def test_scopes_of_priority_classes(operator: str, values: list[str], name: str, expected: bool) -> None:
    item = {"scopeName": "PriorityClass", "operator": operator, "values": values}
    spec = {"scopeSelector": {"matchExpressions": [item]}}
    assert applies({"spec": spec}, "", "pods", pod(priorityClassName=name)) is expected


def test_what_limited_pods_must_say() -> None:
    given = pod("p", container("a"), container("b", requests={"cpu": "1"}))
    text = missing_amounts(given, {"requests.cpu": "1", "limits.memory": "1"})
    assert text == "limits.memory for: a,b; requests.cpu for: a"
    assert missing_amounts(given, {"pods": "1"}) == ""


async def test_the_amounts_in_use_follow_what_comes_and_goes(ready: Running) -> None:
    assert (await ready.ask("POST", QUOTAS, quota("q", {"pods": "2", "count/configmaps": "1"}))).status == 201
    for name in ("a", "b"):
        assert (await ready.ask("POST", PODS, pod(name))).status == 201
    refused = await ready.ask("POST", PODS, pod("c"))
    assert refused.status == 403
    assert refused.body["message"] == (
        'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
    )
    found = (await ready.ask("GET", f"{QUOTAS}/q")).body
    assert found["status"] == {
        "hard": {"pods": "2", "count/configmaps": "1"},
        "used": {"pods": "2", "count/configmaps": "0"},
    }
    # One that ends makes room, and so does one that goes.
    over = {"status": {"phase": "Succeeded"}}
    assert (
        await ready.ask("PATCH", f"{PODS}/a/status", over, Content_Type="application/merge-patch+json")
    ).status == 200
    assert (await ready.ask("DELETE", f"{PODS}/b?gracePeriodSeconds=0")).status == 200
    assert (await ready.ask("POST", PODS, pod("c"))).status == 201
    assert (await ready.ask("POST", PODS, pod("d"))).status == 201
    assert (await ready.ask("POST", PODS, pod("e"))).status == 403


async def test_many_writers_never_exceed_a_quota(ready: Running) -> None:
    assert (await ready.ask("POST", QUOTAS, quota("q", {"count/configmaps": "5"}))).status == 201
    path = "/api/v1/namespaces/default/configmaps"

    async def write(number: int) -> int:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
        return (await ready.ask("POST", path, body)).status

    statuses = await asyncio.gather(*(write(number) for number in range(20)))
    assert sorted(statuses) == [201] * 5 + [403] * 15
    assert (await ready.ask("GET", f"{QUOTAS}/q")).body["status"]["used"] == {"count/configmaps": "5"}


async def test_a_change_is_charged_by_its_difference(ready: Running) -> None:
    hard = {"services.nodeports": "1", "requests.memory": "1Gi"}
    assert (await ready.ask("POST", QUOTAS, quota("q", hard))).status == 201
    path = "/api/v1/namespaces/default/services"
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "a"}]}}
    assert (await ready.ask("POST", path, {"apiVersion": "v1", "kind": "Service", **body})).status == 201
    merge = "application/merge-patch+json"
    assert (await ready.ask("PATCH", f"{path}/s", {"spec": {"type": "NodePort"}}, Content_Type=merge)).status == 200
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
    refused = await ready.ask("PATCH", f"{path}/s", {"spec": {"ports": ports}}, Content_Type=merge)
    assert "requested: services.nodeports=1, used: services.nodeports=1" in refused.body["message"]
