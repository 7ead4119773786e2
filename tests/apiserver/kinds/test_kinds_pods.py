from __future__ import annotations

import pytest

from wherry.apiserver.kinds.core.pods import PODS, bind
from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.kinds.podspec.defaults import image_pull_policy
from wherry.apiserver.kinds.podspec.qos import qos_class

POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}
FULL = {
    "metadata": {"name": "p"},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "app:1",
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "resources": {"limits": {"cpu": "1", "memory": "128Mi"}, "requests": {"cpu": "500m"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
        "volumes": [{"name": "v"}],
        "automountServiceAccountToken": False,
    },
}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("registry:5000/app", "Always"),
        ("registry:5000/app:2", "IfNotPresent"),
        ("app@sha256:00", "IfNotPresent"),
    ],
)
def test_images_are_pulled_by_their_tag(image, policy):
    assert image_pull_policy(image) == policy


def test_defaults_and_admission_of_the_smallest_pod(server):
    pod = server.create("pods", POD)
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert pod["metadata"]["generation"] == 1
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["schedulerName"]) == (
        "Always", "ClusterFirst", "default-scheduler",
    )  # fmt: skip
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert [(t["key"], t["tolerationSeconds"]) for t in spec["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["volumeMounts"] == [
        {
            "name": "kube-api-access-xxxxx",
            "readOnly": True,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        }
    ]
    sources = spec["volumes"][0]["projected"]["sources"]
    assert [next(iter(source)) for source in sources] == ["serviceAccountToken", "configMap", "downwardAPI"]


def test_defaults_of_a_fuller_pod(server):
    pod = server.create("pods", FULL)
    container = pod["spec"]["containers"][0]
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "128Mi"}
    assert container["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert container["ports"][0]["protocol"] == "TCP"
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert pod["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert pod["status"]["qosClass"] == "Burstable"


def test_host_network_pods_take_their_ports_on_the_host(server, edit):
    pod = server.create("pods", edit(FULL, "spec.hostNetwork", True))
    assert pod["spec"]["containers"][0]["ports"][0]["hostPort"] == 80


@pytest.mark.parametrize(("on_host", "found"), [(0, False), (80, False), (8080, True)])
def test_templates_on_the_host_network_may_leave_host_ports_open(server, edit, on_host, found):
    labels = {"app": "p"}
    template = edit(FULL, "spec.hostNetwork", True) | {"metadata": {"labels": labels}}
    template["spec"]["containers"][0]["ports"][0] |= {"hostPort": on_host} if on_host else {}
    owner = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    where = "spec.template.spec.containers[0].ports[0].hostPort"
    text = f"{where}: Invalid value: 8080: must match `containerPort` when `hostNetwork` is true"
    assert server.findings("daemonsets.apps", owner) == ([text] if found else [])


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        ("spec.containers", [], "spec.containers: Required value"),
        ("spec.containers.0.name", "", "spec.containers[0].name: Required value"),
        ("spec.containers.0.name", "Bad_", 'spec.containers[0].name: Invalid value: "Bad_": a lowercase RFC 1123'),
        ("spec.containers.0.image", "", "spec.containers[0].image: Required value"),
        ("spec.containers.0.image", " x", 'spec.containers[0].image: Invalid value: " x": must not have leading or'),
        ("spec.containers.0.ports.0.containerPort", 0, "spec.containers[0].ports[0].containerPort: Required value"),
        ("spec.containers.0.ports.0.name", "a" * 16, "spec.containers[0].ports[0].name: Invalid value"),
        ("spec.containers.0.ports.0.protocol", "ICMP", "spec.containers[0].ports[0].protocol: Unsupported value"),
        ("spec.containers.0.volumeMounts.0.name", "w", 'spec.containers[0].volumeMounts[0].name: Not found: "w"'),
        ("spec.containers.0.env.0.name", "a=b", "spec.containers[0].env[0].name: Invalid value"),
        (
            "spec.containers.0.env.0.value",
            "1",
            'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
        ),
        ("spec.containers.0.livenessProbe", {}, "spec.containers[0].livenessProbe: Required value: must specify a"),
        (
            "spec.containers.0.livenessProbe.successThreshold",
            2,
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            "spec.containers.0.resources.requests.cpu",
            "2",
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        ("spec.volumes", [{"name": "v"}, {"name": "v"}], 'spec.volumes[1].name: Duplicate value: "v"'),
        (
            "spec.volumes",
            [{"name": "v"}, {"name": "w", "emptyDir": {}, "hostPath": {"path": "/"}}],
            "spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        ("spec.restartPolicy", "Odd", 'spec.restartPolicy: Unsupported value: "Odd": supported values: "Always"'),
        ("spec.dnsPolicy", "None", "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        ("spec.nodeSelector", {"a b": "c"}, 'spec.nodeSelector: Invalid value: "a b"'),
        ("spec.nodeName", "Bad_", 'spec.nodeName: Invalid value: "Bad_"'),
        ("spec.hostname", "a.b", 'spec.hostname: Invalid value: "a.b": must not contain dots'),
        ("spec.tolerations", [{"key": "a", "operator": "Near"}], "spec.tolerations[0].operator: Unsupported value"),
        ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and"),
        ("spec.ephemeralContainers", [{"name": "d", "image": "x"}], "spec.ephemeralContainers: Forbidden: cannot be"),
        ("spec.schedulingGates", [{"name": "a"}, {"name": "a"}], 'spec.schedulingGates[1]: Duplicate value: "a"'),
        ("spec.hostAliases", [{"ip": "x"}], 'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP'),
        (
            "spec.initContainers",
            [{"name": "main", "image": "x:1"}],
            'spec.initContainers[0].name: Duplicate value: "main"',
        ),
        (
            "spec.topologySpreadConstraints",
            [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
    ],
)
def test_one_wrong_field_is_one_finding(server, edit, path, value, finding):
    found = server.findings("pods", edit(FULL, path, value))
    assert len(found) == 1, found
    assert found[0].startswith(finding)


def test_the_good_pod_has_no_findings(server):
    assert server.findings("pods", FULL) == []


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("spec.priorityClassName", "nope", "no PriorityClass with name nope was found"),
        ("spec.runtimeClassName", "nope", 'pod rejected: RuntimeClass "nope" not found'),
        (
            "spec.serviceAccountName",
            "nope",
            'error looking up service account default/nope: serviceaccount "nope" not found',
        ),
    ],
)
def test_what_a_pod_names_must_exist(server, edit, path, value, text):
    with pytest.raises(Refusal) as refused:
        server.create("pods", edit(POD, path, value))
    assert refused.value.status["message"] == f'pods "p" is forbidden: {text}'
    assert refused.value.code == 403


def test_label_keys_go_into_the_selectors(server, edit):
    term = {
        "topologyKey": "zone",
        "labelSelector": {"matchLabels": {"app": "web"}},
        "matchLabelKeys": ["hash", "missing"],
        "mismatchLabelKeys": ["tenant"],
    }
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    pod = edit(edit(POD, "metadata.labels", {"hash": "1", "tenant": "a"}), "spec.affinity", affinity)
    made = server.create("pods", pod)["spec"]["affinity"]["podAntiAffinity"]
    assert made["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchExpressions"] == [
        {"key": "hash", "operator": "In", "values": ["1"]},
        {"key": "tenant", "operator": "NotIn", "values": ["a"]},
    ]


def test_priority_comes_from_the_class(server, edit):
    cls = {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}
    server.seed("scheduling.k8s.io", "priorityclasses", "", cls)
    pod = server.create("pods", edit(POD, "spec.priorityClassName", "high"))
    assert (pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) == (1000, "Never")


def test_own_tolerations_are_kept(server, edit):
    pod = server.create("pods", edit(POD, "spec.tolerations", [{"operator": "Exists"}]))
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]


# --- updates ----------------------------------------------------------------------------------------------------------


def test_an_image_may_change_and_bumps_the_generation(server, edit):
    old = server.create("pods", FULL)
    new = server.update("pods", old, edit(old, "spec.containers.0.image", "app:2"))
    assert new["metadata"]["generation"] == 2


def test_a_label_does_not_bump_it(server, edit):
    old = server.create("pods", FULL)
    assert server.update("pods", old, edit(old, "metadata.labels", {"a": "b"}))["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.nodeName", "n1", "spec"),
        ("spec.containers.0.env", [], "spec"),
        ("spec.restartPolicy", "Never", "spec"),
        ("spec.containers", [], "spec.containers"),
    ],
)
def test_the_rest_of_a_spec_stays(server, edit, path, value, field):
    old = server.create("pods", FULL)
    assert field in [found.partition(":")[0] for found in server.changes("pods", old, edit(old, path, value))]


def test_a_deadline_may_only_shrink(server, edit):
    old = server.create("pods", edit(FULL, "spec.activeDeadlineSeconds", 30))
    assert server.changes("pods", old, edit(old, "spec.activeDeadlineSeconds", 20)) == []
    assert server.changes("pods", old, edit(old, "spec.activeDeadlineSeconds", 40)) == [
        "spec.activeDeadlineSeconds: Invalid value: 40: must be less than or equal to previous value"
    ]


def test_the_refusal_shows_what_would_change(server, edit):
    old = server.create("pods", FULL)
    (found,) = server.changes("pods", old, edit(old, "spec.hostname", "h"))
    assert "pod updates may not change fields other than" in found
    assert '\n- "Hostname": "",\n+ "Hostname": "h",\n' in found


def test_status_writes_leave_the_spec_alone(server, edit):
    old = server.create("pods", FULL)
    wanted = edit(edit(old, "spec.containers.0.image", "other"), "status", {"phase": "Running", "podIP": "10.42.0.5"})
    new = server.update("pods", old, wanted, "status")
    assert new["spec"] == old["spec"]
    assert new["status"] == {
        "phase": "Running", "podIP": "10.42.0.5", "podIPs": [{"ip": "10.42.0.5"}], "qosClass": "Burstable",
    }  # fmt: skip
    assert server.update("pods", old, wanted)["status"] == old["status"]


def test_gates_may_go_but_not_come(server, edit):
    old = server.create("pods", edit(FULL, "spec.schedulingGates", [{"name": "example.com/a"}]))
    assert old["status"]["conditions"][0]["reason"] == "SchedulingGated"
    assert server.changes("pods", old, edit(old, "spec.schedulingGates", [])) == []
    found = server.changes("pods", old, edit(old, "spec.schedulingGates", [{"name": "example.com/b"}]))
    assert found == [
        "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, "
        "but found new scheduling gate 'example.com/b'"
    ]


def test_ephemeral_containers_come_through_their_subresource(server, edit):
    old = server.create("pods", FULL)
    added = edit(old, "spec.ephemeralContainers", [{"name": "debug", "image": "busybox:1"}])
    new = server.update("pods", old, added, "ephemeralcontainers")
    assert new["spec"]["ephemeralContainers"][0]["name"] == "debug"
    assert server.changes("pods", new, old, "ephemeralcontainers") == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed\n'
    ]


# --- binding, deletion, classes ---------------------------------------------------------------------------------------


def _binding(node="n1"):
    return {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}


def test_binding_assigns_the_node_once(server):
    pod = server.create("pods", POD)
    bind(pod, _binding(), server.ctx)
    assert pod["spec"]["nodeName"] == "n1"
    assert [(c["type"], c["status"]) for c in pod["status"]["conditions"]] == [("PodScheduled", "True")]
    with pytest.raises(Refusal) as refused:
        bind(pod, _binding("n2"), server.ctx)
    assert refused.value.code == 409
    assert refused.value.status["message"].endswith('pod p is already assigned to node "n1"')


@pytest.mark.parametrize(
    ("spec", "phase", "asked", "granted"),
    [
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, "Running", None, 30),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, "Running", 5, 5),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, "Running", -1, 1),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, "Succeeded", None, 0),
        ({"terminationGracePeriodSeconds": 30}, "Pending", None, 0),
    ],
)
def test_grace(spec, phase, asked, granted):
    assert PODS.graceful_seconds({"spec": spec, "status": {"phase": phase}}, asked) == granted


def _spec(*resources):
    return {"containers": [{"name": str(index), "resources": item} for index, item in enumerate(resources)]}


BOTH = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (_spec({}), "BestEffort"),
        (_spec({"limits": {"cpu": "0"}}), "BestEffort"),
        (_spec({"limits": BOTH, "requests": BOTH}), "Guaranteed"),
        (_spec({"limits": BOTH, "requests": BOTH}, {}), "Burstable"),
        (_spec({"limits": BOTH, "requests": {**BOTH, "cpu": "500m"}}), "Burstable"),
        (_spec({"requests": {"cpu": "1"}}), "Burstable"),
    ],
)
def test_quality_of_service(spec, expected):
    assert qos_class(spec) == expected


def test_warnings_name_the_field():
    pod = {
        "metadata": {"name": "a.b"},
        "spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "containers": [{"name": "c", "env": [{"name": "A"}, {"name": "A"}]}],
        },
    }
    assert [text.partition(":")[0] for text in PODS.warnings(pod)] == [
        "metadata.name",
        "spec.nodeSelector[beta.kubernetes.io/os]",
        "spec.containers[0].env[1]",
    ]
