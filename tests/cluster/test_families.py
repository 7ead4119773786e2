"""Clusters of other shapes: dual stack, IPv6 only, host-gw; side by side with the shared one."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.cluster import visits
from tests.cluster.manifests import deployment, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube.kinds import PODS, SERVICES

DUAL = ["--cluster-cidr", "10.52.0.0/16,fd00:52::/56", "--service-cidr", "10.53.0.0/16,fd00:53::/112"]
V6 = ["--cluster-cidr", "fd00:52::/56", "--service-cidr", "fd00:53::/112"]
SHAPES = {
    "dual": DUAL,
    "ipv6": V6,
    "dual-host-gw": [*DUAL, "--flannel-backend", "host-gw"],
    "host-gw": ["--flannel-backend", "host-gw"],
}


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request: pytest.FixtureRequest, home: Path) -> Iterator[tuple[Sandbox, set[int]]]:
    """A cluster of a shape, with a service in it and a pod on each node to call it; and its address families."""
    sandbox = Sandbox(home, request.param)
    arguments = SHAPES[request.param]
    sandbox.up(*arguments)
    try:
        family = {"ipFamilyPolicy": "PreferDualStack"}
        sandbox.apply(
            deployment("app", 4), service("app", 80, 8080, **family),
            deployment("echo", 4, port=5353, protocol="UDP"), service("echo", 53, 5353, protocol="UDP", **family),
            sleeper("caller-1", nodeName="node-1"), sleeper("caller-2", nodeName="node-2"),
        )  # fmt: skip
        for name in ("app", "echo"):
            sandbox.kubectl("rollout", "status", f"deploy/{name}", "--timeout=30s")
        sandbox.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app in (caller-1,caller-2)", "--timeout=30s")
        yield sandbox, {4, 6} if DUAL[1] in arguments else {6} if V6[1] in arguments else {4}
    finally:
        sandbox.wherry("down")


def versions(addresses: list[str]) -> list[int]:
    return [ip_address(address).version for address in addresses]


def test_pods_and_services_have_an_address_of_each_family(shaped: tuple[Sandbox, set[int]]) -> None:
    sandbox, families = shaped
    for pod in sandbox.get("pods")["items"]:
        assert versions([entry["ip"] for entry in pod["status"]["podIPs"]]) == sorted(families)
        assert pod["status"]["podIP"] == pod["status"]["podIPs"][0]["ip"]
    for name in ("app", "echo"):
        assert versions(sandbox.get("service", name)["spec"]["clusterIPs"]) == sorted(families)
        slices = sandbox.get("endpointslices", "-l", f"kubernetes.io/service-name={name}")["items"]
        assert sorted(each["addressType"] for each in slices) == [f"IPv{f}" for f in sorted(families)]


def test_services_are_reached_across_nodes_over_each_family(shaped: tuple[Sandbox, set[int]]) -> None:
    sandbox, _ = shaped
    homes = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in sandbox.get("pods")["items"]}
    for caller in ("caller-1", "caller-2"):
        for address in sandbox.get("service", "app")["spec"]["clusterIPs"]:
            answers = visits.call(sandbox, "default", caller, visits.url("http", address, 80), 40)
            assert {homes[answer["pod"]] for answer in answers} == {"node-1", "node-2"}
        for address in sandbox.get("service", "echo")["spec"]["clusterIPs"]:
            answers = visits.call(sandbox, "default", caller, visits.url("udp", address, 53), 10)
            assert [answer["text"] for answer in answers] == ["ahoy"] * 10


def test_the_api_is_reached_from_pods(shaped: tuple[Sandbox, set[int]]) -> None:
    sandbox, _ = shaped
    program = (
        "import os, ssl, urllib.request as u; d = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "host, port = os.environ['KUBERNETES_SERVICE_HOST'], os.environ['KUBERNETES_SERVICE_PORT']\n"
        "host = f'[{host}]' if ':' in host else host\n"
        "bearer = {'Authorization': 'Bearer ' + open(d + 'token').read()}\n"
        "r = u.Request(f'https://{host}:{port}/version', headers=bearer)\n"
        "print(u.urlopen(r, timeout=5, context=ssl.create_default_context(cafile=d + 'ca.crt')).status)"
    )
    for caller in ("caller-1", "caller-2"):
        assert sandbox.kubectl("exec", caller, "--", "python3", "-c", program).out == "200\n"


def test_promise_13_load_balancers_answer_over_each_family(shaped: tuple[Sandbox, set[int]]) -> None:
    sandbox, families = shaped
    if families == {4} or "host-gw" in sandbox.name:
        pytest.skip("IPv4 alone is what the load balancers' own cluster has; how pods are reached is all the same")
    shown, hidden = (service(name, port, 8080, type="LoadBalancer", ipFamilyPolicy="PreferDualStack")
                     for name, port in (("shown", 8081), ("hidden", 8082)))  # fmt: skip
    for made in (shown, hidden):
        made["spec"]["selector"] = {"app": "app"}
    # Shown are addresses that no node has: those of the nodes lead through the load balancer's pods then.
    hidden["metadata"]["annotations"] = {"wherry.dev/lb-addresses": "192.0.2.1,2001:db8::1"}
    sandbox.apply(shown, hidden)
    nodes = [one["address"] for node in sandbox.get("nodes")["items"] for one in node["status"]["addresses"]
             if one["type"] == "InternalIP" and ip_address(one["address"]).version in families]  # fmt: skip
    wanted = {
        "shown": set(nodes),
        "hidden": {a for a in ("192.0.2.1", "2001:db8::1") if ip_address(a).version in families},
    }
    sandbox.until(
        SERVICES,
        lambda found: {
            one.name: {each.ip for each in one.status.load_balancer.ingress}
            for one in found if one.spec.type == "LoadBalancer"
        } == wanted,
        namespace="default",
    )  # fmt: skip
    balancing = "svccontroller.k3s.cattle.io/svcname"
    sandbox.until(
        PODS,
        lambda pods: sum(one.ready for one in pods if balancing in one.metadata.labels) == 4,
        namespace="kube-system",
    )
    for caller in ("caller-1", "caller-2"):
        for port in (8081, 8082):
            for address in nodes:
                (answer,) = visits.call(sandbox, "default", caller, visits.url("http", address, port))
                assert answer["pod"].startswith("app-"), (caller, address, port)
