from __future__ import annotations

import pytest

from wherry.apiserver.kinds.apps.daemonsets import TEMPLATE_GENERATION
from wherry.apiserver.kinds.common import labels_match


def _workload(**spec):
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "metadata": {"name": "w"},
        "spec": {"selector": {"matchLabels": {"app": "w"}}, "template": template, **spec},
    }


ALL = ["deployments.apps", "replicasets.apps", "daemonsets.apps", "statefulsets.apps"]


@pytest.mark.parametrize("resource", ALL)
def test_a_workload_without_frills_is_good(server, resource):
    made = server.create(resource, _workload())
    assert made["metadata"]["generation"] == 1
    assert made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert "enableServiceLinks" not in made["spec"]["template"]["spec"]


@pytest.mark.parametrize("resource", ALL)
def test_the_selector_fits_the_template_and_stays(server, edit, resource):
    found = server.findings(resource, edit(_workload(), "spec.selector.matchLabels", {"app": "x"}))
    assert found[0].endswith('Invalid value: {"app":"w"}: `selector` does not match template `labels`')
    found = server.findings(resource, edit(_workload(), "spec.selector", None))
    assert found[0] == "spec.selector: Required value"
    old = server.create(resource, _workload())
    both = edit(edit(old, "spec.selector.matchLabels", {"app": "y"}), "spec.template.metadata.labels", {"app": "y"})
    assert server.changes(resource, old, both)[0].startswith("spec")


@pytest.mark.parametrize("resource", ALL)
def test_pods_of_workloads_restart_always(server, edit, resource):
    found = server.findings(resource, edit(_workload(), "spec.template.spec.restartPolicy", "Never"))
    assert found == ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']


@pytest.mark.parametrize("resource", ALL)
def test_status_and_spec_are_written_apart(server, edit, resource):
    old = server.create(resource, _workload())
    wanted = edit(edit(old, "spec.minReadySeconds", 7), "status", {"observedGeneration": 1, "replicas": 0})
    assert server.update(resource, old, wanted)["status"] == old["status"]
    after = server.update(resource, old, wanted, "status")
    assert after["spec"] == old["spec"]
    assert after["metadata"]["generation"] == 1
    assert after["status"]["observedGeneration"] == 1


def test_deployment_defaults(server):
    spec = server.create("deployments.apps", _workload())["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"strategy": {"type": "Odd"}}, 'spec.strategy: Unsupported value: {"Type":"Odd","RollingUpdate":null}'),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {}}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "200%"}}},
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "200%": must not be greater than 100%',
        ),
        (
            {"progressDeadlineSeconds": 5, "minReadySeconds": 10},
            "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
        ),
    ],
)
def test_deployment_findings(server, fields, finding):
    found = server.findings("deployments.apps", _workload(**fields))
    assert len(found) == 1
    assert found[0].startswith(finding)


@pytest.mark.parametrize(
    ("path", "value", "generation"),
    [
        ("spec.replicas", 3, 2),
        ("metadata.annotations", {"a": "b"}, 2),
        ("metadata.labels", {"a": "b"}, 1),
    ],
)
def test_what_counts_for_the_generation_of_a_deployment(server, edit, path, value, generation):
    old = server.create("deployments.apps", _workload())
    assert server.update("deployments.apps", old, edit(old, path, value))["metadata"]["generation"] == generation


def test_scale_reads_and_writes_replicas(server):
    deployment = server.create("deployments.apps", _workload(replicas=2))
    scale = server.row("deployments.apps").by_subresource["scale"]
    shown = scale.read(deployment)
    assert (shown["spec"], shown["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "app=w"})
    scale.write(deployment, {"spec": {}})
    assert deployment["spec"]["replicas"] == 0
    assert [error.field for error in scale.validate({"spec": {"replicas": -1}})] == ["spec.replicas"]


@pytest.mark.parametrize(
    ("status", "finding"),
    [
        ({"replicas": 1, "readyReplicas": 2}, "status.readyReplicas: Invalid value: 2: cannot be greater than status."),
        ({"replicas": -1}, "status.replicas: Invalid value: -1: must be greater than or equal to 0"),
    ],
)
def test_replica_set_status_findings(server, edit, status, finding):
    old = server.create("replicasets.apps", _workload())
    assert server.changes("replicasets.apps", old, edit(old, "status", status), "status")[0].startswith(finding)


@pytest.mark.parametrize(
    ("surge", "unavailable", "finding"),
    [
        (0, 1, None),
        (1, 0, None),
        (1, 1, "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is"),
        (0, 0, "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
    ],
)
def test_daemon_sets_surge_or_go_without(server, surge, unavailable, finding):
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    found = server.findings("daemonsets.apps", _workload(updateStrategy=strategy))
    assert (not found) if finding is None else found[0].startswith(finding)


def test_daemon_sets_count_changes_of_their_template(server, edit):
    old = server.create("daemonsets.apps", _workload())
    assert old["metadata"]["annotations"] == {TEMPLATE_GENERATION: "1"}
    same = server.update("daemonsets.apps", old, edit(old, "spec.minReadySeconds", 1))
    assert same["metadata"]["annotations"] == {TEMPLATE_GENERATION: "1"}
    changed = server.update("daemonsets.apps", old, edit(old, "spec.template.spec.containers.0.image", "i:2"))
    assert changed["metadata"]["annotations"] == {TEMPLATE_GENERATION: "2"}


def test_stateful_sets_change_in_a_few_fields_only(server, edit):
    old = server.create("statefulsets.apps", _workload(serviceName="s"))
    assert server.changes("statefulsets.apps", old, edit(old, "spec.replicas", 3)) == []
    (found,) = server.changes("statefulsets.apps", old, edit(old, "spec.serviceName", "t"))
    assert found.startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_stateful_sets_mount_the_claims_of_their_templates(server, edit):
    wanted = _workload(volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}])
    wanted["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    made = server.create("statefulsets.apps", wanted)
    assert "volumes" not in made["spec"]["template"]["spec"]
    (found,) = server.findings("statefulsets.apps", edit(wanted, "spec.volumeClaimTemplates", []))
    assert found == 'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'


def _job(**spec):
    pod = {"containers": [{"name": "c", "image": "i:1"}], "restartPolicy": "Never"}
    return {"metadata": {"name": "j"}, "spec": {"template": {"spec": pod}, **spec}}


def test_a_job_selects_its_pods_by_its_uid(server):
    job = server.create("jobs.batch", _job())
    uid = job["metadata"]["uid"]
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels == job["metadata"]["labels"]
    assert (labels["job-name"], labels["controller-uid"]) == ("j", uid)
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (1, 1, 6)


@pytest.mark.parametrize(
    ("job", "finding"),
    [
        (_job(parallelism=-1), "spec.parallelism: Invalid value: -1"),
        (_job(completionMode="Odd"), 'spec.completionMode: Unsupported value: "Odd"'),
        (_job(backoffLimitPerIndex=1), "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        (_job(selector={"matchLabels": {"a": "b"}}), "spec.selector: Invalid value"),
        (
            _job(podFailurePolicy={"rules": [{"action": "Ignore"}]}),
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions",
        ),
        (
            {"metadata": {"name": "j"}, "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}},
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
        ),
    ],
)
def test_job_findings(server, job, finding):
    assert server.findings("jobs.batch", job)[0].startswith(finding)


def test_a_job_keeps_its_template(server, edit):
    old = server.create("jobs.batch", _job())
    (found,) = server.changes("jobs.batch", old, edit(old, "spec.template.spec.containers.0.image", "i:2"))
    assert found.startswith('spec.template.spec: Invalid value: {"Volumes":null')
    assert found.endswith("field is immutable")
    assert server.changes("jobs.batch", old, edit(old, "spec.parallelism", 2)) == []


@pytest.mark.parametrize(
    ("selector", "matched"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_selectors(selector, matched):
    assert labels_match(selector, {"a": "1"}) is matched
