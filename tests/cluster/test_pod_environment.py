"""What a pod finds around it: volumes, names, users, kernel parameters; and what it is told when it cannot have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.manifests import pod, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube.kinds import EVENTS, PODS


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def sh(cluster: Sandbox, namespace: str, name: str, script: str, code: int | None = 0) -> str:
    return cluster.kubectl("-n", namespace, "exec", name, "--", "sh", "-c", script, code=code).out


def test_files_names_and_parameters(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(
        config("settings", colour="green"),
        sleeper(
            "app", hostname="db", subdomain="sub", setHostnameAsFQDN=True,
            hostAliases=[{"ip": "10.9.9.9", "hostnames": ["nine.example"]}],
            dnsConfig={"searches": ["x.example"], "options": [{"name": "ndots", "value": "2"}]},
            securityContext={"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "40000 40100"}]},
            container={
                "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "all", "mountPath": "/all"}, {"name": "all", "mountPath": "/one", "subPath": "colour"},
                    {"name": "memory", "mountPath": "/memory"},
                ],
            },
            volumes=[
                {"name": "all", "projected": {"defaultMode": 0o440, "sources": [
                    {"configMap": {"name": "settings"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            ],
        ),
        namespace=namespace,
    )  # fmt: skip
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/app", "--timeout=30s")
    full = f"db.sub.{namespace}.svc.cluster.local"
    found = sh(cluster, namespace, "app", "hostname; cat /all/name /one; cat /etc/hosts /etc/resolv.conf").split()
    assert found[:2] == [full, "appgreen#"]
    assert {"nine.example", "x.example", "ndots:2"} <= set(found)
    said = sh(cluster, namespace, "app", "cat /proc/sys/net/ipv4/ip_local_port_range; grep CapEff /proc/self/status")
    assert said.split() == ["40000", "40100", "CapEff:", "0000000000000000"]
    assert sh(cluster, namespace, "app", "touch /tmp/x || touch /all/x || echo refused") == "refused\n"
    assert (
        sh(cluster, namespace, "app", "head -c 2097152 /dev/zero > /memory/big || stat -c %s /memory/big")
        == "1048576\n"
    )
    # The file of a volume follows its source, the one below subPath stays.
    follow = "until [ $(cat /all/colour) = blue ]; do sleep 0.05; done; cat /all/colour /one"
    cluster.apply(config("settings", colour="blue"), namespace=namespace)
    assert sh(cluster, namespace, "app", follow) == "bluegreen"


def test_a_user_is_what_the_manifest_says(cluster: Sandbox, namespace: str) -> None:
    root = {"securityContext": {"runAsNonRoot": True}}
    cluster.apply(
        sleeper("user", securityContext={"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000},
                container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
                volumes=[{"name": "data", "emptyDir": {}}]),
        sleeper("root", container=root),
        pod("nobody", image="registry.example/x:1", container=root),
        namespace=namespace,
    )  # fmt: skip
    wait = ("wait", "--for=condition=Ready", "--timeout=30s", "pod/user", "pod/nobody")
    cluster.kubectl("-n", namespace, *wait)
    assert sh(cluster, namespace, "user", "id -u; id -g; touch /data/x && echo written") == "1000\n3000\nwritten\n"
    status = cluster.get("-n", namespace, "pod", "root")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert status["reason"] == "CreateContainerConfigError"
    assert status["message"].startswith("container has runAsNonRoot and image will run as root (pod: ")


def test_what_cannot_be_had_is_said_in_kubernetes_words(cluster: Sandbox, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    volumes: dict[str, tuple[dict[str, Any], str]] = {
        "dir": (
            {"hostPath": {"path": f"{tmp_path}/file", "type": "Directory"}},
            f"hostPath type check failed: {tmp_path}/file is not a directory",
        ),
        "key": (
            {"configMap": {"name": "settings", "items": [{"key": "none", "path": "x"}]}},
            "configmap references non-existent config key: none",
        ),
        "secret": ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        "csi": (
            {"csi": {"driver": "foo.example"}},
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: "
            "driver name foo.example not found in the list of registered CSI drivers",
        ),
    }
    cluster.apply(
        config("settings", colour="green"),
        *(pod(name, nodeName="node-1", volumes=[{"name": "v", **source}]) for name, (source, _) in volumes.items()),
        pod("sysctl", nodeName="node-1", securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        pod("label", nodeName="node-1", nodeSelector={"disk": "tape"}),
        namespace=namespace,
    )
    expected = {f'MountVolume.SetUp failed for volume "v" : {text}' for _, text in volumes.values()}
    expected |= {
        'forbidden sysctl: "kernel.msgmax" not allowlisted',
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
    }
    cluster.until(EVENTS, lambda events: expected <= {event.message for event in events}, namespace=namespace)
    reasons = {"sysctl": "SysctlForbidden", "label": "NodeAffinity"}
    cluster.until(
        PODS, lambda pods: {p.name: p.status.reason for p in pods if p.finished} == reasons, namespace=namespace
    )
    shown = {p["metadata"]["name"]: p["status"] for p in cluster.get("-n", namespace, "pods")["items"]}
    for name in volumes:
        assert shown[name]["phase"] == "Pending"
        assert shown[name]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
