"""Whoever creates what nothing acts upon is told so."""

import pytest

from wherry.server.notices import notices


@pytest.mark.parametrize(
    ("group", "plural", "said"),
    [
        ("networking.k8s.io", "ingresses", "Ingress: "),
        ("networking.k8s.io", "networkpolicies", "NetworkPolicy: "),
    ],
)
def test_idle_objects_are_announced(group: str, plural: str, said: str) -> None:
    [text] = notices(group, plural, {"spec": {}})
    assert said in text


@pytest.mark.parametrize(
    ("group", "plural"), [("apps", "deployments"), ("", "services"), ("", "pods"), ("batch.example", "jobs")]
)
def test_served_objects_are_not(group: str, plural: str) -> None:
    assert notices(group, plural, {"spec": {"type": "LoadBalancer"}}) == []
