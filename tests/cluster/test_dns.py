"""Cluster DNS as programs use it: the machine's real resolver libraries in pods, against the example shop."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.cluster.manifests import service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.dns import names, records
from wherry.dns.message import decode, encode
from wherry.kube import kinds
from wherry.kube.objects import Pod

UPSTREAM = "127.53.0.9"
PIER = names.from_text("pier.harbour.test.")


def visitors(shop: Sandbox) -> dict[str, str]:
    """A pod to ask from on each node: its name by the node's."""
    found = shop.get("-n", "shop", "pods", "-l", "app=visitor")["items"]
    return {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in found}


def run(shop: Sandbox, pod: str, *argv: str, namespace: str = "shop", code: int | None = 0) -> str:
    return shop.kubectl("-n", namespace, "exec", pod, "--", *argv, code=code).out.strip()


def address(shop: Sandbox, namespace: str, name: str) -> str:
    found: str = shop.get("-n", namespace, "service", name)["spec"]["clusterIP"]
    return found


def until(shop: Sandbox, pod: str, command: str, wanted: str, *, namespace: str = "shop") -> None:
    """Run a shell command in a pod over and over until its output is what it should be."""
    loop = f'until [ "$({command})" = {shlex.quote(wanted)} ]; do sleep 0.1; done'
    shop.kubectl("-n", namespace, "exec", pod, "--", "timeout", "30", "sh", "-c", loop)


PYTHON = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)[0][4][0])"


def test_promise_1_cluster_dns_is_there_when_a_server_has_started(cluster: Sandbox) -> None:
    cluster.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    found = cluster.get("-n", "kube-system", "service", "kube-dns")
    assert found["spec"]["clusterIP"] == "10.43.0.10"
    assert (cluster.directory / "server" / "manifests" / "coredns.yaml").exists()


@pytest.mark.parametrize(
    ("name", "namespace", "service"),
    [
        ("web", "shop", "web"),
        ("cache.shop-data", "shop-data", "cache"),
        ("reports.shop.svc", "shop", "reports"),
        ("kubernetes.default.svc.cluster.local.", "default", "kubernetes"),
    ],
)
def test_services_are_found_by_every_resolver_library(shop: Sandbox, name: str, namespace: str, service: str) -> None:
    wanted = address(shop, namespace, service)
    for pod in visitors(shop).values():
        assert run(shop, pod, "getent", "ahostsv4", name).split()[0] == wanted
        assert run(shop, pod, "python3", "-c", PYTHON, name) == wanted
        if shutil.which("dig"):
            assert run(shop, pod, "dig", "+search", "+short", name) == wanted


def test_a_name_that_is_not_there_and_one_without_that_family_are_told_apart(shop: Sandbox) -> None:
    pod = next(iter(visitors(shop).values()))
    program = (
        "import socket, sys\n"
        "for name, family in ('nope', socket.AF_INET), ('web', socket.AF_INET6):\n"
        "    try:\n"
        "        socket.getaddrinfo(name, 80, family)\n"
        "    except socket.gaierror as error:\n"
        "        print(error.errno)\n"
    )
    said = run(shop, pod, "python3", "-c", program).split()
    assert said == [str(socket.EAI_NONAME), str(socket.EAI_NODATA)]


def test_addresses_lead_back_to_names(shop: Sandbox) -> None:
    pod = next(iter(visitors(shop).values()))
    web = address(shop, "shop", "web")
    assert run(shop, pod, "getent", "hosts", web).split()[1] == "web.shop.svc.cluster.local"


def test_nodes_are_found_by_their_names(shop: Sandbox) -> None:
    for here, pod in visitors(shop).items():
        for node in shop.get("nodes")["items"]:
            internal = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
            # Unlike getent, which leaves out families that the pod has no address of.
            program = "import socket, sys; print(*{x[4][0] for x in socket.getaddrinfo(sys.argv[1], 80)})"
            assert set(run(shop, pod, "python3", "-c", program, node["metadata"]["name"]).split()) == set(internal), (
                here
            )


def test_headless_external_and_named_ports(shop: Sandbox, namespace: str) -> None:
    headless = service("web", 80, 8080, clusterIP="None")
    headless["spec"]["ports"][0]["name"] = "http"
    alias = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias"},
        "spec": {"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"},
    }  # fmt: skip
    container: dict[str, Any] = {"name": "main", "image": "busybox:1.37", "command": ["sleep", "infinity"]}
    container["ports"] = [{"containerPort": 8080}]
    pods = [sleeper(f"web-{n}", hostname=f"web-{n}", subdomain="web", containers=[container]) for n in (1, 2)]
    for pod in pods:
        pod["metadata"]["labels"]["app"] = "web"
    shop.apply(headless, alias, *pods, sleeper("client"), namespace=namespace)
    shop.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    found: list[Pod] = shop.until(kinds.PODS, lambda seen: len(seen) == 3, namespace=namespace)
    ips = {pod.name: pod.status.pod_ip for pod in found if pod.name != "client"}
    until(shop, "client", "getent ahostsv4 web | cut -d' ' -f1 | sort -u | wc -l", "2", namespace=namespace)
    hosts = run(shop, "client", "getent", "ahostsv4", "web", namespace=namespace)
    assert {line.split()[0] for line in hosts.splitlines()} == set(ips.values())
    assert run(shop, "client", "getent", "ahostsv4", "web-1.web", namespace=namespace).split()[0] == ips["web-1"]
    assert run(shop, "web-1", "hostname", "-f", namespace=namespace) == f"web-1.web.{namespace}.svc.cluster.local"
    wanted = address(shop, "shop", "web")
    assert run(shop, "client", "getent", "ahostsv4", "alias", namespace=namespace).split()[0] == wanted
    if shutil.which("dig"):
        name = f"_http._tcp.web.{namespace}.svc.cluster.local"
        targets = run(shop, "client", "dig", "+short", name, "SRV", namespace=namespace).splitlines()
        assert sorted(target.split()[-1] for target in targets) == [
            f"web-{number}.web.{namespace}.svc.cluster.local." for number in (1, 2)
        ]


def test_names_can_be_queried_and_explained(shop: Sandbox) -> None:
    pod = next(iter(visitors(shop).values()))
    wanted = address(shop, "shop-data", "cache")
    said = shop.wherry("dns query", "cache.shop-data", "--from", f"shop/{pod}").out.splitlines()
    assert [line.split()[:2] for line in said[1:]] == [
        ["cache.shop-data.shop.svc.cluster.local.", "NXDOMAIN"],
        ["cache.shop-data.svc.cluster.local.", "NOERROR"],
        ["cache.shop-data.svc.cluster.local.", "5"],
    ]
    assert said[-1].endswith(wanted)
    assert "NXDOMAIN" in shop.wherry("dns query", "nope.shop.svc.cluster.local.", code=1).out
    said = shop.wherry("dns explain", "cache.shop-data", "--from", f"shop/{pod}").out.splitlines()
    assert any("kubernetes: answered NXDOMAIN" in line for line in said)
    assert any("kubernetes: answered NOERROR" in line for line in said)
    assert any(line.endswith("Service shop-data/cache") for line in said)
    assert wanted in said[-1]
    assert "there is no pod" in shop.wherry("dns query", "x", "--from", "shop/nobody", code=1).err


def custom(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns-custom", "namespace": "kube-system"},
        "data": {name.replace("_", "."): text for name, text in data.items()},
    }  # fmt: skip


@pytest.mark.skipif(not shutil.which("dig"), reason="asks two servers by dig (package bind9-dnsutils)")
def test_custom_configuration_takes_effect_while_dns_runs(shop: Sandbox) -> None:
    pod = next(iter(visitors(shop).values()))
    server = shop.get("-n", "kube-system", "pods", "-l", "k8s-app=kube-dns")["items"][0]["status"]["podIP"]
    before = shop.get("-n", "kube-system", "pods", "-l", "k8s-app=kube-dns")["items"][0]["status"]["containerStatuses"]
    block = "harbour.test:53 {\n hosts {\n  192.0.2.7 pier.harbour.test\n }\n}\n"
    rewrite = "rewrite name stall.test web.shop.svc.cluster.local\n"
    try:
        shop.apply(custom(harbour_server=block, stall_override=rewrite), namespace="kube-system")
        for asked in (server, "10.43.0.10"):
            until(shop, pod, f"dig +short @{asked} pier.harbour.test", "192.0.2.7")
            until(shop, pod, f"dig +short @{asked} stall.test", address(shop, "shop", "web"))
        # One bad file: what was in force stays, and the cluster is told.
        shop.apply(
            custom(harbour_server="harbour.test:53 {\n nonsense\n}\n", stall_override=rewrite), namespace="kube-system"
        )
        shop.until(
            kinds.EVENTS,
            lambda events: any(
                event.involved_object.name == "coredns-custom" and "nonsense" in event.message for event in events
            ),
            namespace="kube-system",
        )
        for asked in (server, "10.43.0.10"):
            assert run(shop, pod, "dig", "+short", f"@{asked}", "pier.harbour.test") == "192.0.2.7"
    finally:
        shop.kubectl("-n", "kube-system", "delete", "configmap", "coredns-custom", "--ignore-not-found")
    for asked in (server, "10.43.0.10"):
        until(shop, pod, f"dig +noall +comments @{asked} stall.test | grep -c NOERROR", "0")
    after = shop.get("-n", "kube-system", "pods", "-l", "k8s-app=kube-dns")["items"][0]["status"]["containerStatuses"]
    assert after[0]["restartCount"] == before[0]["restartCount"]


MANY = """
import json, socket, sys, time
failed, end = [], time.monotonic() + float(sys.argv[1])
count = 0
while time.monotonic() < end:
    count += 1
    try:
        socket.getaddrinfo("web", 80, socket.AF_INET)
    except OSError as error:
        failed.append(str(error))
print(json.dumps({"count": count, "failed": failed}))
"""


def test_names_are_found_without_any_dns_pod(shop: Sandbox) -> None:
    deployment = ("-n", "kube-system", "scale", "deployment/coredns")
    try:
        shop.kubectl(*deployment, "--replicas=0")
        shop.until(kinds.PODS, lambda pods: not pods_of_dns(pods), namespace="kube-system")
        for pod in visitors(shop).values():
            assert json.loads(run(shop, pod, "python3", "-c", MANY, "0.3"))["failed"] == []
    finally:
        shop.kubectl(*deployment, "--replicas=1")
        shop.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")


def pods_of_dns(pods: list[Pod]) -> list[Pod]:
    return [pod for pod in pods if pod.metadata.labels.get("k8s-app") == "kube-dns"]


def test_no_query_is_lost_when_a_nodes_dns_dies(shop: Sandbox) -> None:
    """From its pods: the kernel sends queries on to a DNS pod from the moment nobody listens on the node."""
    pod = visitors(shop)["node-1"]
    listed = ("node exec", "node-1", "--", "nft", "list", "set", "inet", "wherry-dns", "answering-4")
    assert "10.43.0.10" in shop.wherry(*listed).out
    argv = shop.kubectl_argv("-n", "shop", "exec", pod, "--", "python3", "-c", MANY, "1")
    with subprocess.Popen(argv, env=shop.env, stdout=subprocess.PIPE, text=True) as asking:
        os.kill(shop.pid("dns-node-1"), signal.SIGKILL)
        said = json.loads(asking.communicate(timeout=60)[0])
    assert said["failed"] == []
    assert said["count"] > 20
    wait = f"until {shlex.join(shop.wherry_argv(*listed))} | grep -q 10.43.0.10; do sleep 0.1; done"
    subprocess.run(["sh", "-c", wait], env=shop.env, check=True, timeout=60)


@pytest.fixture(scope="module")
def through_service(home: Path) -> Iterator[Sandbox]:
    """One node of both families whose queries all go to the DNS pod.

    The host's resolver is an address of loopback, and the cluster's domain is not the usual one.
    """
    sandbox = Sandbox(home, "no-node-dns")
    conf = home / "resolv.conf"
    conf.write_text(f"search harbour.test\nnameserver {UPSTREAM}\n")
    ranges = ("--cluster-cidr", "10.42.0.0/16,fd00:42::/56", "--service-cidr", "10.43.0.0/16,fd00:43::/112")
    sandbox.up(
        "--nodes", "1", "--disable", "node-dns", "--resolv-conf", str(conf), "--cluster-domain", "boat.test", *ranges
    )
    yield sandbox
    sandbox.wherry("down")


def test_without_node_dns_queries_go_to_the_dns_pod(through_service: Sandbox) -> None:
    sandbox = through_service
    assert not [process for process in sandbox.status()["processes"] if process["name"].startswith("dns-")]
    assert "wherry-dns" not in sandbox.wherry("node exec", "node-1", "--", "nft", "list", "tables").out
    found = sandbox.get("-n", "kube-system", "service", "kube-dns")["spec"]
    assert found["clusterIPs"] == ["10.43.0.10", "fd00:43::a"]
    sandbox.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    sandbox.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    sandbox.apply(sleeper("client"))
    sandbox.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    resolv = run(sandbox, "client", "cat", "/etc/resolv.conf", namespace="default")
    assert "nameserver 10.43.0.10\nnameserver fd00:43::a" in resolv
    until(sandbox, "client", "getent ahostsv4 kubernetes | head -1 | cut -d' ' -f1", "10.43.0.1", namespace="default")
    if shutil.which("dig"):
        for server in found["clusterIPs"]:
            for way in ("+notcp", "+tcp"):
                argv = ("dig", way, f"@{server}", "+short", "kubernetes.default.svc.boat.test")
                assert run(sandbox, "client", *argv, namespace="default") == "10.43.0.1"


@pytest.mark.skipif(os.geteuid() != 0, reason="a name server of the host has port 53, which only root may serve")
def test_names_beyond_the_cluster_are_asked_of_the_hosts_resolver(through_service: Sandbox) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind((UPSTREAM, 53))
        server.settimeout(0.2)
        stopping = Event()
        thread = Thread(target=harbour, args=(server, stopping))
        thread.start()
        try:
            found = run(through_service, "client", "getent", "ahostsv4", "pier", namespace="default")
            assert found.split()[:1] == ["192.0.2.80"]
            explained = through_service.wherry("dns explain", "pier.harbour.test.").out
            assert "forward: answered NOERROR" in explained
        finally:
            stopping.set()
            thread.join()


def harbour(server: socket.socket, stopping: Event) -> None:
    """A name server that knows one address."""
    while not stopping.is_set():
        try:
            wire, client = server.recvfrom(4096)
        except TimeoutError:
            continue
        query = decode(wire)
        assert query.question is not None
        reply = query.reply(0 if query.question.name.lower() == PIER else 3)
        if not reply.rcode and query.question.type == records.A:
            reply.answer = [records.a(query.question.name, 60, IPv4Address("192.0.2.80"))]
        server.sendto(encode(reply), client)


def test_promise_2_disabled_dns_leaves_nothing_and_breaks_nothing(home: Path) -> None:
    sandbox = Sandbox(home, "no-dns")
    sandbox.up("--nodes", "1", "--disable", "coredns", "--cluster-dns", "192.0.2.53")
    try:
        sandbox.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        sandbox.apply(sleeper("client"))
        sandbox.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
        assert "nameserver 192.0.2.53" in run(sandbox, "client", "cat", "/etc/resolv.conf", namespace="default")
        assert sandbox.get("-n", "kube-system", "all,poddisruptionbudgets")["items"] == []
        assert sandbox.kubectl("get", "clusterrole", "system:coredns", code=None).code
        assert not [process for process in sandbox.status()["processes"] if process["name"].startswith("dns-")]
        assert sandbox.status()["healthy"]
        assert "deploy another one" in (sandbox.directory / "log" / "controllers.log").read_text()
        ask = (
            "import urllib.request, ssl; print(urllib.request.urlopen('https://10.43.0.1/readyz', timeout=5, "
            "context=ssl._create_unverified_context()).status)"
        )
        assert run(sandbox, "client", "python3", "-c", ask, namespace="default") == "200"
    finally:
        sandbox.wherry("down")
