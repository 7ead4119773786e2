"""kubectl cordon, drain and uncordon with a disruption budget in the way, on a node of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.manifests import deployment
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Pod


@pytest.fixture
def spare(cluster: Sandbox) -> Iterator[str]:
    """A node of the shared cluster for one test alone."""
    assert cluster.wherry("node add", "spare").out == "node spare added\n"
    try:
        cluster.kubectl("wait", "--for=create", "node/spare", "--timeout=30s")
        cluster.kubectl("wait", "--for=condition=Ready", "node/spare", "--timeout=30s")
        yield "spare"
    finally:
        cluster.wherry("node remove", "spare", code=None)
        cluster.kubectl("wait", "--for=delete", "node/spare", "--timeout=20s")


def test_a_drain_waits_for_what_a_budget_guards(cluster: Sandbox, namespace: str, spare: str) -> None:
    prefer = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [spare]}]}}]}}  # fmt: skip
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "app"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "app"}}},
    }
    cluster.apply(deployment("app", 2, affinity=prefer), budget, namespace=namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")

    def there(pods: list[Pod]) -> list[Pod]:
        return [pod for pod in pods if pod.spec.node_name == spare]

    assert cluster.until(kinds.PODS, there, namespace=namespace)
    cluster.until(kinds.POD_DISRUPTION_BUDGETS, lambda found: found[0].status.current_healthy == 2, namespace=namespace)
    drain = ("drain", spare, "--ignore-daemonsets", "--delete-emptydir-data")
    refused = cluster.kubectl(*drain, "--timeout=1s", code=1)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.err
    assert "Ready,SchedulingDisabled" in cluster.kubectl("get", "node", spare, "--no-headers").out
    # With one more pod, which goes elsewhere as the node is cordoned, the budget lets them go one after the other.
    cluster.kubectl("-n", namespace, "scale", "deploy/app", "--replicas=4")
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
    cluster.until(
        kinds.POD_DISRUPTION_BUDGETS, lambda found: found[0].status.disruptions_allowed == 2, namespace=namespace
    )
    assert f"node/{spare} drained" in cluster.kubectl(*drain, "--timeout=40s").out
    cluster.until(kinds.PODS, lambda pods: not there(pods), namespace=namespace)
    assert cluster.kubectl("uncordon", spare).out == f"node/{spare} uncordoned\n"
    assert "SchedulingDisabled" not in cluster.kubectl("get", "node", spare, "--no-headers").out
