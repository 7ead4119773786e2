from __future__ import annotations

import pytest

from wherry.apiserver.kinds.model import Refusal

CONTAINER_LIMITS = {
    "metadata": {"name": "lim"},
    "spec": {
        "limits": [
            {
                "type": "Container",
                "default": {"cpu": "500m"},
                "defaultRequest": {"cpu": "100m"},
                "max": {"cpu": "1"},
                "min": {"cpu": "50m"},
            }
        ]
    },
}


def _pod(**resources):
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}}


def test_limit_ranges_fill_in_what_a_pod_leaves_out(server):
    server.create("limitranges", CONTAINER_LIMITS)
    pod = server.create("pods", _pod())
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
    assert pod["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    }
    assert pod["status"]["qosClass"] == "Burstable"


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"limits": {"cpu": "2"}}, "maximum cpu usage per Container is 1, but limit is 2"),
        ({"requests": {"cpu": "10m"}}, "minimum cpu usage per Container is 50m, but request is 10m"),
    ],
)
def test_limit_ranges_bound_containers(server, resources, text):
    server.create("limitranges", CONTAINER_LIMITS)
    with pytest.raises(Refusal) as refused:
        server.create("pods", _pod(**resources))
    assert refused.value.status["message"] == f'pods "p" is forbidden: {text}'


def test_bounds_are_checked_last_and_name_the_pod_that_would_be(server):
    server.create("limitranges", CONTAINER_LIMITS)
    pod = _pod(limits={"cpu": "2"}) | {"metadata": {"generateName": "web-"}}
    with pytest.raises(Refusal, match=r'^pods "web-[a-z0-9]{5}" is forbidden: maximum cpu usage'):
        server.create("pods", pod)
    pod["spec"]["containers"][0]["image"] = ""
    with pytest.raises(Refusal, match="image: Required value"):
        server.create("pods", pod)


def test_what_admission_refuses_before_a_name_is_made_up_is_named_by_its_prefix(server):
    pod = _pod() | {"metadata": {"generateName": "web-"}}
    pod["spec"]["serviceAccountName"] = "nobody"
    with pytest.raises(Refusal, match=r'^pods "web-" is forbidden: error looking up service account default/nobody'):
        server.create("pods", pod)


def test_limit_ranges_bound_whole_pods(server):
    server.create(
        "limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}
    )
    pod = _pod(limits={"cpu": "600m"})
    pod["spec"]["containers"].append({"name": "d", "image": "i:1", "resources": {"limits": {"cpu": "600m"}}})
    with pytest.raises(Refusal, match="maximum cpu usage per Pod is 1, but limit is 1200m"):
        server.create("pods", pod)


def test_contradictions_in_a_limit_range(server):
    limits = [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]
    assert server.findings("limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}}) == [
        'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
        'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1',
        'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
    ]


@pytest.mark.parametrize(
    ("spec", "finding"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "spec: Invalid value"),
        ({"minAvailable": "150%"}, 'spec.minAvailable: Invalid value: "150%": must not be greater than 100%'),
        ({"minAvailable": -1}, "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
    ],
)
def test_budget_findings(server, spec, finding):
    found = server.findings("poddisruptionbudgets.policy", {"metadata": {"name": "b"}, "spec": spec})
    assert found[0].startswith(finding)


def test_one_default_priority_class(server):
    resource = "priorityclasses.scheduling.k8s.io"
    server.create(resource, {"metadata": {"name": "a"}, "value": 1, "globalDefault": True})
    assert server.create("pods", _pod())["spec"]["priorityClassName"] == "a"
    with pytest.raises(Refusal, match="already marked as default"):
        server.create(resource, {"metadata": {"name": "b"}, "value": 2, "globalDefault": True})


POLICY = {"metadata": {"name": "n"}, "spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        ("spec.ingress.0.from.0.ipBlock.cidr", "10.0.0.0", 'ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid'),
        ("spec.ingress.0.from.0.ipBlock.except", ["11.0.0.0/16"], "except[0]: Invalid value"),
        ("spec.ingress.0.from.0.podSelector", {}, "from[0]: Forbidden: may not specify both ipBlock and another peer"),
        ("spec.ingress.0.from", [{}], "from[0]: Required value: must specify a peer"),
        ("spec.ingress.0.ports", [{"port": 2, "endPort": 1}], "ports[0].endPort: Invalid value: 2: must be greater"),
        ("spec.policyTypes", ["Odd"], 'policyTypes[0]: Unsupported value: "Odd"'),
    ],
)
def test_network_policy_findings(server, edit, path, value, finding):
    found = server.findings("networkpolicies.networking.k8s.io", edit(POLICY, path, value))
    assert len(found) == 1
    assert finding in found[0]


@pytest.mark.parametrize(
    ("spec", "types"),
    [({}, ["Ingress"]), ({"egress": [{}]}, ["Ingress", "Egress"]), ({"policyTypes": ["Egress"]}, ["Egress"])],
)
def test_policy_types_follow_the_rules(server, spec, types):
    made = server.create("networkpolicies.networking.k8s.io", {"metadata": {"name": "n"}, "spec": spec})
    assert made["spec"]["policyTypes"] == types


def _crd(**spec):
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    base = {
        "group": "example.com", "scope": "Namespaced", "names": {"kind": "Boat", "plural": "boats"},
        "versions": [version],
    }  # fmt: skip
    return {"metadata": {"name": "boats.example.com"}, "spec": {**base, **spec}}


CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def test_a_definition_is_completed(server):
    made = server.create(CRDS, _crd())
    assert made["spec"]["names"] == {"kind": "Boat", "plural": "boats", "singular": "boat", "listKind": "BoatList"}
    assert made["status"] == {"storedVersions": ["v1"]}


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        ("spec.scope", "Odd", 'spec.scope: Unsupported value: "Odd"'),
        ("spec.versions.0.storage", False, "spec.versions: Invalid value"),
        ("spec.versions.0.schema.openAPIV3Schema.type", "", "spec.validation.openAPIV3Schema.type: Required value"),
        (
            "spec.versions.0.schema.openAPIV3Schema.properties",
            {"x": {}},
            "spec.validation.openAPIV3Schema.properties[x].type: Required value: must not be empty",
        ),
        ("metadata.name", "other.example.com", 'metadata.name: Invalid value: "other.example.com": must be spec.names'),
        ("spec.versions.0.subresources", {"scale": {}}, "spec.subresources.scale.specReplicasPath: Required value"),
    ],
)
def test_definition_findings(server, edit, path, value, finding):
    assert server.findings(CRDS, edit(_crd(), path, value))[0].startswith(finding)
