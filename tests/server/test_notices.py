"""Whoever creates what nothing acts upon is told so."""

import pytest

from wherry.server.notices import notices


@pytest.mark.parametrize(
    ("group", "plural", "spec", "said"),
    [
        ("networking.k8s.io", "ingresses", {}, "Ingress: "),
        ("networking.k8s.io", "networkpolicies", {}, "NetworkPolicy: "),
        ("", "services", {"type": "NodePort"}, "type NodePort"),
        ("", "services", {"type": "LoadBalancer"}, "type LoadBalancer"),
        ("", "services", {"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}, "externalIPs"),
    ],
)
def test_idle_objects_are_announced(group: str, plural: str, spec: dict[str, object], said: str) -> None:
    [text] = notices(group, plural, {"spec": spec})
    assert said in text


@pytest.mark.parametrize(
    ("group", "plural"), [("apps", "deployments"), ("", "services"), ("", "pods"), ("batch.example", "jobs")]
)
def test_served_objects_are_not(group: str, plural: str) -> None:
    assert notices(group, plural, {"spec": {"type": "ClusterIP"}}) == []
