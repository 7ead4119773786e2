"""What a killed agent, an absent API server and an absent runtime do to pods: nothing."""

import asyncio

from wherry.kube.kinds import PODS
from wherry.pods.testing.node import Node, condition, container, pod

READY = {"httpGet": {"path": "/", "port": 1}, "periodSeconds": 1, "failureThreshold": 3}


async def test_a_new_agent_adopts_what_runs_and_writes_nothing(node: Node) -> None:
    async with node.running():
        node.put(pod())
        await node.until_ready()
        id_ = node.id_of("web")
    before = len(node.writes("/status"))
    starts = node.runtime.calls.count(("start", id_))
    async with node.running():
        node.put(pod("next"))
        await node.until_ready("next")
        assert node.runtime.calls.count(("start", id_)) == starts
        assert id_ in [spec.id for spec in node.runtime.specs.values()]
    assert [path for _, path in node.writes("/status")[before:]] == ["/api/v1/namespaces/default/pods/next/status"]


async def test_a_pod_deleted_while_no_agent_ran_is_cleaned_up(node: Node) -> None:
    async with node.running():
        made = node.put(pod())
        await node.until_ready()
    uid = made["metadata"]["uid"]
    logs = node.settings.data_dir / "pods" / f"default_web_{uid}"
    (logs / "web").mkdir(parents=True)
    node.server.remove(PODS, "web", "default")
    async with node.running():
        await node.until_runtime(lambda: not node.runtime.specs and not node.sandboxes.known)
        async with asyncio.timeout(5):
            while logs.exists():  # noqa: ASYNC110 - removed in a thread, which has nothing to wait on
                await asyncio.sleep(0.01)


async def test_a_container_lost_with_the_runtime_counts_as_a_restart(node: Node) -> None:
    async with node.running():
        node.put(pod())
        await node.until_ready()
    node.runtime.__init__()  # type: ignore[misc]
    async with node.running():
        found = await node.until(
            lambda: node.get() if node.get()["status"]["containerStatuses"][0]["restartCount"] == 1 else None
        )
        ended = found["status"]["containerStatuses"][0]["lastState"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("ContainerStatusUnknown", 137)


async def test_readiness_survives_a_restart_of_the_agent(node: Node) -> None:
    async with node.running():
        made = node.put(pod(containers=[container(readinessProbe=READY | {"exec": {"command": ["true"]}})]))
        await node.until_ready()
    uid = made["metadata"]["uid"]
    seen: list[str | None] = []
    node.server.store.listeners.append(
        lambda change: seen.append(condition(change.new, "Ready")) if change.new and change.place[0] == "pods" else None
    )
    async with node.running():
        node.put(pod("next"))
        await node.until_ready("next")
    assert condition(node.get(), "Ready") == "True"
    assert uid == node.get()["metadata"]["uid"]
    assert len([path for _, path in node.writes("/pods/web/status")]) == 1


async def test_an_exit_while_the_api_is_away_is_reported_when_it_is_back(node: Node) -> None:
    async with node.running():
        node.put(pod(restartPolicy="Never"))
        await node.until_ready()
        await node.server.stop()
        node.runtime.exit(node.id_of("web"), 5)
        await node.until_runtime(lambda: not node.sandboxes.known)
        await node.server.start()
        found = await node.until_phase("Failed")
        assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 5


async def test_an_exit_while_both_the_api_and_the_agent_are_away_keeps_its_code(node: Node) -> None:
    async with node.running():
        node.put(pod("fails", containers=[container("a")], restartPolicy="Never"))
        node.put(pod("works", containers=[container("b")], restartPolicy="Never"))
        await node.until_ready("fails")
        await node.until_ready("works")
        await node.server.stop()
        node.runtime.exit(node.id_of("a"), 5)
        node.runtime.exit(node.id_of("b"))
        # The agent knows, has taken the networks down and could not report it when it is killed.
        await node.until_runtime(lambda: not node.sandboxes.known)
    await node.server.start()
    async with node.running():
        await node.until_phase("Succeeded", "works")
        found = await node.until_phase("Failed", "fails")
        assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 5
        assert len([id_ for call, id_ in node.runtime.calls if call == "start"]) == 2


async def test_a_restart_while_the_api_is_away_happens_at_once(node: Node) -> None:
    async with node.running():
        node.put(pod())
        await node.until_ready()
        await node.server.stop()
        first = node.id_of("web")
        node.runtime.exit(first, 1)
        await node.until_runtime(lambda: node.runtime.running() and node.id_of("web") != first)
        await node.server.start()
        await node.until(lambda: node.get()["status"]["containerStatuses"][0]["restartCount"] == 1)


async def test_a_stop_waits_for_the_runtime_to_come_back(node: Node) -> None:
    async with node.running():
        node.put(pod())
        await node.until_ready()
        node.runtime.disconnect()
        node.server.remove(PODS, "web", "default")
        await node.until_runtime(lambda: ("stop", node.id_of("web")) in node.runtime.calls)
        assert node.runtime.running()
        node.runtime.reconnect()
        await node.until_runtime(lambda: not node.runtime.running() and not node.sandboxes.known)


async def test_a_start_waits_for_the_runtime_to_come_back(node: Node) -> None:
    async with node.running():
        node.put(pod("first"))
        await node.until_ready("first")
        node.runtime.disconnect()
        node.put(pod())
        found = await node.until(lambda: node.get() if node.get()["status"].get("containerStatuses") else None)
        assert found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerError"
        node.runtime.reconnect()
        await node.until_ready()


async def test_a_server_that_refuses_a_status_is_not_flooded(node: Node) -> None:
    async with node.running():
        node.put(pod("first"))
        await node.until_ready("first")
        node.server.refuse_status = 1
        node.put(pod())
        await node.until_ready()
        assert len(node.writes("/pods/web/status")) == 2
