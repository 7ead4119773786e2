from __future__ import annotations

import base64

import pytest

from wherry.apiserver.kinds.core.events import EVENTS, EVENTS_V1
from wherry.apiserver.kinds.core.nodes import NODES
from wherry.apiserver.kinds.model import Refusal

# --- namespaces -------------------------------------------------------------------------------------------------------


def test_a_namespace_gets_label_finalizer_and_phase(server):
    made = server.create("namespaces", {"metadata": {"name": "shop"}})
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


def test_nothing_is_created_in_a_missing_namespace(server):
    with pytest.raises(Refusal) as refused:
        server.create("configmaps", {"metadata": {"name": "c"}}, namespace="nowhere")
    assert (refused.value.code, refused.value.status["message"]) == (404, 'namespaces "nowhere" not found')


def test_nothing_is_created_in_a_terminating_namespace(server):
    server.seed("", "namespaces", "", {"metadata": {"name": "going"}, "status": {"phase": "Terminating"}})
    with pytest.raises(Refusal) as refused:
        server.create("configmaps", {"metadata": {"name": "c"}}, namespace="going")
    assert refused.value.status["message"] == (
        'configmaps "c" is forbidden: unable to create new content in namespace going because it is being terminated'
    )
    assert refused.value.status["details"]["causes"][0]["reason"] == "NamespaceTerminating"


@pytest.mark.parametrize(("name", "refused"), [("default", True), ("kube-system", True), ("shop", False)])
def test_some_namespaces_stay(server, name, refused):
    row, namespace = server.row("namespaces"), {"metadata": {"name": name}}
    if not refused:
        row.admit_delete(namespace, server.ctx)
        return
    with pytest.raises(Refusal) as error:
        row.admit_delete(namespace, server.ctx)
    assert error.value.status["message"] == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


def test_only_finalize_changes_the_finalizers(server, edit):
    old = server.create("namespaces", {"metadata": {"name": "shop"}})
    wanted = edit(old, "spec", {})
    assert server.update("namespaces", old, wanted)["spec"] == {"finalizers": ["kubernetes"]}
    done = server.update("namespaces", old, wanted, "finalize")
    assert not server.row("namespaces").holds_deletion(done)


# --- config maps and secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({"data": {"sp ace": ""}}, 'data[sp ace]: Invalid value: "sp ace": a valid config key'),
        ({"data": {"a": ""}, "binaryData": {"a": ""}}, 'data[a]: Invalid value: "a": duplicate of key present in'),
        ({"data": {"a": "x" * (1 << 20), "b": "y"}}, "[]: Too long: may not be more than 1048576 bytes"),
    ],
)
def test_config_map_findings(server, fields, finding):
    found = server.findings("configmaps", {"metadata": {"name": "c"}, **fields})
    assert len(found) == 1
    assert found[0].startswith(finding)


@pytest.mark.parametrize("resource", ["configmaps", "secrets"])
def test_immutable_content_stays(server, edit, resource):
    old = server.create(resource, {"metadata": {"name": "c"}, "immutable": True, "data": {"a": "YQ=="}})
    assert server.changes(resource, old, edit(old, "data", {"a": "Yg=="})) == [
        "data: Forbidden: field is immutable when `immutable` is set"
    ]
    assert server.changes(resource, old, edit(old, "immutable", False)) == [
        "immutable: Forbidden: field is immutable when `immutable` is set"
    ]
    assert server.changes(resource, old, edit(old, "metadata.labels", {"a": "b"})) == []


def test_string_data_is_folded_in(server):
    secret = server.create("secrets", {"metadata": {"name": "s"}, "data": {"a": "eA=="}, "stringData": {"b": "ü"}})
    assert secret["type"] == "Opaque"
    assert "stringData" not in secret
    assert secret["data"] == {"a": "eA==", "b": base64.b64encode("ü".encode()).decode()}


@pytest.mark.parametrize(
    ("kind", "data", "findings"),
    [
        ("kubernetes.io/tls", {"tls.crt": "eA=="}, ["data[tls.key]: Required value"]),
        (
            "kubernetes.io/basic-auth",
            {"x": ""},
            ["data[username]: Required value", "data[password]: Required value"],
        ),
        ("kubernetes.io/basic-auth", {"username": ""}, []),
        ("kubernetes.io/dockerconfigjson", {}, ["data[.dockerconfigjson]: Required value"]),
        (
            "kubernetes.io/service-account-token",
            {},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        ("example.com/own", {}, []),
    ],
)
def test_secret_types_ask_for_their_keys(server, kind, data, findings):
    assert server.findings("secrets", {"metadata": {"name": "s"}, "type": kind, "data": data}) == findings


def test_a_secret_keeps_its_type(server, edit):
    old = server.create("secrets", {"metadata": {"name": "s"}})
    assert server.changes("secrets", old, edit(old, "type", "other/type"))[0] == (
        'type: Invalid value: "other/type": field is immutable'
    )


# --- nodes ------------------------------------------------------------------------------------------------------------


def test_a_new_node_is_tainted_until_it_is_ready(server):
    node = server.create("nodes", {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "2"}}})
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    assert node["status"]["allocatable"] == {"cpu": "2"}


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [("podCIDRs", ["10.42.0.0/24"], ["10.42.1.0/24"]), ("providerID", "a://1", "a://2")],
)
def test_ranges_and_provider_are_set_once(server, edit, key, first, second):
    old = server.create("nodes", {"metadata": {"name": "n"}})
    once = server.update("nodes", old, edit(old, f"spec.{key}", first))
    (found,) = server.changes("nodes", once, edit({**once, "spec": {}}, f"spec.{key}", second))
    assert found.startswith(f"spec.{key}: Forbidden: node updates may not change")


def test_pod_cidr_is_the_first_of_pod_cidrs(server):
    node = server.create("nodes", {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.42.0.0/24"}})
    assert node["spec"]["podCIDRs"] == ["10.42.0.0/24"]


@pytest.mark.parametrize(
    ("ready", "unschedulable", "text"),
    [
        ("True", False, "Ready"),
        ("False", False, "NotReady"),
        ("Unknown", False, "NotReady"),
        (None, False, "Unknown"),
        ("True", True, "Ready,SchedulingDisabled"),
    ],
)
def test_node_cells(server, ready, unschedulable, text):
    labels = {"node-role.kubernetes.io/control-plane": "", "node-role.kubernetes.io/master": ""}
    node = {
        "metadata": {"name": "n", "labels": labels, "creationTimestamp": "2026-01-01T11:00:00Z"},
        "spec": {"unschedulable": unschedulable},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}] if ready else [],
            "addresses": [{"type": "InternalIP", "address": "172.30.0.10"}],
            "nodeInfo": {"kubeletVersion": "v1.36.2"},
        },
    }
    cells = NODES.cells(node, server.ctx.now())
    assert cells[:7] == ["n", text, "control-plane,master", "60m", "v1.36.2", "172.30.0.10", "<none>"]


# --- events, leases, endpoints ----------------------------------------------------------------------------------------

EVENT = {
    "metadata": {"name": "e", "namespace": "default"},
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    "reason": "Started",
    "message": "hello ",
    "type": "Normal",
    "source": {"component": "kubelet", "host": "n1"},
    "firstTimestamp": "2026-01-01T11:50:00Z",
    "lastTimestamp": "2026-01-01T11:59:50Z",
    "count": 3,
}


def test_both_groups_show_the_same_event():
    newer = dict(EVENT)
    EVENTS_V1.from_storage(newer)
    assert newer["regarding"] == EVENT["involvedObject"]
    assert (newer["note"], newer["deprecatedCount"]) == ("hello ", 3)
    EVENTS_V1.to_storage(newer)
    assert newer == EVENT
    assert EVENTS_V1.key == EVENTS.key


def test_event_cells(server):
    assert EVENTS.cells(EVENT, server.ctx.now()) == [
        "10s", "Normal", "Started", "pod/p", "", "kubelet, n1", "hello", "10m", 3, "e",
    ]  # fmt: skip


def test_event_fields():
    fields = EVENTS.selectable_fields(EVENT)
    assert (fields["involvedObject.kind"], fields["source"], fields["type"]) == ("Pod", "kubelet", "Normal")


def test_an_event_lives_beside_what_it_is_about(server):
    other = {**EVENT, "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "p"}}
    assert server.findings("events", other) == [
        'involvedObject.namespace: Invalid value: "shop": does not match event.namespace'
    ]


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [
        ("leaseDurationSeconds", 0, "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
        ("leaseTransitions", -1, "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"),
    ],
)
def test_lease_findings(server, key, value, finding):
    assert server.findings("leases.coordination.k8s.io", {"metadata": {"name": "l"}, "spec": {key: value}}) == [finding]


def test_a_lease_is_never_updated_blindly(server):
    old = server.create("leases.coordination.k8s.io", {"metadata": {"name": "l"}})
    blind = {"metadata": {"name": "l", "namespace": "default"}, "spec": {}}
    assert server.changes("leases.coordination.k8s.io", old, blind) == [
        "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    ]


SLICE = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.42.0.5"]}]}


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        ("addressType", "", "addressType: Required value"),
        ("endpoints.0.addresses", [], "endpoints[0].addresses: Required value: must contain at least 1 address"),
        ("endpoints.0.addresses", ["fd00::1"], 'endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4'),
        ("ports", [{"name": "a"}, {"name": "a"}], 'ports[1].name: Duplicate value: "a"'),
    ],
)
def test_endpoint_slice_findings(server, edit, path, value, finding):
    found = server.findings("endpointslices.discovery.k8s.io", edit(SLICE, path, value))
    assert found[0].startswith(finding)


def test_labels_count_for_the_generation_of_a_slice(server, edit):
    resource = "endpointslices.discovery.k8s.io"
    old = server.create(resource, SLICE)
    assert server.update(resource, old, edit(old, "metadata.labels", {"a": "b"}))["metadata"]["generation"] == 2
    assert server.update(resource, old, edit(old, "metadata.annotations", {"a": "b"}))["metadata"]["generation"] == 1


# --- RBAC -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "rule", "finding"),
    [
        ("roles", {"apiGroups": [""], "resources": ["pods"]}, "rules[0].verbs: Required value"),
        ("roles", {"verbs": ["get"], "apiGroups": [""]}, "rules[0].resources: Required value"),
        ("roles", {"verbs": ["get"], "resources": ["pods"]}, "rules[0].apiGroups: Required value"),
        ("roles", {"verbs": ["get"], "nonResourceURLs": ["/x"]}, 'rules[0].nonResourceURLs: Invalid value: ["/x"]'),
        ("clusterroles", {"verbs": ["get"], "nonResourceURLs": ["/x"]}, None),
    ],
)
def test_rules(server, resource, rule, finding):
    found = server.findings(f"{resource}.rbac.authorization.k8s.io", {"metadata": {"name": "a:b"}, "rules": [rule]})
    assert (found[0] if found else None) == finding or found[0].startswith(finding)


def test_bindings_keep_their_role(server, edit):
    resource = "rolebindings.rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "alice"}],
    }
    old = server.create(resource, binding)
    assert old["roleRef"]["apiGroup"] == old["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    assert server.changes(resource, old, edit(old, "roleRef.name", "other")) == [
        'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"other"}: '
        "cannot change roleRef"
    ]
