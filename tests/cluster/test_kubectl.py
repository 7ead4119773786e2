"""kubectl's commands on running workloads behave as on any cluster."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cluster.manifests import deployment, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_get_wide_shows_address_and_node(shop: Sandbox) -> None:
    header, *rows = columns(shop.kubectl("-n", "shop", "get", "pods", "-l", "app=visitor", "-o", "wide").out)
    assert header[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert [row[1:4] for row in rows] == [["1/1", "Running", "0"]] * 2
    assert {row[6] for row in rows} == {"node-1", "node-2"}
    assert all(row[5].startswith("10.42.") for row in rows)


def test_get_nodes_wide(cluster: Sandbox) -> None:
    rows = columns(cluster.kubectl("get", "nodes", "-o", "wide", "--no-headers").out)
    assert [(row[0], row[1], row[5]) for row in rows[:2]] == [
        ("node-1", "Ready", "172.30.0.11"),
        ("node-2", "Ready", "172.30.0.12"),
    ]


def test_get_formats(shop: Sandbox) -> None:
    names = shop.kubectl("-n", "shop", "get", "svc", "-o", "name", "--sort-by=.metadata.name").out.split()
    assert names == ["service/api", "service/counter", "service/reports", "service/storefront", "service/web"]
    assert shop.kubectl("-n", "shop", "get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}").out == "http"
    custom = shop.kubectl(
        "-n", "shop", "get", "deploy", "api", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas"
    )
    assert columns(custom.out) == [["N", "R"], ["api", "3"]]
    assert (
        shop.get("-n", "shop", "pods", "-l", "app in (web,api),app!=web")["items"][0]["metadata"]["labels"]["app"]
        == "api"
    )
    fields = shop.get("-A", "pods", "--field-selector", "spec.nodeName=node-1,status.phase=Running")["items"]
    assert {pod["spec"]["nodeName"] for pod in fields} == {"node-1"}


def test_get_watch_prints_each_change(cluster: Sandbox, namespace: str) -> None:
    argv = cluster.kubectl_argv("-n", namespace, "get", "configmaps", "-w", "--no-headers", "--output-watch-events")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=cluster.env) as watching:
        assert watching.stdout is not None
        try:
            assert watching.stdout.readline().split()[:2] == ["ADDED", "kube-root-ca.crt"]
            cluster.kubectl("-n", namespace, "create", "configmap", "colours", "--from-literal=a=red")
            assert watching.stdout.readline().split()[:3] == ["ADDED", "colours", "1"]
            cluster.kubectl("-n", namespace, "patch", "configmap", "colours", "-p", '{"data":{"b":"blue"}}')
            assert watching.stdout.readline().split()[:3] == ["MODIFIED", "colours", "2"]
            cluster.kubectl("-n", namespace, "delete", "configmap", "colours")
            assert watching.stdout.readline().split()[:3] == ["DELETED", "colours", "2"]
        finally:
            watching.kill()


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (
            "pod/reports",
            ["Successfully assigned shop/reports", "Readiness:", "PodReadyToStartContainers", "/reports from"],
        ),
        ("deployment/web", ["2 desired | 2 updated | 2 total | 2 available", "NewReplicaSetAvailable", "Scaled up"]),
        ("service/web", ["TargetPort:", "8080,10.42.", "10.43."]),
        ("daemonset/visitor", ["Desired Number of Nodes Scheduled: 2", "SuccessfulCreate"]),
        ("node/node-1", ["PodCIDR:", "10.42.", "Non-terminated Pods:", "kubelet is posting ready status"]),
        ("configmap/api-config", ["catalogue.json", "currency"]),
        ("secret/api-credentials", ["password:  11 bytes"]),
        ("namespace/shop", ["Status:", "Active"]),
        ("endpointslices", ["kubernetes.io/service-name=web", "TargetRef"]),
    ],
)
def test_describe(shop: Sandbox, thing: str, said: list[str]) -> None:
    text = shop.kubectl("-n", "shop", "describe", *thing.split()).out
    assert [words for words in said if words not in text] == []


def test_scale_and_rollout(cluster: Sandbox, namespace: str) -> None:
    def k(*arguments: str, code: int = 0) -> str:
        return cluster.kubectl("-n", namespace, *arguments, code=code).out

    assert (
        k("create", "deployment", "web", "--image=web:1", "--port=80", "--replicas=2")
        == "deployment.apps/web created\n"
    )
    assert 'deployment "web" successfully rolled out' in k("rollout", "status", "deploy/web", "--timeout=30s")
    assert k("scale", "deploy/web", "--replicas=3") == "deployment.apps/web scaled\n"
    k("wait", "--for=jsonpath={.status.readyReplicas}=3", "deploy/web", "--timeout=30s")
    k("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
    k("set", "image", "deploy/web", "web=web:2")
    k("rollout", "status", "deploy/web", "--timeout=30s")

    assert [row[0] for row in columns(k("rollout", "history", "deploy/web"))[2:] if row] == ["1", "2"]
    k("rollout", "undo", "deploy/web")
    k("rollout", "status", "deploy/web", "--timeout=30s")
    assert k("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "web:1"
    k("rollout", "restart", "deploy/web")
    k("rollout", "status", "deploy/web", "--timeout=30s")
    sets = cluster.get("-n", namespace, "rs")["items"]
    assert sorted(each["spec"]["replicas"] for each in sets) == [0, 0, 3]
    k("rollout", "pause", "deploy/web")
    k("scale", "deploy/web", "--replicas=1", "--current-replicas=7", code=1)
    k("delete", "deploy", "web", "--timeout=30s")
    k("wait", "--for=delete", "pods", "-l", "app=web", "--timeout=40s")


def test_change_an_object_in_every_way(cluster: Sandbox, namespace: str) -> None:
    def k(*arguments: str, stdin: str = "", code: int = 0) -> str:
        return cluster.kubectl("-n", namespace, *arguments, stdin=stdin, code=code).out

    cluster.apply(deployment("app", 1), namespace=namespace)
    assert k("label", "deploy", "app", "tier=back") == "deployment.apps/app labeled\n"
    assert "already has a value" in cluster.kubectl("-n", namespace, "label", "deploy", "app", "tier=x", code=1).err
    k("label", "deploy", "app", "tier=front", "--overwrite")
    k("annotate", "deploy", "app", "note=hello")
    k(
        "patch",
        "deploy",
        "app",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"1"}]}]}}}}',
    )
    k("patch", "deploy", "app", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":2}]')
    k("patch", "deploy", "app", "--type=merge", "-p", '{"metadata":{"annotations":{"note":null}}}')
    live = cluster.get("-n", namespace, "deploy", "app")
    assert live["metadata"]["labels"]["tier"] == "front"
    assert "note" not in live["metadata"]["annotations"]
    container = live["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["env"]) == ("registry.example/app:1", [{"name": "A", "value": "1"}])
    assert live["spec"]["replicas"] == 2

    cluster.env["KUBE_EDITOR"] = "sed -i 's/replicas: 2/replicas: 1/'"
    try:
        assert k("edit", "deploy", "app") == "deployment.apps/app edited\n"
    finally:
        del cluster.env["KUBE_EDITOR"]
    stale = json.dumps(live)
    assert (
        "the object has been modified"
        in cluster.kubectl("-n", namespace, "replace", "-f", "-", stdin=stale, code=1).err
    )
    fresh = cluster.get("-n", namespace, "deploy", "app")
    assert fresh["spec"]["replicas"] == 1
    fresh["spec"]["replicas"] = 3
    # The status may move meanwhile; without a version the write is unconditional.
    del fresh["metadata"]["resourceVersion"]
    assert k("replace", "-f", "-", stdin=json.dumps(fresh)) == "deployment.apps/app replaced\n"
    assert cluster.get("-n", namespace, "deploy", "app")["spec"]["replicas"] == 3
    k("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(deployment("app", 2)))
    assert cluster.get("-n", namespace, "deploy", "app")["spec"]["replicas"] == 2


def test_create_and_expose(cluster: Sandbox, namespace: str) -> None:
    def k(*arguments: str, code: int = 0) -> str:
        return cluster.kubectl("-n", namespace, *arguments, code=code).out

    k("create", "configmap", "settings", "--from-literal=colour=red")
    k("create", "secret", "generic", "keys", "--from-literal=door=1234")
    k("create", "serviceaccount", "bot")
    k("create", "deployment", "web", "--image=web:1", "--port=8080")
    k("expose", "deployment", "web", "--port=80", "--target-port=8080")
    assert cluster.get("-n", namespace, "secret", "keys")["data"] == {"door": "MTIzNA=="}
    assert k("create", "token", "bot").count(".") == 2
    address = cluster.get("-n", namespace, "service", "web")["spec"]["clusterIP"]
    assert address.startswith("10.43.")
    cluster.until(
        kinds.ENDPOINT_SLICES,
        lambda found: [e for s in found for e in s.endpoints if e.conditions.ready and s.ports[0].port == 8080],
        namespace=namespace,
    )
    said = cluster.kubectl("-n", namespace, "create", "configmap", "settings", code=1).err
    assert 'configmaps "settings" already exists' in said
    assert k("delete", "cm/settings", "secret/keys").count("deleted") == 2


def test_run_a_program_to_its_end(cluster: Sandbox, namespace: str) -> None:
    argv = ["run", "one", "--image=busybox:1.37", "--restart=Never", "--", "sh", "-c", "echo hello; exit 3"]
    cluster.kubectl("-n", namespace, *argv)
    cluster.kubectl("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/one", "--timeout=20s")
    assert cluster.kubectl("-n", namespace, "logs", "one").out == "hello\n"
    ended = cluster.get("-n", namespace, "pod", "one")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")


def test_run_attached_and_removed(cluster: Sandbox, namespace: str) -> None:
    argv = ["run", "once", "-i", "--rm", "--quiet", "--image=busybox:1.37", "--restart=Never", "--", "sh", "-c"]
    said = cluster.kubectl("-n", namespace, *argv, "cat; echo bye", stdin="ahoy\n")
    assert said.out.startswith("ahoy\nbye\n")
    assert cluster.get("-n", namespace, "pods")["items"] == []


def test_api_resources_and_explain(cluster: Sandbox) -> None:
    found = {row[0] for row in columns(cluster.kubectl("api-resources", "--no-headers").out)}
    assert {"pods", "services", "deployments", "daemonsets", "endpointslices", "customresourcedefinitions"} <= found
    assert {"v1", "apps/v1", "discovery.k8s.io/v1"} <= set(cluster.kubectl("api-versions").out.split())
    assert "FIELD: image <string>" in cluster.kubectl("explain", "pod.spec.containers.image").out
    assert "does not exist" in cluster.kubectl("explain", "pod.spec.nonsense", code=1).err


def test_who_may_do_what(cluster: Sandbox, namespace: str) -> None:
    def can(*arguments: str, code: int = 0) -> str:
        return cluster.kubectl("-n", namespace, "auth", "can-i", *arguments, code=code).out.strip()

    bot = f"--as=system:serviceaccount:{namespace}:bot"
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "bot")
    cluster.kubectl("-n", namespace, "create", "role", "reader", "--verb=get,list", "--resource=pods")
    cluster.kubectl(
        "-n", namespace, "create", "rolebinding", "bot", "--role=reader", f"--serviceaccount={namespace}:bot"
    )
    assert can("create", "deployments") == "yes"
    assert can("list", "pods", bot) == "yes"
    assert can("delete", "pods", bot, code=1) == "no"
    assert can("list", "pods", bot, "-A", code=1) == "no"
    assert ["pods", "[]", "[]", "[get", "list]"] in columns(can("--list", bot))
    said = cluster.kubectl("-n", namespace, "get", "secrets", bot, code=1).err
    assert f'User "system:serviceaccount:{namespace}:bot" cannot list resource "secrets"' in said
    assert "system:masters" in cluster.kubectl("auth", "whoami").out


def test_small_questions(cluster: Sandbox) -> None:
    assert "Server Version: v1." in cluster.kubectl("version").out
    assert "is running at https://127.0.0.1:" in cluster.kubectl("cluster-info").out
    assert cluster.kubectl("get", "--raw", "/readyz").out == "ok"
    assert "NotFound" in cluster.kubectl("get", "pod", "nobody", code=1).err
    assert "doesn't have a resource type" in cluster.kubectl("get", "nonsense", code=1).err


def test_cordon_and_drain_keep_new_pods_away(cluster: Sandbox, namespace: str) -> None:
    cluster.kubectl("cordon", "node-1")
    try:
        cluster.apply(deployment("app", 3), namespace=namespace)
        cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
        homes = {pod["spec"]["nodeName"] for pod in cluster.get("-n", namespace, "pods")["items"]}
        assert "node-1" not in homes
        row = columns(cluster.kubectl("get", "node", "node-1", "--no-headers").out)[0]
        assert row[1] == "Ready,SchedulingDisabled"
    finally:
        cluster.kubectl("uncordon", "node-1")


def test_drain_evicts(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(sleeper("alone", nodeName="node-1"), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/alone", "--timeout=30s")
    try:
        argv = ["drain", "node-1", "--pod-selector=app=alone", "--force", "--ignore-daemonsets", "--timeout=40s"]
        assert "evicted" in cluster.kubectl(*argv).out
    finally:
        cluster.kubectl("uncordon", "node-1")
    assert cluster.get("-n", namespace, "pods")["items"] == []


def test_what_nothing_acts_upon_is_said_at_creation(cluster: Sandbox, namespace: str) -> None:
    said = cluster.kubectl("-n", namespace, "create", "ingress", "i", "--rule=example.com/*=web:80")
    assert "Warning: Ingress" in said.err
    assert cluster.kubectl("-n", namespace, "create", "service", "nodeport", "n", "--tcp=80").err == ""
