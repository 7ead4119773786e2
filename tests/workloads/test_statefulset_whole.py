"""Stateful sets against the real API server, together with all other controllers."""

from __future__ import annotations

from typing import Any

from tests.workloads.world import World, world
from wherry.kube import kinds
from wherry.kube.informer import Informer
from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.workloads.kinds import CONTROLLER_REVISIONS, STATEFUL_SETS, StatefulSet

SET = Key("default", "web")


class Sets:
    """A world with views of what stateful sets are about, and the order in which pods came and went."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sets: Informer[StatefulSet] = world.view(STATEFUL_SETS)
        self.claims = world.view(kinds.PERSISTENT_VOLUME_CLAIMS)
        self.revisions = world.view(CONTROLLER_REVISIONS)
        self.seen: list[str] = []
        world.pods.add_handler(self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            assert old is not None
            self.seen.append(f"-{old.name}")
        elif old is None:
            self.seen.append(f"+{new.name}")

    async def create(self, replicas: int, *, image: str = "app:1", **spec: Any) -> None:
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
        wanted = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, "serviceName": "web"}
        await self.world.create(STATEFUL_SETS, "web", spec={**wanted, **spec})

    async def change(self, **spec: Any) -> None:
        await self.world.client.patch(STATEFUL_SETS, "web", {"spec": spec}, namespace="default", type="strategic")

    async def image(self, image: str) -> None:
        await self.change(template={"spec": {"containers": [{"name": "main", "image": image}]}})

    @property
    def status(self) -> Any:
        found = self.sets.get(SET)
        assert found is not None
        return found.status

    def images(self) -> list[str]:
        pods = sorted(self.world.running("web"), key=lambda pod: pod.name)
        return [(pod.spec.containers or ())[0].image for pod in pods]

    def pod(self, name: str) -> Pod | None:
        found: Pod | None = self.world.pods.get(Key("default", name))
        return found


async def test_scaled_up_updated_and_down_in_order() -> None:
    async with world() as w:
        s = Sets(w)
        await w.add_node("a")
        await s.create(3)
        await w.until(lambda: s.sets.get(SET) and s.status.ready_replicas == 3)
        assert s.seen == ["+web-0", "+web-1", "+web-2"]
        pod = s.pod("web-1")
        assert pod is not None
        assert pod.labels == {
            "app": "web",
            "apps.kubernetes.io/pod-index": "1",
            "statefulset.kubernetes.io/pod-name": "web-1",
            "controller-revision-hash": s.status.update_revision,
        }
        assert (pod.spec.hostname, pod.spec.subdomain) == ("web-1", "web")
        assert pod.metadata.controller is not None
        assert pod.metadata.controller.kind == "StatefulSet"

        s.seen.clear()
        await s.image("app:2")
        await w.until(lambda: s.images() == ["app:2"] * 3)
        assert s.seen == ["-web-2", "+web-2", "-web-1", "+web-1", "-web-0", "+web-0"]
        await w.until(lambda: s.status.current_revision == s.status.update_revision)
        await w.until(lambda: s.status.current_replicas == s.status.updated_replicas == 3)
        assert sorted(each.revision for each in s.revisions.list()) == [1, 2]

        s.seen.clear()
        await s.change(replicas=1)
        await w.until(lambda: s.seen == ["-web-2", "-web-1"])
        await w.until(lambda: s.status.replicas == 1)
        messages = {each.message for each in w.events.list() if each.involved_object.name == "web"}
        assert "create Pod web-0 in StatefulSet web successful" in messages
        assert "delete Pod web-2 in StatefulSet web successful" in messages
        await w.client.delete(STATEFUL_SETS, "web", namespace="default")
        await w.until(lambda: not w.pods.list() and not s.revisions.list())
