"""The proxy subresources and metrics: names, ports, what is sent on, and what is said when nobody answers."""

from __future__ import annotations

import pytest

from wherry.apiserver.handlers.proxy import Target, _moved, _port_of, _ready, _split_target, split_name
from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.testing import Running


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", Target("http", "web", "")),
        ("web:80", Target("http", "web", "80")),
        ("https:web:web-tls", Target("https", "web", "web-tls")),
        (":web:80", Target("http", "web", "80")),
    ],
)
def test_names(text: str, expected: Target) -> None:
    assert split_name(text) == expected


@pytest.mark.parametrize("text", ["ftp:web:21", "a:b:c:d", ":80"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(Refusal, match="invalid request"):
        split_name(text)


@pytest.mark.parametrize(
    ("target", "namespaced", "expected"),
    [
        ("/api/v1/namespaces/x/services/web:80/proxy/a/b?c=d", True, "/a/b?c=d"),
        ("/api/v1/namespaces/x/services/proxy/proxy/", True, "/"),
        ("/api/v1/namespaces/x/pods/p/proxy?c=d", True, "?c=d"),
        ("/api/v1/namespaces/x/pods/p/proxy//double%2Fslash", True, "//double%2Fslash"),
        ("/api/v1/nodes/n/proxy/healthz", False, "/healthz"),
    ],
)
def test_what_is_sent_on(target: str, namespaced: bool, expected: str) -> None:
    before, tail = _split_target(target, namespaced=namespaced)
    assert tail == expected
    assert before.endswith("/proxy")


def test_redirects_stay_below_the_proxy() -> None:
    assert _moved("/login", "/api/v1/x/proxy") == "/api/v1/x/proxy/login"
    assert _moved("https://elsewhere/", "/api/v1/x/proxy") == "https://elsewhere/"


def test_ports_of_services() -> None:
    two = {"spec": {"ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]}}
    assert (_port_of(two, "http"), _port_of(two, "443"), _port_of(two, ""), _port_of(two, "81")) == (
        "http", "tls", None, None,
    )  # fmt: skip
    assert _port_of({"spec": {"ports": [{"port": 80}]}}, "") == ""


def test_only_ready_pods_are_called() -> None:
    endpoints = [
        {"targetRef": {"kind": "Pod", "name": "a"}, "conditions": {"ready": True}},
        {"targetRef": {"kind": "Pod", "name": "b"}, "conditions": {"ready": False}},
        {"addresses": ["192.0.2.1"]},
    ]
    part = {"ports": [{"name": "http", "port": 8080}], "endpoints": endpoints}
    assert _ready(part, "http") == [("a", 8080)]
    assert _ready(part, "tls") == []


async def test_nobody_to_answer(api: Running) -> None:
    services = "/api/v1/namespaces/default/services"
    missing = await api.ask("GET", f"{services}/none/proxy/")
    assert (missing.status, missing.body["message"]) == (404, 'services "none" not found')
    nobody = await api.ask("GET", f"{services}/kubernetes:https/proxy/")
    assert (nobody.status, nobody.body["message"]) == (
        503, 'no endpoints available for service "kubernetes:https"',
    )  # fmt: skip
    assert (await api.ask("GET", "/api/v1/nodes/none/proxy/healthz")).status == 404


async def test_a_node_that_does_not_answer_is_left_out_with_a_warning(api: Running) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    node["status"] = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}},
    }
    assert (await api.ask("POST", "/api/v1/nodes", node)).status == 201
    listed = await api.ask("GET", "/apis/metrics.k8s.io/v1beta1/nodes")
    assert (listed.body["kind"], listed.body["items"]) == ("NodeMetricsList", [])
    assert "node n is left out" in listed.headers["Warning"]
    one = await api.ask("GET", "/apis/metrics.k8s.io/v1beta1/nodes/n")
    assert (one.status, one.body["message"]) == (404, 'nodes.metrics.k8s.io "n" not found')
    groups = (await api.ask("GET", "/apis")).body["groups"]
    assert "metrics.k8s.io" in [group["name"] for group in groups]
