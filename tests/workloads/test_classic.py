from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.make import meta, node, of, pod, service
from wherry.kube.objects import Pod
from wherry.workloads.endpoints import classic, compile
from wherry.workloads.kinds import Endpoints

NODES = {"n": node("n")}
MANAGED = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}


def backend(name: str, address: str, **more: Any) -> Pod:
    return pod(name, ips=(address,), **({"on": "n", "ready": True} | more))


def test_endpoints_of_a_service() -> None:
    pods = [
        backend("a", "10.0.0.1"),
        backend("b", "10.0.0.2", ready=False),
        backend("c", "10.0.0.3", deleting=True),
        backend("d", "10.0.0.4", on="unknown"),
        backend("e", "fd00::1"),
    ]
    wanted = classic.wanted_endpoints(service(labels={"team": "x"}), pods, NODES)
    assert wanted["metadata"] == {"labels": {"team": "x", **MANAGED}, "annotations": {}}
    (subset,) = wanted["subsets"]
    assert subset["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert [each["ip"] for each in subset["addresses"]] == ["10.0.0.1"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert subset["addresses"][0] == {
        "ip": "10.0.0.1",
        "nodeName": "n",
        "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "uid-a"},
    }


def test_unready_pods_are_published_when_asked_for() -> None:
    wanted = classic.wanted_endpoints(
        service(publishNotReadyAddresses=True), [backend("b", "10.0.0.2", ready=False)], NODES
    )
    assert [[*each] for each in wanted["subsets"]] == [["addresses", "ports"]]


def test_too_many_endpoints_are_cut_and_marked() -> None:
    pods = [backend(f"p{at:04}", f"10.0.{at // 250}.{at % 250}") for at in range(1001)]
    wanted = classic.wanted_endpoints(service(), pods, NODES)
    assert len(wanted["subsets"][0]["addresses"]) == 1000
    assert wanted["metadata"]["annotations"] == {"endpoints.kubernetes.io/over-capacity": "truncated"}


def test_ready_addresses_are_the_last_to_be_cut() -> None:
    def named(number: int) -> list[dict[str, Any]]:
        return [{"name": "main", "ports": [{"name": "web", "containerPort": number}]}]

    pods = [backend(f"r{at:04}", f"10.1.{at // 250}.{at % 250}", containers=named(1)) for at in range(600)]
    pods += [backend(f"s{at:04}", f"10.2.{at // 250}.{at % 250}", containers=named(2)) for at in range(300)]
    pods += [
        backend(f"a{at:04}", f"10.3.{at // 250}.{at % 250}", ready=False, containers=named(2)) for at in range(150)
    ]
    pods += [backend(f"b{at:04}", f"10.4.{at // 250}.{at % 250}", ready=False, containers=named(1)) for at in range(50)]
    pods += [backend("nameless", "10.5.0.1")]
    wanted = classic.wanted_endpoints(service(ports=[{"port": 80, "targetPort": "web"}]), pods, NODES)
    sizes = {
        each["ports"][0]["port"]: (len(each["addresses"]), len(each["notReadyAddresses"])) for each in wanted["subsets"]
    }
    assert sizes == {1: (600, 25), 2: (300, 75)}


def test_the_difference_to_what_is_there() -> None:
    wanted = classic.wanted_endpoints(service(labels={"team": "x"}), [backend("a", "10.0.0.1")], NODES)
    there = of(Endpoints, {"metadata": meta("web", "default", **wanted["metadata"]), "subsets": wanted["subsets"]})
    assert classic.difference(there, wanted) == {}
    nobody = classic.wanted_endpoints(service(), [], NODES)
    assert classic.difference(there, nobody) == {
        "subsets": None,
        "metadata": {"labels": {"team": None, **MANAGED}},
    }


def by_hand(subsets: list[dict[str, Any]], **metadata: Any) -> Endpoints:
    return of(Endpoints, {"metadata": meta("web", "default", **metadata), "subsets": subsets})


def test_mirroring() -> None:
    endpoints = by_hand(
        [
            {
                "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                "notReadyAddresses": [{"ip": "192.0.2.2", "hostname": "h"}],
                "ports": [{"port": 5432}],
            }
        ],
        labels={"team": "x"},
    )
    plan = compile.arrange(classic.mirror_head(endpoints), (), classic.mirror_groups(endpoints).groups, [])
    four, six = sorted(plan.create, key=lambda each: each["addressType"])
    assert [each["addresses"] for each in four["endpoints"]] == [("192.0.2.1",), ("192.0.2.2",)]
    assert [each["conditions"]["ready"] for each in four["endpoints"]] == [True, False]
    assert six["endpoints"][0]["addresses"] == ("2001:db8::1",)
    assert four["ports"] == [{"name": "", "protocol": "TCP", "port": 5432}]
    assert four["metadata"]["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert four["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"


def test_mirrored_subsets_are_one_slice_each_and_say_what_is_left_out() -> None:
    many = [{"ip": f"192.0.{at // 250}.{at % 250}"} for at in range(1003)]
    endpoints = by_hand(
        [{"addresses": [{"ip": "example.org"}, *many], "ports": [{"port": 1}]}],
        annotations={"note": "kept", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    )
    found = classic.mirror_groups(endpoints)
    assert (found.invalid, found.skipped) == (1, 3)
    (only,) = compile.arrange(classic.mirror_head(endpoints), (), found.groups, []).create
    assert len(only["endpoints"]) == 1000
    assert only["metadata"]["annotations"] == {"note": "kept"}


@pytest.mark.parametrize(
    ("metadata", "mirrored"),
    [
        ({}, True),
        ({"labels": MANAGED}, False),
        ({"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}, False),
        ({"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}, False),
    ],
)
def test_what_is_mirrored(metadata: dict[str, Any], mirrored: bool) -> None:
    assert classic.mirrored(by_hand([], **metadata)) is mirrored
