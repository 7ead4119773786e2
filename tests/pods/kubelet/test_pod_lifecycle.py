"""Pods of one node from creation to deletion, against fakes of everything around the controller."""

import time

import pytest

from wherry.kube.kinds import CONFIG_MAPS, PODS
from wherry.kube.times import format_time
from wherry.pods.backoff import BackOffPolicy
from wherry.pods.testing.node import Node, condition, container, pod


def config_map(name: str = "settings", **data: str) -> dict:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


def delete(node: Node, name: str = "web", *, grace: int = 30) -> None:
    """Ask for deletion as the API server does: a stamp, and the object stays."""
    found = node.get(name)
    found = found | {
        "metadata": found["metadata"]
        | {"deletionTimestamp": format_time(time.time() + grace), "deletionGracePeriodSeconds": grace}
    }
    node.put(found)


async def test_a_stand_in_pod_becomes_ready_with_one_status_write(node: Node) -> None:
    async with node.running():
        node.put(pod())
        found = await node.until_ready()
    status = found["status"]
    assert status["phase"] == "Running"
    assert status["podIP"] == "10.42.0.2"
    assert status["podIPs"] == [{"ip": "10.42.0.2"}]
    assert status["hostIP"] == "172.30.0.11"
    assert [entry["type"] for entry in status["conditions"]] == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    web = status["containerStatuses"][0]
    assert (web["ready"], web["started"], web["restartCount"]) == (True, True, 0)
    assert web["containerID"].startswith("wherry://")
    assert len(node.writes("/status")) == 1


async def test_the_events_are_the_kubelets_and_name_the_stand_in(node: Node) -> None:
    async with node.running():
        node.put(pod())
        await node.until_event("Created")
        assert "example.com/web:1" in await node.until_event("Started")


async def test_the_image_of_a_program_is_present(node: Node) -> None:
    async with node.running():
        node.put(pod(containers=[container(image="busybox:1.37", command=["sleep", "9"])]))
        assert await node.until_event("Pulled") == (
            'Container image "busybox:1.37" already present on machine and can be accessed by the pod'
        )
        await node.until_event("Started")


async def test_deletion_stops_reports_and_removes_the_object(node: Node) -> None:
    async with node.running():
        made = node.put(pod())
        await node.until_ready()
        delete(node)
        await node.until(lambda: not node.exists())
        assert node.runtime.running() == {}
        assert node.sandboxes.known == {}
        methods = [(method, path) for method, path in node.server.requests if "/pods/web" in path]
        assert methods[-2:] == [
            ("PATCH", "/api/v1/namespaces/default/pods/web/status"),
            ("DELETE", "/api/v1/namespaces/default/pods/web"),
        ]
        assert made["metadata"]["uid"]
        assert "Stopping container web" in await node.until_event("Killing")


async def test_a_stubborn_container_is_killed_when_the_grace_period_is_over(node: Node) -> None:
    node.runtime.stubborn.add("web")
    async with node.running():
        node.put(pod())
        await node.until_ready()
        id_ = node.id_of("web")
        delete(node, grace=1)
        await node.until(lambda: not node.exists())
        assert ("stop", id_) in node.runtime.calls


async def test_an_object_that_vanishes_takes_its_pod_along(node: Node) -> None:
    async with node.running():
        node.put(pod())
        await node.until_ready()
        node.server.remove(PODS, "web", "default")
        await node.until_runtime(lambda: not node.runtime.running() and not node.sandboxes.known)


async def test_a_pod_made_anew_under_its_name_is_another_pod(node: Node) -> None:
    async with node.running():
        node.put(pod())
        first = await node.until_ready()
        node.server.remove(PODS, "web", "default")
        node.put(pod())
        await node.until(
            lambda: (
                node.get()["metadata"]["uid"] != first["metadata"]["uid"] and condition(node.get(), "Ready") == "True"
            )
        )
        assert node.get()["status"]["podIP"] == "10.42.0.3"


async def test_init_containers_run_one_after_the_other_before_the_rest(node: Node) -> None:
    async with node.running():
        node.put(pod(initContainers=[container("one"), container("two")]))
        await node.until_runtime(lambda: "one" in node.runtime.running())
        assert set(node.runtime.running()) == {"one"}
        node.runtime.exit(node.id_of("one"))
        await node.until_runtime(lambda: "two" in node.runtime.running())
        assert set(node.runtime.running()) == {"two"}
        node.runtime.exit(node.id_of("two"))
        found = await node.until_ready()
        assert [entry["ready"] for entry in found["status"]["initContainerStatuses"]] == [True, True]


async def test_a_sidecar_outlives_the_main_container_of_a_job(node: Node) -> None:
    async with node.running():
        node.put(pod(initContainers=[container("proxy", restartPolicy="Always")], restartPolicy="Never"))
        await node.until_runtime(lambda: {"proxy", "web"} <= set(node.runtime.running()))
        node.runtime.exit(node.id_of("web"))
        found = await node.until_phase("Succeeded")
        assert node.runtime.running() == {}
        assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
        assert found["status"]["podIP"] == "10.42.0.2"
        assert node.sandboxes.known == {}


async def test_a_container_that_keeps_failing_is_held_back(node: Node) -> None:
    async with node.running(backoff=BackOffPolicy(base=60.0)):
        node.put(pod())
        await node.until_ready()
        node.runtime.exit(node.id_of("web"), 3)
        await node.until(lambda: node.get()["status"]["containerStatuses"][0]["restartCount"] == 1)
        await node.until_ready()
        node.runtime.exit(node.id_of("web"), 4)
        found = await node.until(
            lambda: node.get() if "waiting" in node.get()["status"]["containerStatuses"][0]["state"] else None
        )
        web = found["status"]["containerStatuses"][0]
        assert web["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert web["state"]["waiting"]["message"].startswith(
            "back-off 1m0s restarting failed container=web pod=web_default("
        )
        assert web["lastState"]["terminated"]["exitCode"] == 4
        assert found["status"]["phase"] == "Running"
        assert "Back-off restarting failed container web in pod" in await node.until_event("BackOff")


async def test_never_restarted_means_failed(node: Node) -> None:
    async with node.running():
        node.put(pod(restartPolicy="Never"))
        await node.until_ready()
        node.runtime.exit(node.id_of("web"), 7)
        found = await node.until_phase("Failed")
        assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
        assert condition(found, "Ready") == "False"


async def test_a_missing_config_map_is_named_and_waited_for(node: Node) -> None:
    variable = {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}}
    async with node.running():
        node.put(pod(containers=[container(env=[variable])]))
        node.put(pod("other"))
        await node.until_ready("other")
        found = await node.until(lambda: node.get() if node.get()["status"].get("containerStatuses") else None)
        waiting = found["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}
        node.server.put(CONFIG_MAPS.as_dict(), config_map(colour="green"))
        await node.until_ready()
        assert node.runtime.running()["web"].env["COLOUR"] == "green"


async def test_a_missing_volume_source_fails_the_mount(node: Node) -> None:
    volume = {"name": "files", "configMap": {"name": "settings"}}
    async with node.running():
        node.put(pod(volumes=[volume]))
        text = await node.until_event("FailedMount")
        assert text == 'MountVolume.SetUp failed for volume "files" : configmap "settings" not found'
        assert node.sandboxes.known == {}
        node.server.put(CONFIG_MAPS.as_dict(), config_map(colour="green"))
        await node.until_ready()


async def test_a_sandbox_that_fails_is_tried_again(node: Node) -> None:
    node.sandboxes.failures.append(OSError("no more addresses"))
    async with node.running():
        node.put(pod())
        assert "no more addresses" in await node.until_event("FailedCreatePodSandBox")
        await node.until_ready()


async def test_a_program_that_cannot_start_says_why(node: Node) -> None:
    node.runtime.broken["web"] = "exec: nothing: not found"
    async with node.running(backoff=BackOffPolicy(base=60.0)):
        node.put(pod())
        found = await node.until(
            lambda: (
                node.get() if node.get()["status"].get("containerStatuses", [{}])[0].get("restartCount") == 1 else None
            )
        )
        web = found["status"]["containerStatuses"][0]
        assert web["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert web["lastState"]["terminated"]["message"] == "exec: nothing: not found"
        assert web["lastState"]["terminated"]["reason"] == "StartError"


async def test_the_active_deadline_ends_a_pod(node: Node) -> None:
    async with node.running():
        # The start is recorded in whole seconds, so the deadline may come before anyone has seen the pod ready.
        node.put(pod(activeDeadlineSeconds=1))
        found = await node.until_phase("Failed")
        assert found["status"]["reason"] == "DeadlineExceeded"


async def test_a_changed_image_replaces_the_container(node: Node) -> None:
    async with node.running():
        node.put(pod())
        found = await node.until_ready()
        found = found | {"spec": found["spec"] | {"containers": [container(image="example.com/web:2")]}}
        node.put(found)
        await node.until_runtime(
            lambda: (
                node.runtime.running().get("web", None) and node.runtime.running()["web"].image == "example.com/web:2"
            )
        )
        assert "definition changed" in await node.until_event("Killing")


async def test_readiness_gates_hold_readiness_back(node: Node) -> None:
    async with node.running():
        node.put(pod(readinessGates=[{"conditionType": "example.com/gate"}]))
        found = await node.until(lambda: node.get() if condition(node.get(), "ContainersReady") == "True" else None)
        assert condition(found, "Ready") == "False"
        conditions = [*found["status"]["conditions"], {"type": "example.com/gate", "status": "True"}]
        node.put(found | {"status": found["status"] | {"conditions": conditions}})
        await node.until_ready()


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_finished_pod_never_runs_again(node: Node, phase: str) -> None:
    node.put(pod("old") | {"status": {"phase": phase}})
    async with node.running():
        node.put(pod())
        await node.until_ready()
        assert set(node.runtime.specs) == {node.id_of("web")}
        assert node.get("old")["status"]["phase"] == phase
