"""What containers of a pod go through, against fakes: images, hooks, ephemeral containers, order of their ends."""

import time
from typing import Any

from wherry.kube.times import format_time
from wherry.pods.backoff import BackOffPolicy
from wherry.pods.model import ContainerSpec
from wherry.pods.testing import FakeSession
from wherry.pods.testing.node import Node, condition, container, pod

ABSENT = "docker.io/wherry/nothing:1"
"""An image that is known to have no program."""


def program(name: str = "web", **fields: Any) -> dict[str, Any]:
    return container(name, image="busybox", command=["sleep"], **fields)


def hook(which: str, *words: str) -> dict[str, Any]:
    return {which: {"exec": {"command": list(words)}}}


def waiting(node: Node, name: str = "web") -> tuple[str, str]:
    statuses = node.get(name)["status"]["containerStatuses"]
    state = next(found["state"] for found in statuses if found["name"] == "web")["waiting"]
    return state["reason"], state.get("message", "")


def delete(node: Node, *, grace: int = 30) -> None:
    found = node.get()
    stamps = {"deletionTimestamp": format_time(time.time() + grace), "deletionGracePeriodSeconds": grace}
    node.put(found | {"metadata": found["metadata"] | stamps})


async def test_images_that_cannot_be_used_say_why_and_hold_nobody_up(node: Node) -> None:
    async with node.running():
        node.put(pod("wrong", containers=[container(image="Shop/Web")]))
        node.put(pod("never", containers=[container(image=ABSENT, imagePullPolicy="Never")]))
        node.put(pod("absent", containers=[container(image=ABSENT), container("other")]))
        node.put(pod())
        await node.until_ready()
        await node.until(lambda: waiting(node, "wrong")[0] == "InvalidImageName")
        await node.until(lambda: waiting(node, "never")[0] == "ErrImageNeverPull")
        await node.until(lambda: waiting(node, "absent")[0] == "ErrImagePull")
        await node.until(lambda: waiting(node, "absent")[0] == "ImagePullBackOff")
        told = await node.until(
            lambda: found if ("Failed", "Error: ImagePullBackOff") in (found := node.events()) else None
        )
        other = node.get("absent")["status"]["containerStatuses"]
    assert "running" in next(found for found in other if found["name"] == "other")["state"]
    name = "invalid reference format: repository name (Web) must be lowercase"
    refusal = f'Failed to apply default image tag "Shop/Web": couldn\'t parse image name "Shop/Web": {name}'
    assert {
        ("InspectFailed", refusal),
        ("Failed", "Error: InvalidImageName"),
        ("ErrImageNeverPull", f'Container image "{ABSENT}" is not present with pull policy of Never'),
        ("Failed", "Error: ErrImageNeverPull"),
        ("Pulling", f'Pulling image "{ABSENT}"'),
        ("Failed", "Error: ErrImagePull"),
        ("BackOff", BACK_OFF),
    } <= set(told)


BACK_OFF = f'Back-off pulling image "{ABSENT}"'


async def test_a_program_found_missing_after_its_start_says_so_once(node: Node) -> None:
    async with node.running(backoff=BackOffPolicy(base=60.0)):
        node.put(pod(restartPolicy="Never", containers=[program()]))
        await node.until_runtime(lambda: node.runtime.running())
        node.runtime.exit(node.id_of("web"), 128, reason="StartError", message='exec: "sleep": not found')
        await node.until_phase("Failed")
        await node.until(lambda: ("Failed", 'Error: exec: "sleep": not found') in node.events())
    assert [reason for reason, _ in node.events()].count("Failed") == 1


async def test_a_post_start_hook_that_fails_kills_the_container(node: Node) -> None:
    node.runtime.commands = lambda _spec, _argv: FakeSession(code=7, stderr=b"secret")
    async with node.running(backoff=BackOffPolicy(base=60.0)):
        node.put(pod(containers=[program(lifecycle=hook("postStart", "greet")), container("after")]))
        assert await node.until_event("FailedPostStartHook") == "PostStartHook failed"
        await node.until(lambda: ("Killing", "FailedPostStartHook") in node.events())
        await node.until(lambda: "after" in node.runtime.running())
        assert not any("secret" in message for _, message in node.events())


async def test_a_post_start_hook_that_runs_holds_the_next_container_back(node: Node) -> None:
    sessions: list[FakeSession] = []

    def run(_spec: ContainerSpec, _argv: tuple[str, ...]) -> FakeSession:
        sessions.append(FakeSession(echo=True))
        return sessions[-1]

    node.runtime.commands = run
    async with node.running():
        node.put(pod(containers=[program(lifecycle=hook("postStart", "greet")), container("after")]))
        await node.until_runtime(lambda: sessions)
        assert set(node.runtime.running()) == {"web"}
        sessions[0].close_stdin()
        await node.until_ready()
    assert set(node.runtime.running()) == {"web", "after"}


async def test_all_pre_stop_hooks_run_at_once_and_sidecars_end_last(node: Node) -> None:
    asked: list[str] = []

    def run(spec: ContainerSpec, _argv: tuple[str, ...]) -> FakeSession:
        asked.append(spec.name)
        return FakeSession(code=1)

    node.runtime.commands = run
    node.runtime.stubborn.add("web")
    bye = {"lifecycle": hook("preStop", "bye")}
    async with node.running():
        node.put(
            pod(
                containers=[program(**bye)],
                initContainers=[program(name, restartPolicy="Always", **bye) for name in ("one", "two")],
            )
        )
        await node.until_ready()
        ids = {name: node.id_of(name) for name in ("web", "one", "two")}
        delete(node)
        await node.until(lambda: sorted(asked) == ["one", "two", "web"])
        await node.until(lambda: ("FailedPreStopHook", "PreStopHook failed") in node.events())
        await node.until_runtime(lambda: ("stop", ids["web"]) in node.runtime.calls)
        assert set(node.runtime.running()) == {"web", "one", "two"}
        assert condition(node.get(), "Ready") == "True"
        node.runtime.exit(ids["web"], 143)
        await node.until(lambda: not node.exists())
    stops = [id_ for call, id_ in node.runtime.calls if call == "stop"]
    assert stops == [ids["web"], ids["two"], ids["one"]]


async def test_an_ephemeral_container_joins_a_running_pod(node: Node) -> None:
    async with node.running():
        node.put(pod(containers=[program()]))
        found = await node.until_ready()
        debug = container("debug", image="busybox", command=["sh"], targetContainerName="web", stdin=True)
        node.put(found | {"spec": found["spec"] | {"ephemeralContainers": [debug]}})
        await node.until(lambda: "running" in node.get()["status"]["ephemeralContainerStatuses"][0]["state"])
        assert node.runtime.specs[node.id_of("debug")].target == node.id_of("web")
        node.runtime.exit(node.id_of("debug"), 3)
        ended = await node.until(
            lambda: node.get()["status"]["ephemeralContainerStatuses"][0]["state"].get("terminated")
        )
        assert ended["exitCode"] == 3
        assert condition(node.get(), "Ready") == "True"
        assert list(node.runtime.running()) == ["web"]


async def test_a_probe_that_cannot_be_put_counts_neither_way(node: Node) -> None:
    words = 'probe errored and resulted in unknown state: strconv.Atoi: parsing "nosuch": invalid syntax'
    probe = {"httpGet": {"port": "nosuch"}, "periodSeconds": 1, "failureThreshold": 1}
    async with node.running():
        node.put(pod(containers=[program(livenessProbe=probe, readinessProbe=probe)]))
        for kind in ("Readiness", "Liveness"):
            await node.until(lambda kind=kind: ("Unhealthy", f"{kind} {words}") in node.events())
        assert condition(node.get(), "Ready") == "False"
        assert ("stop", node.id_of("web")) not in node.runtime.calls
