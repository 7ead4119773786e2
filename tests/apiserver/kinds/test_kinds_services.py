from __future__ import annotations

from ipaddress import ip_address

import pytest

from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.kinds.services.row import SERVICES

WEB = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}
NODE_PORT = {"metadata": {"name": "np"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
BALANCER = {"metadata": {"name": "lb"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}


def _named(name, **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def test_the_smallest_service_gets_an_address_and_defaults(server):
    spec = server.create("services", WEB)["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert ip_address(spec["clusterIP"]) in server.ctx.address_pools["IPv4"]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"], spec["internalTrafficPolicy"]) == ("ClusterIP", "None", "Cluster")
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


def test_a_taken_address_is_refused_and_nothing_is_lost(server):
    first = server.create("services", WEB)["spec"]["clusterIP"]
    found = server.findings("services", _named("other", clusterIP=first, type="NodePort"))
    assert found == [
        f'spec.clusterIPs: Invalid value: ["{first}"]: failed to allocate IP {first}: provided IP is already allocated'
    ]
    assert (server.ctx.address_pools["IPv4"].taken, server.ctx.node_ports.taken) == (1, 0)


def test_a_failed_node_port_gives_the_address_back(server):
    found = server.findings("services", _named("np", type="NodePort", ports=[{"port": 80, "nodePort": 80}]))
    assert found[0].startswith("spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range.")
    assert server.ctx.address_pools["IPv4"].taken == 0


def test_one_node_port_serves_the_protocols_of_a_port(server):
    ports = [{"port": 53, "name": "u", "protocol": "UDP"}, {"port": 53, "name": "t"}, {"port": 80, "name": "w"}]
    spec = server.create("services", _named("dns", type="NodePort", ports=ports))["spec"]
    first, second, third = (port["nodePort"] for port in spec["ports"])
    assert first == second != third
    assert server.ctx.node_ports.taken == 2


@pytest.mark.parametrize(
    ("service", "finding"),
    [
        (_named("b", ports=[]), "spec.ports: Required value"),
        (_named("b", type="Odd"), 'spec.type: Unsupported value: "Odd"'),
        (_named("b", ports=[{"port": 80}, {"port": 81}]), "spec.ports[0].name: Required value"),
        (_named("b", ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]), "spec.ports[1].name: Duplicate"),
        (_named("b", ports=[{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]), "spec.ports[1]: Duplicate value"),
        (_named("b", ports=[{"port": 80, "nodePort": 30001}]), "spec.ports[0].nodePort: Forbidden: may not be used"),
        (_named("b", externalTrafficPolicy="Local"), 'spec.externalTrafficPolicy: Invalid value: "Local"'),
        (_named("b", externalIPs=["127.0.0.1"]), 'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the'),
        (_named("b", clusterIP="nope"), 'spec.clusterIPs[0]: Invalid value: "nope": must be a valid IP address'),
        (_named("b", clusterIP="10.99.0.1"), 'spec.clusterIPs: Invalid value: ["10.99.0.1"]: failed to allocate IP'),
        (_named("b", clusterIPs=["10.43.0.9"]), 'spec.clusterIPs: Invalid value: ["10.43.0.9"]: must be empty when'),
        (_named("b", ipFamilies=["IPv6"]), 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        (_named("b", ipFamilyPolicy="RequireDualStack"), "spec.ipFamilyPolicy: Invalid value"),
        (_named("b", loadBalancerClass="a/b"), "spec.loadBalancerClass: Forbidden: may only be used when"),
        (_named("b", type="ExternalName"), "spec.externalName: Required value"),
        (_named("b", type="NodePort", clusterIP="None"), 'spec.clusterIPs[0]: Invalid value: "None"'),
        (
            _named("b", sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401",
        ),
        (_named("a.b"), 'metadata.name: Invalid value: "a.b": must not contain dots'),
    ],
)
def test_one_wrong_field_is_found(server, service, finding):
    found = server.findings("services", service)
    assert found[0].startswith(finding), found
    assert server.ctx.address_pools["IPv4"].taken == 0


# --- updates ----------------------------------------------------------------------------------------------------------


def test_an_update_that_leaves_the_address_out_keeps_it(server):
    old = server.create("services", WEB)
    new = server.update("services", old, {"metadata": {**old["metadata"]}, "spec": {"ports": [{"port": 81}]}})
    assert new["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    assert new["spec"]["ipFamilies"] == ["IPv4"]


def test_the_address_stays(server, edit):
    old = server.create("services", WEB)
    assert server.changes("services", old, edit(old, "spec.clusterIP", "10.43.0.200")) == [
        'spec.clusterIPs[0]: Invalid value: ["10.43.0.200"]: may not change once set'
    ]


def test_type_changes_take_and_give_back_node_ports(server, edit):
    old = server.create("services", WEB)
    opened = server.update("services", old, edit(old, "spec.type", "NodePort"))
    assert opened["spec"]["ports"][0]["nodePort"] in server.ctx.node_ports
    assert opened["spec"]["externalTrafficPolicy"] == "Cluster"
    closed = server.update("services", opened, edit(opened, "spec.type", "ClusterIP"))
    assert "nodePort" not in closed["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in closed["spec"]
    assert server.ctx.node_ports.taken == 0


def test_becoming_a_name_gives_the_address_back(server, edit):
    old = server.create("services", WEB)
    wanted = edit(edit(old, "spec.type", "ExternalName"), "spec.externalName", "example.com")
    new = server.update("services", old, wanted)
    assert "clusterIP" not in new["spec"]
    assert server.ctx.address_pools["IPv4"].taken == 0


def test_local_load_balancers_have_a_health_check_port_while_they_are(server, edit):
    old = server.create("services", BALANCER)
    local = server.update("services", old, edit(old, "spec.externalTrafficPolicy", "Local"))
    assert local["spec"]["healthCheckNodePort"] in server.ctx.node_ports
    back = server.update("services", local, edit(local, "spec.externalTrafficPolicy", "Cluster"))
    assert "healthCheckNodePort" not in back["spec"]
    assert server.ctx.node_ports.taken == 1


def test_a_load_balancer_can_do_without_node_ports(server):
    spec = server.create("services", _named("lb", type="LoadBalancer", allocateLoadBalancerNodePorts=False))["spec"]
    assert "nodePort" not in spec["ports"][0]


def test_deleting_gives_everything_back(server):
    service = server.create("services", BALANCER)
    SERVICES.after_delete(service, server.ctx)
    assert (server.ctx.address_pools["IPv4"].taken, server.ctx.node_ports.taken) == (0, 0)


# --- two families -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "families", "addresses"),
    [
        ({}, ["IPv4"], 1),
        ({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], 2),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"], 2),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"], 1),
        ({"clusterIP": "fd00:43::5"}, ["IPv6"], 1),
        ({"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], 1),
        ({"clusterIP": "None"}, ["IPv4", "IPv6"], 1),
    ],
)
def test_families_of_a_dual_stack_cluster(dual, spec, families, addresses):
    made = dual.create("services", _named("d", **spec))["spec"]
    assert made["ipFamilies"] == families
    assert len(made["clusterIPs"]) == addresses
    assert made["clusterIP"] == made["clusterIPs"][0]


def test_a_second_family_comes_and_goes(dual, edit):
    old = dual.create("services", WEB)
    both = dual.update("services", old, edit(old, "spec.ipFamilyPolicy", "PreferDualStack"))
    assert both["spec"]["clusterIPs"][0] == old["spec"]["clusterIP"]
    assert ":" in both["spec"]["clusterIPs"][1]
    one = dual.update("services", both, edit(both, "spec.ipFamilyPolicy", "SingleStack"))
    assert one["spec"]["clusterIPs"] == [old["spec"]["clusterIP"]]
    assert dual.ctx.address_pools["IPv6"].taken == 0


def test_two_families_need_a_policy(dual):
    found = dual.findings("services", _named("d", ipFamilies=["IPv4", "IPv6"]))
    assert found[0].startswith('spec.ipFamilyPolicy: Invalid value: "SingleStack": must be')


# --- status and cells -------------------------------------------------------------------------------------------------


def test_status_belongs_to_its_subresource(server, edit):
    old = server.create("services", BALANCER)
    wanted = edit(edit(old, "spec.ports.0.port", 81), "status", {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
    new = server.update("services", old, wanted, "status")
    assert new["spec"]["ports"][0]["port"] == 80
    assert new["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
    assert server.update("services", old, wanted)["status"] == {"loadBalancer": {}}


def test_a_bad_ingress_address_is_refused(server, edit):
    old = server.create("services", BALANCER)
    wanted = edit(old, "status", {"loadBalancer": {"ingress": [{"ip": "bad"}]}})
    assert server.changes("services", old, wanted, "status")[0].startswith(
        'status.loadBalancer.ingress[0].ip: Invalid value: "bad": must be a valid IP address'
    )


@pytest.mark.parametrize(
    ("spec", "status", "external", "ports"),
    [
        ({"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}]}, {}, "<none>", "80/TCP"),
        ({"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}, {}, "192.0.2.1", "<none>"),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
            {}, "<none>", "80:30080/TCP",
        ),
        ({"type": "LoadBalancer"}, {}, "<pending>", "<none>"),
        (
            {"type": "LoadBalancer"},
            {"loadBalancer": {"ingress": [{"ip": "172.30.0.10"}, {"hostname": "a.b"}]}},
            "172.30.0.10,a.b", "<none>",
        ),
        ({"type": "ExternalName", "externalName": "example.com"}, {}, "example.com", "<none>"),
    ],
)  # fmt: skip
def test_cells(server, spec, status, external, ports):
    cells = SERVICES.cells({"metadata": {"name": "s"}, "spec": spec, "status": status}, server.ctx.now())
    assert (cells[3], cells[4]) == (external, ports)


def test_a_full_range_is_an_internal_error(server):
    for number in range(254):
        server.create("services", _named(f"s{number}"))
    with pytest.raises(Refusal) as refused:
        server.create("services", _named("one-more"))
    assert refused.value.code == 500
    assert "range is full" in refused.value.status["message"]
