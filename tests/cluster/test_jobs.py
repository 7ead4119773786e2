"""Jobs and cron jobs with real programs."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Pod
from wherry.workloads.batch import JOBS, Job


def job(name: str, script: str, *, restart: str = "Never", **spec: Any) -> dict[str, Any]:
    """A job whose pods run a shell script."""
    container = {"name": "main", "image": "busybox:1.37", "command": ["sh", "-c", script]}
    pod = {"restartPolicy": restart, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": pod}, **spec},
    }  # fmt: skip


def cron_job(name: str, schedule: str, script: str, **spec: Any) -> dict[str, Any]:
    """A cron job whose jobs run a shell script."""
    return {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": job(name, script)["spec"]}, **spec},
    }  # fmt: skip


class Kubectl:
    """kubectl in one namespace."""

    def __init__(self, cluster: Sandbox, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def __call__(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments).out

    def apply(self, *objects: dict[str, Any]) -> None:
        self.cluster.apply(*objects, namespace=self.namespace)

    def get(self, *arguments: str) -> Any:
        return self.cluster.get("-n", self.namespace, *arguments)

    def wait(self, condition: str, *things: str) -> None:
        self("wait", f"--for={condition}", *things, "--timeout=60s")


@pytest.fixture
def k(cluster: Sandbox, namespace: str) -> Kubectl:
    return Kubectl(cluster, namespace)


def reasons(k: Kubectl, name: str) -> dict[str, str]:
    """Messages of the events about an object, by reason."""
    found = k.get("events", "--field-selector", f"involvedObject.name={name}")["items"]
    return {each["reason"]: each["message"] for each in found}


def test_jobs_end(k: Kubectl) -> None:
    """Several kinds of jobs at once, so that their waits overlap."""
    k("create", "job", "hello", "--image=busybox:1.37", "--", "sh", "-c", "echo hello from $HOSTNAME")
    k.apply(
        job("indexed", "echo $JOB_COMPLETION_INDEX at $(hostname)", completionMode="Indexed", completions=3,
            parallelism=3),
        job("doomed", "exit 3", backoffLimit=0),
        job("retried", "exit 1", restart="OnFailure", backoffLimit=1),
        job("picky", "exit 42", backoffLimit=6, podFailurePolicy={"rules": [
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
        ]}),
        job("late", "sleep 600", activeDeadlineSeconds=1),
        job("brief", "true", ttlSecondsAfterFinished=0),
    )  # fmt: skip
    k.wait("condition=complete", "job/hello", "job/indexed")
    k.wait("condition=failed", "job/doomed", "job/retried", "job/picky", "job/late")
    k.wait("delete", "job/brief")
    k.wait("delete", "pods", "-l", "job-name=brief")
    assert k("logs", "job/hello").startswith("hello from hello-")
    logs = k("logs", "-l", "job-name=indexed").splitlines()
    assert sorted(logs) == [f"{number} at indexed-{number}" for number in range(3)]
    indexed = k.get("job", "indexed")["status"]
    assert (indexed["completedIndexes"], indexed["succeeded"]) == ("0-2", 3)
    assert [each["type"] for each in indexed["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    ends = {
        name: [(each["type"], each["reason"]) for each in k.get("job", name)["status"]["conditions"]]
        for name in ("doomed", "retried", "picky", "late")
    }
    assert ends == {
        name: [("FailureTarget", reason), ("Failed", reason)]
        for name, reason in {
            "doomed": "BackoffLimitExceeded", "retried": "BackoffLimitExceeded", "picky": "PodFailurePolicy",
            "late": "DeadlineExceeded",
        }.items()
    }  # fmt: skip
    assert k.get("job", "doomed")["status"]["failed"] == 1
    said = reasons(k, "doomed")
    assert said["BackoffLimitExceeded"] == "Job has reached the specified backoff limit"
    assert reasons(k, "late")["DeadlineExceeded"] == "Job was active longer than specified deadline"
    assert reasons(k, "hello")["Completed"] == "Job completed"
    row = k("get", "job", "hello", "--no-headers").split()
    assert row[1:3] == ["Complete", "1/1"]
    said = k.cluster.kubectl("-n", k.namespace, "delete", "job", "--all", "--timeout=30s")
    assert said.err == ""
    k.wait("delete", "pods", "--all")


def test_pods_are_counted_once_when_controllers_die(k: Kubectl) -> None:
    k.apply(job("many", "sleep 0.2", completions=12, parallelism=4))

    def some_done(jobs: list[Job]) -> bool:
        return any(each.status.succeeded >= 3 for each in jobs)

    k.cluster.until(JOBS, some_done, namespace=k.namespace)
    os.kill(k.cluster.pid("controllers"), signal.SIGKILL)
    k.wait("condition=complete", "job/many")
    status = k.get("job", "many")["status"]
    assert (status["succeeded"], status.get("failed", 0), status["uncountedTerminatedPods"]) == (12, 0, {})
    pods = k.get("pods", "-l", "job-name=many")["items"]
    assert len(pods) == 12
    assert not any(each["metadata"].get("finalizers") for each in pods)


def test_suspend_and_resume(k: Kubectl) -> None:
    k.apply(job("paused", "sleep 600", suspend=True))
    k.wait("condition=suspended", "job/paused")
    assert k.get("pods")["items"] == []

    def running(pods: list[Pod]) -> bool:
        return any(each.ready for each in pods)

    k("patch", "job", "paused", "-p", '{"spec":{"suspend":false}}')
    k.cluster.until(kinds.PODS, running, namespace=k.namespace)
    k("patch", "job", "paused", "-p", '{"spec":{"suspend":true}}')
    k.wait("condition=suspended", "job/paused")
    k.wait("delete", "pods", "--all")
    said = reasons(k, "paused")
    assert (said["Suspended"], said["Resumed"]) == ("Job suspended", "Job resumed")
    assert k.get("job", "paused")["status"].get("failed", 0) == 0


def test_cron_jobs(k: Kubectl) -> None:
    k.apply(
        cron_job("yearly", "0 0 1 1 *", "echo happy new year", timeZone="Etc/UTC", suspend=True),
        cron_job("off", "* * * * *", "true", suspend=True),
    )
    k("create", "job", "now", "--from=cronjob/yearly")
    past = '{"status":{"lastScheduleTime":"2024-06-01T00:00:00Z"}}'
    k("patch", "cronjob", "yearly", "--subresource=status", "--type=merge", "-p", past)
    k("patch", "cronjob", "yearly", "-p", '{"spec":{"suspend":false}}')
    k("wait", "--for=jsonpath={.status.lastSuccessfulTime}", "cronjob/yearly", "--timeout=60s")
    k("wait", "--for=condition=complete", "job/now", "--timeout=60s")
    assert k("logs", "job/now") == "happy new year\n"
    status = k.get("cronjob", "yearly")["status"]
    assert status["lastScheduleTime"].endswith("-01-01T00:00:00Z")
    year = datetime.fromisoformat(status["lastScheduleTime"])
    made = f"yearly-{int(year.timestamp()) // 60}"
    k.wait("condition=complete", f"job/{made}")
    found = k.get("job", made)["metadata"]
    assert found["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] == status["lastScheduleTime"]
    assert {each["metadata"]["name"] for each in k.get("jobs")["items"]} == {"now", made}
    row = k("get", "cronjob", "yearly", "--no-headers").split()
    assert row[6:8] == ["Etc/UTC", "False"]
    k("delete", "cronjob", "--all", "--timeout=30s")
    k.wait("delete", "pods", "--all")
