"""The DaemonSet of a Service, field by field."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from wherry.cloud.servicelb import merge
from wherry.cloud.servicelb.daemonset import daemon_set, extra_tolerations, name_of, source_ranges
from wherry.cloud.servicelb.model import (
    BIND,
    POOL,
    PRIORITY_CLASS,
    PROXY_PROTOCOL,
    SOURCE_RANGES,
    TOLERATIONS,
    LbSettings,
    Unusable,
    proxy_trouble,
)
from wherry.kube.objects import DaemonSet, ObjectMeta, PodTemplateSpec, Service
from wherry.kube.objects.network import ServicePort, ServiceSpec

UID = "35a5ccb3-4a82-40b7-8d83-cda9582e4251"
LONG = "svclb-a-service-with-a-very-veeeeeery-long-yet-valid-n-35a5ccb3"
INCONVENIENT = "svclb-a-service-with-a-name-with-inconvenient-35a5ccb3"


def service(
    *ports: tuple[int, str, int],
    name: str = "web",
    families: tuple[str, ...] = ("IPv4",),
    policy: str = "Cluster",
    ranges: tuple[str, ...] = (),
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Service:
    ips = {"IPv4": "10.43.0.9", "IPv6": "fd00:43::9"}
    return Service(
        metadata=ObjectMeta(
            name=name, namespace="shop", uid=UID, labels=labels or {}, annotations=annotations or {}
        ),
        spec=ServiceSpec(
            type="LoadBalancer",
            cluster_ips=tuple(ips[family] for family in families),
            ip_families=families,
            external_traffic_policy=policy,
            load_balancer_source_ranges=ranges,
            ports=tuple(ServicePort(port=n, protocol=p, node_port=np) for n, p, np in ports or ((443, "TCP", 30443),)),
        ),
    )  # fmt: skip


def made(one: Service, *, allow_list: bool = False, **settings: Any) -> dict[str, Any]:
    return daemon_set(one, LbSettings(**settings), allow_list=allow_list)


def pod(one: Service, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = made(one, **arguments)["spec"]["template"]["spec"]
    return found


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") or each.get("valueFrom") for each in container["env"]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("a-service", "svclb-a-service-35a5ccb3", id="vector 1"),
        pytest.param("a-service-with-a-very-veeeeeery-long-yet-valid-name", LONG, id="vector 2"),
        pytest.param("a-service-with-a-name-with-inconvenient------------hypens", INCONVENIENT, id="vector 3"),
    ],
)
def test_names_of_daemon_sets(name: str, expected: str) -> None:
    assert name_of(service(name=name)) == expected


def test_promise_14_the_daemon_set_has_the_shape_of_k3s() -> None:
    found = made(service())
    assert found["metadata"]["name"] == "svclb-web-35a5ccb3"
    assert found["metadata"]["namespace"] == "kube-system"
    owner = {"svccontroller.k3s.cattle.io/svcname": "web", "svccontroller.k3s.cattle.io/svcnamespace": "shop"}
    assert found["metadata"]["labels"] == {**owner, "svccontroller.k3s.cattle.io/nodeselector": "false"}
    assert found["spec"]["selector"] == {"matchLabels": {"app": "svclb-web-35a5ccb3"}}
    assert found["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    template = found["spec"]["template"]
    assert template["metadata"]["labels"] == {"app": "svclb-web-35a5ccb3", **owner}
    spec = template["spec"]
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["serviceAccountName"] == "svclb"
    assert spec["terminationGracePeriodSeconds"] == 1
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]}
    assert spec["tolerations"] == [
        {"key": "node-role.kubernetes.io/master", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "CriticalAddonsOnly", "operator": "Exists"},
    ]
    (container,) = merge.pruned(spec["containers"])
    assert container["name"] == "lb-tcp-443"
    assert container["imagePullPolicy"] == "IfNotPresent"
    port = {"name": "lb-tcp-443", "containerPort": 443, "hostPort": 443, "protocol": "TCP"}
    assert container["ports"] == [port]
    assert container["securityContext"] == {"capabilities": {"add": ["NET_ADMIN"]}}
    assert [each["name"] for each in container["env"]] == [
        "SRC_PORT", "SRC_RANGES", "DEST_PROTO", "DEST_PORT", "DEST_IPS",
    ]  # fmt: skip
    assert "hostNetwork" not in spec
    assert msgspec.convert(merge.pruned(found), DaemonSet).spec.template.spec.containers


def test_promise_15_pods_forward_to_the_cluster_address_and_port() -> None:
    (container,) = pod(service(families=("IPv4", "IPv6")))["containers"]
    assert env(container) == {
        "SRC_PORT": "443",
        "SRC_RANGES": "0.0.0.0/0,::/0",
        "DEST_PROTO": "TCP",
        "DEST_PORT": "443",
        "DEST_IPS": "10.43.0.9,fd00:43::9",
    }


def test_vector_10_local_policy_forwards_to_the_node_ports() -> None:
    first, second = pod(service((53, "TCP", 30053), (53, "UDP", 30054), policy="Local"))["containers"]
    assert (first["name"], second["name"]) == ("lb-tcp-53", "lb-udp-53")
    assert (env(first)["DEST_PORT"], env(second)["DEST_PORT"]) == ("30053", "30054")
    assert env(first)["DEST_IPS"] == {"fieldRef": {"fieldPath": "status.hostIPs"}}


def test_local_policy_without_node_ports_is_refused_in_words() -> None:
    with pytest.raises(Unusable, match="allocateLoadBalancerNodePorts"):
        made(service((80, "TCP", 0), policy="Local"))


@pytest.mark.parametrize(
    ("families", "ranges", "expected"),
    [
        (("IPv4", "IPv6"), (), "0.0.0.0/0,::/0"),
        (("IPv4",), (), "0.0.0.0/0"),
        (("IPv4", "IPv6"), ("10.0.0.0/8",), "10.0.0.0/8"),
    ],
)
def test_vector_11_source_ranges(families: tuple[str, ...], ranges: tuple[str, ...], expected: str) -> None:
    assert source_ranges(service(families=families, ranges=ranges)) == expected


def test_source_ranges_of_the_annotation() -> None:
    noted = {SOURCE_RANGES: " 10.1.0.0/16 , 10.0.0.0/16"}
    assert source_ranges(service(annotations=noted)) == "10.0.0.0/16,10.1.0.0/16"
    assert source_ranges(service(annotations=noted, ranges=("192.0.2.0/24",))) == "192.0.2.0/24"
    for wrong in ("10.0.0.0/33", "10.0.0.1", "all"):
        with pytest.raises(Unusable, match=wrong):
            source_ranges(service(annotations={SOURCE_RANGES: wrong}))


def test_bug_5_source_ranges_keep_one_order() -> None:
    ranges = ("10.3.0.0/16", "10.1.0.0/16", "10.2.0.0/16")
    texts = {source_ranges(service(ranges=one)) for one in (ranges, ranges[::-1], ranges[1:] + ranges[:1])}
    assert texts == {"10.1.0.0/16,10.2.0.0/16,10.3.0.0/16"}


def test_forwarding_is_switched_on_in_the_order_of_the_families() -> None:
    sysctls = pod(service(families=("IPv6", "IPv4")))["securityContext"]["sysctls"]
    assert [each["name"] for each in sysctls] == ["net.ipv6.conf.all.forwarding", "net.ipv4.ip_forward"]


def test_promise_20_the_allow_list_is_a_node_selector() -> None:
    found = made(service(), allow_list=True)
    assert found["spec"]["template"]["spec"]["nodeSelector"] == {"svccontroller.k3s.cattle.io/enablelb": "true"}
    assert found["metadata"]["labels"]["svccontroller.k3s.cattle.io/nodeselector"] == "true"
    assert pod(service())["nodeSelector"] is None


@pytest.mark.parametrize("allow_list", [True, False])
def test_bug_1_the_pool_stays_whatever_becomes_of_the_allow_list(allow_list: bool) -> None:
    affinity = pod(service(labels={POOL: "pool1"}), allow_list=allow_list)["affinity"]
    terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchExpressions"] for term in terms] == [
        [{"key": "svccontroller.k3s.cattle.io/lbpool", "operator": "In", "values": ["pool1"]}],
        [{"key": "lbpool.svccontroller.k3s.cattle.io/pool1", "operator": "In", "values": ["true"]}],
    ]
    assert pod(service(labels={POOL: ""}), allow_list=allow_list)["affinity"] is None


def test_priority_and_tolerations_of_the_annotations() -> None:
    annotations = {PRIORITY_CLASS: "", TOLERATIONS: "- key: a\n  value: b\n- operator: Exists\n  effect: NoExecute\n"}
    spec = pod(service(annotations=annotations))
    assert spec["priorityClassName"] == ""
    assert spec["tolerations"][3:] == [
        {"key": "a", "operator": "Equal", "value": "b"},
        {"operator": "Exists", "effect": "NoExecute"},
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param('[{"operator":"Equal","value":"x"}]', "without key must have the operator Exists", id="vector 15"),
        ('[{"key":"a","operator":"Exists","value":"x"}]', "must have no value"),
        ('[{"key":"a","operator":"Is"}]', "neither Equal nor Exists"),
        ('[{"key":"a","seconds":1}]', "seconds"),
        ('{"key":"a"}', "not a list"),
        ("[", "line 2"),
    ],
)
def test_tolerations_that_make_no_sense(text: str, complaint: str) -> None:
    with pytest.raises(Unusable, match=complaint):
        extra_tolerations(service(annotations={TOLERATIONS: text}))


def test_only_our_own_image_is_waited_for() -> None:
    for image in ("wherry/klipper-lb", "docker.io/wherry/klipper-lb:1", "wherry/klipper-lb@sha256:" + "0" * 64):
        assert pod(service(), image=image)["containers"][0]["lifecycle"], image
    for image in ("rancher/klipper-lb:v0.4.9", "mirror:5000/rancher/klipper-lb"):
        assert pod(service(), image=image)["containers"][0]["lifecycle"] is None, image


def test_tcp_ports_write_proxy_headers_and_others_go_on_as_before() -> None:
    ports = ((443, "TCP", 30443), (443, "UDP", 30444))
    for policy in ("Cluster", "Local"):
        plain = pod(service(*ports, policy=policy))["containers"]
        tcp, udp = pod(service(*ports, policy=policy, annotations={PROXY_PROTOCOL: "v2"}))["containers"]
        assert udp == plain[1]
        assert tcp["env"] == [*plain[0]["env"], {"name": "PROXY_PROTOCOL", "value": "v2"}]
        assert {**tcp, "env": None} == {**plain[0], "env": None}


@pytest.mark.parametrize(
    ("port", "text", "complaint"),
    [
        ((443, "TCP", 1), "v1", "'v1' is ignored, there is v2 alone"),
        ((443, "TCP", 1), "true", "'true' is ignored"),
        ((443, "UDP", 1), "v2", "this Service has no TCP port"),
        ((443, "TCP", 1), " ", ""),
        ((443, "TCP", 1), "v2", ""),
    ],
)
def test_a_wish_for_proxy_headers_that_makes_no_sense_changes_nothing(
    port: tuple[int, str, int], text: str, complaint: str
) -> None:
    one = service(port, annotations={PROXY_PROTOCOL: text})
    assert complaint in proxy_trouble(one)
    assert bool(proxy_trouble(one)) is bool(complaint)
    if complaint:
        assert made(one) == made(service(port))
        assert made(one, image="rancher/klipper-lb:v0.4.9")


def test_an_image_that_writes_no_proxy_headers_is_refused_in_words() -> None:
    with pytest.raises(
        Unusable, match=r"rancher/klipper-lb:v0\.4\.9 writes no PROXY headers; configure wherry/klipper-lb"
    ):
        made(service(annotations={PROXY_PROTOCOL: "v2"}), image="rancher/klipper-lb:v0.4.9")


def test_lb_bind_listens_on_one_address() -> None:
    bound = service(annotations={BIND: "192.0.2.7"})
    assert pod(bound)["containers"][0]["ports"][0]["hostIP"] == "192.0.2.7"


def test_lb_bind_to_an_interface_is_closed_where_it_means_nothing() -> None:
    names = ("eth0", "eth1", "enp3s0.100", "br-lan")
    templates = [made(service(annotations={BIND: name}))["spec"]["template"] for name in names]
    assert [one["metadata"]["annotations"]["wherry.dev/host-interface"] for one in templates] == [*names]
    ips = {one["spec"]["containers"][0]["ports"][0]["hostIP"] for one in templates}
    # Two Services of different interfaces can share a port.
    assert len(ips) == len(names)
    assert all(ip_address(ip).is_loopback and ip != "127.0.0.1" for ip in ips)
    assert msgspec.convert(merge.pruned(templates[0]), PodTemplateSpec).metadata.annotations
    plain = made(service())["spec"]["template"]["metadata"]["annotations"]
    assert merge.pruned(plain) == {"wherry.dev/preemption": "Never"}


@pytest.mark.parametrize(
    "text", ["a name too long", "sixteen-letters-", "..", "10.0.0.0/8", "127.0.0.1", "0.0.0.0", "fd00::1"]
)
def test_lb_bind_fails_closed(text: str) -> None:
    with pytest.raises(Unusable, match=r"wherry\.dev/lb-bind"):
        made(service(annotations={BIND: text}))


def test_what_is_there_already_is_no_difference() -> None:
    wanted = made(service(labels={POOL: "a"}))
    current = merge.pruned(wanted)
    current["metadata"]["uid"] = "1"
    current["metadata"]["annotations"] = {**current["metadata"]["annotations"], "deprecated.daemonset": "1"}
    current["spec"]["revisionHistoryLimit"] = 10
    current["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    current["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    assert merge.holds(current, wanted)
    for changed in (
        made(service()),
        made(service(labels={POOL: "b"})),
        made(service(labels={POOL: "a"}), allow_list=True),
        made(service((80, "TCP", 30080), labels={POOL: "a"})),
        made(service((443, "TCP", 1), (80, "TCP", 2), labels={POOL: "a"})),
        made(service(labels={POOL: "a"}, annotations={BIND: "192.0.2.7"})),
    ):
        assert not merge.holds(current, changed)
        after = merge.applied(current, changed)
        assert merge.holds(after, changed)
        assert after["metadata"]["uid"] == "1"
        assert after["metadata"]["annotations"]["deprecated.daemonset"] == "1"
