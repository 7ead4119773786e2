"""Where pods go in a real sandbox, and what kubectl says of those that go nowhere."""

from __future__ import annotations

from tests.cluster.manifests import sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Pod


def by_name(pods: list[Pod]) -> dict[str, Pod]:
    return {pod.name: pod for pod in pods}


def test_gates_constraints_and_priorities(cluster: Sandbox, namespace: str) -> None:
    near = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"lonely": "yes"}}}
            ]
        }
    }
    lonely = []
    for number in range(3):
        pod = sleeper(f"lonely-{number}", affinity=near)
        pod["metadata"]["labels"] = {"lonely": "yes"}
        lonely.append(pod)
    cluster.apply(
        sleeper("gated", schedulingGates=[{"name": "example.com/wait"}]),
        sleeper("picky", nodeSelector={"no": "such"}),
        sleeper("claims", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "missing"}}]),
        sleeper("foreign", schedulerName="another"),
        *lonely,
        namespace=namespace,
    )

    def settled(pods: list[Pod]) -> bool:
        found = by_name(pods)
        told = [
            name for name, pod in found.items() if (c := pod.status.condition("PodScheduled")) and c.status == "False"
        ]
        placed = [pod for name, pod in found.items() if name.startswith("lonely") and pod.spec.node_name]
        return {"gated", "picky", "claims"} <= {*told} and len(placed) == 2 and len(told) == 4

    pods = by_name(cluster.until(kinds.PODS, settled, namespace=namespace))
    assert len({pod.spec.node_name for name, pod in pods.items() if name.startswith("lonely")} - {""}) == 2
    assert pods["foreign"].status.conditions == ()
    said = {name: pod.status.condition("PodScheduled") for name, pod in pods.items()}
    assert said["picky"].message == (
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. "
        "no new claims to deallocate, preemption: 0/2 nodes are available: "
        "2 Preemption is not helpful for scheduling."
    )
    assert said["claims"].message == '0/2 nodes are available: persistentvolumeclaim "missing" not found. not found'
    assert said["gated"].reason == "SchedulingGated"
    listed = cluster.kubectl("-n", namespace, "get", "pod", "gated", "--no-headers").out.split()
    assert listed[:3] == ["gated", "0/1", "SchedulingGated"]
    gates = '[{"op":"remove","path":"/spec/schedulingGates"}]'
    cluster.kubectl("-n", namespace, "patch", "pod", "gated", "--type=json", "-p", gates)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=PodScheduled", "pod/gated", "--timeout=20s")
    refused = cluster.kubectl(
        "-n", namespace, "run", "x", "--image=x", '--overrides={"spec":{"priorityClassName":"nope"}}', code=1
    )
    assert "no PriorityClass with name nope was found" in refused.err
    assert "system-node-critical" in cluster.kubectl("get", "priorityclasses", "-o", "name").out


def test_a_taint_keeps_pods_away_until_it_goes(cluster: Sandbox, namespace: str) -> None:
    key = f"example.com/{namespace[:20]}".rstrip("-")
    only = {"kubernetes.io/hostname": "node-1"}
    cluster.kubectl("taint", "node", "node-1", f"{key}=busy:NoSchedule")
    try:
        tolerant = [{"key": key, "operator": "Equal", "value": "busy", "effect": "NoSchedule"}]
        cluster.apply(
            sleeper("kept-out", nodeSelector=only),
            sleeper("let-in", nodeSelector=only, tolerations=tolerant),
            namespace=namespace,
        )
        cluster.kubectl("-n", namespace, "wait", "--for=condition=PodScheduled", "pod/let-in", "--timeout=20s")
        [pod] = [
            pod
            for pod in cluster.until(
                kinds.PODS,
                lambda pods: by_name(pods)["kept-out"].status.condition("PodScheduled"),
                namespace=namespace,
            )
            if pod.name == "kept-out"
        ]
        assert "1 node(s) had untolerated taint(s)" in pod.status.condition("PodScheduled").message
    finally:
        cluster.kubectl("taint", "node", "node-1", f"{key}-")
    cluster.kubectl("-n", namespace, "wait", "--for=condition=PodScheduled", "pod/kept-out", "--timeout=20s")
