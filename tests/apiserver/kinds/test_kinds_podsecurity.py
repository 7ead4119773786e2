"""Pod security levels: what each forbids, in the words of Kubernetes, and how namespaces ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.apiserver.kinds.admission.podsecurity import enforce, security_warnings, violations
from wherry.apiserver.kinds.model import Refusal

GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(security: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", **({"securityContext": security} if security else {})}], **more}


class Namespaces:
    """The context of a request that looks at a namespace's labels."""

    def __init__(self, **labels: str) -> None:
        self.labels = {f"pod-security.kubernetes.io/{key.replace('_', '-')}": value for key, value in labels.items()}

    def get(self, group: str, plural: str, namespace: str, name: str) -> dict[str, Any]:
        assert (group, plural, name) == ("", "namespaces", "ns")
        return {"metadata": {"name": name, "labels": self.labels}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (spec(), ""),
        (spec({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (
            spec({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
            'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)',
        ),
        (
            {"containers": [{"name": "c", "ports": [{"hostPort": 80}]}, {"name": "d", "ports": [{"hostPort": 81}]}]},
            'hostPort (containers "c", "d" use hostPorts 80, 81)',
        ),
        (
            spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_syncookies"}]}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            spec(securityContext={"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
    ],
)
def test_the_baseline(given: dict[str, Any], expected: str) -> None:
    assert violations("baseline", given) == expected
    assert violations("privileged", given) == ""


def test_the_restricted_level() -> None:
    assert violations("restricted", spec(GOOD)) == ""
    assert violations("restricted", spec()) == (
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")'
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (spec(GOOD | {"runAsNonRoot": False}, securityContext={"runAsNonRoot": True}), "runAsNonRoot != true"),
        (spec(GOOD, securityContext={"runAsUser": 0}), "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            spec(GOOD, volumes=[{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]),
            'restricted volume types (volume "v" uses restricted volume type "hostPath")',
        ),
    ],
)
def test_what_only_the_restricted_level_forbids(given: dict[str, Any], expected: str) -> None:
    assert violations("restricted", given).startswith(expected)


def test_what_the_pod_says_holds_for_containers_that_say_nothing() -> None:
    inherited = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    own = {key: value for key, value in GOOD.items() if key not in inherited}
    assert violations("restricted", spec(own, securityContext=inherited)) == ""


def test_namespaces_choose_level_and_mode() -> None:
    pod = {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec({"privileged": True})}
    enforce(pod, Namespaces(warn="restricted"))
    with pytest.raises(Refusal, match=r'pods "p" is forbidden: violates PodSecurity "baseline:v1\.30": privileged'):
        enforce(pod, Namespaces(enforce="baseline", enforce_version="v1.30"))
    owner = {"metadata": {"name": "d", "namespace": "ns"}, "spec": {"template": {"spec": spec({"privileged": True})}}}
    found = security_warnings("apps", "deployments", owner, Namespaces(warn="baseline"))
    assert found == [
        'would violate PodSecurity "baseline:latest": '
        'privileged (container "c" must not set securityContext.privileged=true)'
    ]
    assert security_warnings("apps", "deployments", owner, Namespaces(enforce="baseline")) == []
