"""What a node says to pods that were bound to it by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wherry.agent.admission import NodeAdmission, admit
from wherry.kube.objects import Node, Pod
from wherry.pods.admission import Rejection, admit_all, judge

NODE = msgspec.convert(
    {
        "metadata": {"name": "one", "labels": {"disk": "ssd"}},
        "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}, {"key": "full", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
    },
    Node,
)
TOLERANT = [{"key": "gone", "operator": "Exists"}]
FEW_PORTS = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"


def pod(uid: str = "p", *, cpu: str = "", port: int = 0, **spec: Any) -> Pod:
    container: dict[str, Any] = {"name": "c"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    if port:
        container["ports"] = [{"containerPort": 80, "hostPort": port}]
    made = {"nodeName": "one", "containers": [container], "tolerations": TOLERANT, **spec}
    return msgspec.convert({"metadata": {"name": uid, "namespace": "n", "uid": uid}, "spec": made}, Pod)


@pytest.mark.parametrize(
    ("subject", "others", "expected"),
    [
        (pod(cpu="2"), (), None),
        (
            pod(cpu="1500m"),
            (pod("a", cpu="600m"),),
            Rejection(
                "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000"
            ),
        ),
        (
            pod(),
            (pod("a"), pod("b"), pod("c")),
            Rejection("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"),
        ),
        (
            pod(nodeSelector={"disk": "tape"}),
            (),
            Rejection(
                "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            ),
        ),
        (pod(port=80), (pod("a", port=81),), None),
        (pod(port=80), (pod("a", port=80),), Rejection("NodePorts", FEW_PORTS)),
        (
            pod(tolerations=[]),
            (),
            Rejection(
                "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
            ),
        ),
    ],
)  # fmt: skip
def test_what_a_node_says_to_a_pod(subject: Pod, others: tuple[Pod, ...], expected: Rejection | None) -> None:
    assert admit(subject, NODE, others) == expected


def test_a_node_that_is_not_known_yet_takes_every_pod() -> None:
    assert NodeAdmission(lambda: None)(pod(nodeSelector={"disk": "tape"}), ()) is None
    refused = NodeAdmission(lambda: NODE)(pod(nodeSelector={"disk": "tape"}), ())
    assert refused is not None
    assert refused.reason == "NodeAffinity"


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        ("net.ipv4.tcp_syncookies", {}, None),
        ("net/ipv4/tcp_syncookies", {}, None),
        ("kernel.shm_rmid_forced", {}, None),
        ("net.ipv4.ip_forward", {}, None),
        ("net.ipv6.conf.all.forwarding", {}, None),
        (
            "net.ipv6.conf.default.forwarding",
            {},
            'forbidden sysctl: "net.ipv6.conf.default.forwarding" not allowlisted',
        ),
        ("kernel.msgmax", {}, 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        ("net.core.somaxconn", {}, 'forbidden sysctl: "net.core.somaxconn" not allowlisted'),
        (
            "net.ipv4.tcp_syncookies",
            {"hostNetwork": True},
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
        (
            "kernel.shm_rmid_forced",
            {"hostIPC": True},
            'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
        ),
    ],
)
def test_kernel_parameters(name: str, spec: dict[str, Any], expected: str | None) -> None:
    subject = pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)
    assert judge(subject, (), admit_all) == (Rejection("SysctlForbidden", expected) if expected else None)
