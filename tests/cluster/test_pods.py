"""What happens to pods: their files and variables, their probes, their end, and why they do not run."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from tests.cluster import visits
from tests.cluster.manifests import deployment, pod, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import EndpointSlice


def ready_addresses(slices: list[EndpointSlice]) -> list[str]:
    return [a for s in slices for e in s.endpoints if e.conditions.ready for a in e.addresses]


def wait_ready(cluster: Sandbox, namespace: str, *names: str) -> None:
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", *(f"pod/{n}" for n in names), "--timeout=30s")


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def test_volumes_and_variables(cluster: Sandbox, namespace: str) -> None:
    volumes = [
        {"name": "config", "configMap": {"name": "settings", "items": [{"key": "colour", "path": "deep/colour"}]}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "about", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    mounts = [{"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in volumes]
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "DOOR", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "door"}}},
        {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "BOTH", "value": "$(COLOUR)-$(DOOR)-$$(X)-$(NONE)"},
        {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "x", "optional": True}}},
    ]
    every = {"configMapRef": {"name": "settings"}, "prefix": "S_"}
    cluster.apply(
        config_map("settings", colour="red", size="big"),
        secret("keys", door="1234"),
        sleeper(
            "one",
            volumes=volumes,
            nodeName="node-2",
            container={"volumeMounts": mounts, "env": env, "envFrom": [every]},
        ),
        namespace=namespace,
    )  # fmt: skip
    wait_ready(cluster, namespace, "one")

    def sh(command: str) -> str:
        return cluster.kubectl("-n", namespace, "exec", "one", "--", "sh", "-c", command).out

    assert sh("cat /v/config/deep/colour /v/keys/door /v/about/labels") == 'red1234app="one"'
    assert sh("stat -L -c %a /v/keys/door") == "400\n"
    assert sh("echo $COLOUR $DOOR $WHERE $BOTH $S_size ${MAYBE-unset}") == (
        "red 1234 node-2 red-1234-$(X)-$(NONE) big unset\n"
    )
    assert sh("echo x > /v/scratch/x && cat /v/scratch/x; hostname; head -c 0 /root/none 2>&1; true").startswith(
        "x\none\n"
    )
    # Files of a changed object follow without a restart; variables stay.
    cluster.apply(config_map("settings", colour="blue", size="big"), namespace=namespace)
    script = "while [ $(cat /v/config/deep/colour) != blue ]; do sleep 0.1; done; echo $COLOUR"
    assert sh(f"timeout 60 sh -c '{script}'") == "red\n"


def test_missing_config_map_is_explained_and_waited_for(cluster: Sandbox, namespace: str) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}]
    cluster.apply(sleeper("one", container={"env": env}), namespace=namespace)
    cluster.kubectl(
        "-n", namespace, "wait", "pod/one", "--timeout=20s",
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError",
    )  # fmt: skip
    waiting = cluster.get("-n", namespace, "pod", "one")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["message"] == 'configmap "late" not found'
    cluster.apply(config_map("late", x="here"), namespace=namespace)
    wait_ready(cluster, namespace, "one")
    assert cluster.kubectl("-n", namespace, "exec", "one", "--", "printenv", "X").out == "here\n"


def test_missing_volume_is_explained(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(sleeper("one", volumes=[{"name": "v", "secret": {"secretName": "late"}}]), namespace=namespace)
    events = cluster.until(
        kinds.EVENTS, lambda found: [e for e in found if e.reason == "FailedMount"], namespace=namespace
    )
    assert any('secret "late" not found' in e.message for e in events)
    cluster.apply(secret("late", a="b"), namespace=namespace)
    wait_ready(cluster, namespace, "one")


def test_unschedulable_pod_is_explained(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(
        sleeper("wrong-node", nodeSelector={"disk": "gold"}),
        sleeper("greedy", container={"resources": {"requests": {"cpu": "1000"}}}),
        namespace=namespace,
    )
    for name, words in (("wrong-node", "didn't match Pod's node affinity/selector"), ("greedy", "Insufficient cpu")):
        cluster.kubectl("-n", namespace, "wait", f"pod/{name}", "--for=condition=PodScheduled=false", "--timeout=20s")
        conditions = cluster.get("-n", namespace, "pod", name)["status"]["conditions"]
        said = next(c for c in conditions if c["type"] == "PodScheduled")
        assert said["reason"] == "Unschedulable"
        assert "nodes are available" in said["message"]
        assert words in said["message"]
        assert words in cluster.kubectl("-n", namespace, "describe", "pod", name).out
    cluster.kubectl("label", "node", "node-2", "disk=gold")
    try:
        wait_ready(cluster, namespace, "wrong-node")
    finally:
        cluster.kubectl("label", "node", "node-2", "disk-")


def test_graceful_end(cluster: Sandbox, namespace: str) -> None:
    """SIGTERM first, time to finish, and no SIGKILL for a program that ends in time."""
    script = "trap 'echo bye; sleep 0.3; echo done; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    cluster.apply(
        pod("polite", "sh", "-c", script, terminationGracePeriodSeconds=20),
        pod("stubborn", "sh", "-c", "trap '' TERM; while true; do sleep 0.05; done", terminationGracePeriodSeconds=1),
        namespace=namespace,
    )
    wait_ready(cluster, namespace, "polite", "stubborn")
    argv = cluster.kubectl_argv("-n", namespace, "logs", "-f", "polite")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=cluster.env) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "up\n"
        began = time.monotonic()
        cluster.kubectl("-n", namespace, "delete", "pod", "polite", "--timeout=30s")
        assert time.monotonic() - began < 15
        assert following.stdout.read() == "bye\ndone\n"
    began = time.monotonic()
    cluster.kubectl("-n", namespace, "delete", "pod", "stubborn", "--timeout=30s")
    assert time.monotonic() - began >= 0.9


def test_crash_loop_backs_off(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(pod("loop", "sh", "-c", "echo no luck; exit 4"), namespace=namespace)
    cluster.kubectl(
        "-n", namespace, "wait", "pod/loop", "--timeout=30s",
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff",
    )  # fmt: skip
    status = cluster.get("-n", namespace, "pod", "loop")["status"]
    container = status["containerStatuses"][0]
    assert status["phase"] == "Running"
    assert container["lastState"]["terminated"]["exitCode"] == 4
    assert "back-off 10s restarting failed container=main" in container["state"]["waiting"]["message"]
    assert container["restartCount"] >= 1
    assert cluster.kubectl("-n", namespace, "logs", "loop").out == "no luck\n"
    row = cluster.kubectl("-n", namespace, "get", "pod", "loop", "--no-headers").out.split()
    assert row[1:3] == ["0/1", "CrashLoopBackOff"]


def test_readiness_decides_about_the_endpoint(cluster: Sandbox, namespace: str) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.apply(sleeper("app", container={"readinessProbe": probe}), service("app", 80, 8080), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "pod/app", "--for=jsonpath={.status.phase}=Running", "--timeout=30s")
    slices = cluster.until(kinds.ENDPOINT_SLICES, lambda s: s and s[0].endpoints, namespace=namespace)
    assert ready_addresses(slices) == []
    cluster.kubectl("-n", namespace, "exec", "app", "--", "touch", "/tmp/ready")
    cluster.until(kinds.ENDPOINT_SLICES, ready_addresses, namespace=namespace)
    cluster.kubectl("-n", namespace, "exec", "app", "--", "rm", "/tmp/ready")
    cluster.until(kinds.ENDPOINT_SLICES, lambda s: not ready_addresses(s), namespace=namespace)
    assert cluster.get("-n", namespace, "pod", "app")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_liveness_restarts(cluster: Sandbox, namespace: str) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/dead"]}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.apply(sleeper("app", container={"livenessProbe": probe}), namespace=namespace)
    wait_ready(cluster, namespace, "app")
    cluster.kubectl("-n", namespace, "exec", "app", "--", "touch", "/tmp/dead")
    waited = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    cluster.kubectl("-n", namespace, "wait", "pod/app", f"--for={waited}", "--timeout=40s")
    assert "Liveness probe failed" in cluster.kubectl("-n", namespace, "describe", "pod", "app").out


def test_init_containers_run_in_order_first(cluster: Sandbox, namespace: str) -> None:
    mount = [{"name": "v", "mountPath": "/v"}]
    inits = [
        {"name": n, "image": "busybox", "command": ["sh", "-c", f"echo {n} >> /v/order"], "volumeMounts": mount}
        for n in ("first", "second")
    ]
    cluster.apply(
        pod("one", "sh", "-c", "cat /v/order; sleep infinity", initContainers=inits,
            volumes=[{"name": "v", "emptyDir": {}}], container={"volumeMounts": mount}),
        namespace=namespace,
    )  # fmt: skip
    wait_ready(cluster, namespace, "one")
    assert cluster.kubectl("-n", namespace, "logs", "one").out == "first\nsecond\n"


def test_host_network_pod_has_the_nodes_address(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(
        pod("host", nodeName="node-1", hostNetwork=True, image="registry.example/host:1",
            container={"ports": [{"containerPort": 18080, "hostPort": 18080}]}),
        sleeper("caller", nodeName="node-2"),
        namespace=namespace,
    )  # fmt: skip
    wait_ready(cluster, namespace, "host", "caller")
    status = cluster.get("-n", namespace, "pod", "host")["status"]
    assert status["podIP"] == status["hostIP"] == "172.30.0.11"
    answer = visits.call(cluster, namespace, "caller", "http://172.30.0.11:18080/")[0]
    assert answer["pod"] == "host"
    assert cluster.kubectl("-n", namespace, "exec", "host", "--", "hostname").out == "node-1\n"


def test_service_account_token_works_from_inside(cluster: Sandbox, namespace: str) -> None:
    program = """
import json, os, ssl, sys, urllib.error, urllib.request
root = "/var/run/secrets/kubernetes.io/serviceaccount/"
base = "https://%s:%s" % (os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
path = "/api/v1/namespaces/%s/%s" % (open(root + "namespace").read(), sys.argv[1])
request = urllib.request.Request(base + path, headers={"Authorization": "Bearer " + open(root + "token").read()})
try:
    answer = urllib.request.urlopen(request, timeout=5, context=ssl.create_default_context(cafile=root + "ca.crt"))
    print(json.load(answer)["kind"])
except urllib.error.HTTPError as error:
    print(error.code, json.load(error)["message"])
"""
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "bot")
    cluster.kubectl("-n", namespace, "create", "role", "reader", "--verb=list", "--resource=pods")
    cluster.kubectl("-n", namespace, "create", "rolebinding", "b", "--role=reader", f"--serviceaccount={namespace}:bot")
    cluster.apply(sleeper("one", image="python:3.12", serviceAccountName="bot"), namespace=namespace)
    wait_ready(cluster, namespace, "one")

    def ask(plural: str) -> str:
        return cluster.kubectl("-n", namespace, "exec", "one", "--", "python3", "-c", program, plural).out

    assert ask("pods") == "PodList\n"
    said = ask("secrets")
    assert said.startswith("403 secrets is forbidden: ")
    assert f'"system:serviceaccount:{namespace}:bot"' in said


def test_addresses_are_used_again_last(cluster: Sandbox, namespace: str) -> None:
    """A pod's address is not handed out again at once: what still holds a stale one reaches nobody else."""
    addresses = []
    for number in range(3):
        cluster.apply(sleeper(f"p{number}", nodeName="node-1"), namespace=namespace)
        wait_ready(cluster, namespace, f"p{number}")
        addresses.append(cluster.get("-n", namespace, "pod", f"p{number}")["status"]["podIP"])
        cluster.kubectl("-n", namespace, "delete", "pod", f"p{number}", "--timeout=30s")
    assert len(set(addresses)) == 3


def test_deleting_while_adding(cluster: Sandbox, namespace: str) -> None:
    """Scaling up and down without waiting ends in what was asked for last, with nothing left over."""
    cluster.apply(deployment("app", 6), service("app", 80, 8080), namespace=namespace)
    for replicas in (0, 8, 2, 9, 1, 5):
        cluster.kubectl("-n", namespace, "scale", "deploy/app", f"--replicas={replicas}")
    cluster.kubectl("-n", namespace, "delete", "pods", "-l", "app=app", "--wait=false")
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=40s")
    slices = cluster.until(kinds.ENDPOINT_SLICES, lambda s: len(ready_addresses(s)) == 5, namespace=namespace)
    pods = cluster.until(kinds.PODS, lambda found: len(found) == 5, namespace=namespace)
    assert sorted(ready_addresses(slices)) == sorted(p.status.pod_ip for p in pods)


def test_deleting_a_service_and_making_it_anew(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(deployment("app", 2), service("app", 80, 8080), sleeper("caller"), namespace=namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
    wait_ready(cluster, namespace, "caller")
    address = cluster.get("-n", namespace, "service", "app")["spec"]["clusterIP"]
    assert visits.call(cluster, namespace, "caller", f"http://{address}/", 3)
    cluster.kubectl("-n", namespace, "delete", "service", "app")
    cluster.until(kinds.ENDPOINT_SLICES, lambda found: not found, namespace=namespace)
    cluster.apply(service("app", 81, 8080, clusterIP=address), namespace=namespace)
    cluster.until(kinds.ENDPOINT_SLICES, lambda s: len(ready_addresses(s)) == 2, namespace=namespace)
    answers = visits.call(cluster, namespace, "caller", f"http://{address}:81/", 3)
    assert json.dumps(answers).count('"pod"') == 3
