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
REVISION = "controller-revision-hash"


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


async def test_a_partition_holds_pods_back_and_a_bad_one_is_replaced_by_hand() -> None:
    async with world() as w:
        s = Sets(w)
        await w.add_node("a")
        await s.create(3, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
        await w.until(lambda: len(s.images()) == 3)
        await s.image("app:2")
        await w.until(lambda: s.images() == ["app:1", "app:1", "app:2"])
        await w.until(lambda: (s.status.current_replicas, s.status.updated_replicas) == (2, 1))
        await w.client.delete(kinds.PODS, "web-0", namespace="default")
        await w.until(lambda: s.seen[-2:] == ["-web-0", "+web-0"] and s.images() == ["app:1", "app:1", "app:2"])

        # No kubelet starts the next pod: the template that mends it is not rolled out over it.
        w.kubelets.clear()
        before = s.pod("web-2")
        assert before is not None
        await w.client.delete(kinds.PODS, "web-2", namespace="default", grace_seconds=0)
        await w.until(lambda: (pod := s.pod("web-2")) and pod.uid != before.uid)
        broken = s.pod("web-2")
        assert broken is not None
        await s.image("app:3")
        await w.until(lambda: len(s.revisions.list()) == 3 and s.status.update_revision != before.labels[REVISION])
        assert (pod := s.pod("web-2")) is not None
        assert pod.uid == broken.uid
        w.wake("a")
        await w.until(lambda: s.images() == ["app:1", "app:1", "app:3"])


async def test_a_pod_stays_while_its_object_does_and_comes_back_whatever_ended_it() -> None:
    async with world() as w:
        s = Sets(w)
        await w.add_node("a")
        await s.create(2)
        await w.until(lambda: len(s.images()) == 2)
        for phase in ("Failed", "Succeeded"):
            before = s.pod("web-0")
            assert before is not None
            ended = {"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "False"}]}}
            await w.client.patch(
                kinds.PODS, "web-0", ended, namespace="default", subresource="status", type="strategic"
            )
            await w.until(lambda old=before: (pod := s.pod("web-0")) and pod.uid != old.uid and pod.ready)

        # The node is dead: whoever deletes the pod gets no second one until the node's object is gone as well.
        lost = s.pod("web-1")
        assert lost is not None
        w.kubelets.discard("a")
        await w.client.delete(kinds.PODS, "web-1", namespace="default")
        await w.until(lambda: (pod := s.pod("web-1")) and pod.deleting)
        await s.change(template={"metadata": {"annotations": {"again": "yes"}}})
        await w.until(lambda: len(s.revisions.list()) == 2 and s.status.observed_generation == 2)
        assert (pod := s.pod("web-1")) is not None
        assert pod.uid == lost.uid
        await w.client.delete(kinds.NODES, "a")
        await w.add_node("b")
        await w.until(lambda: len(s.images()) == 2 and all(each.spec.node_name == "b" for each in w.pods.list()))
        assert (s.seen.count("+web-1"), s.seen.count("-web-1")) == (2, 1)


async def test_claims_follow_the_retention_policy() -> None:
    async with world() as w:
        s = Sets(w)
        request = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        await s.create(
            2,
            podManagementPolicy="Parallel",
            volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {**request, "storageClassName": "none"}}],
            persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Delete"},
        )
        await w.until(lambda: {each.name for each in s.claims.list()} == {"data-web-0", "data-web-1"})
        await w.until(lambda: s.status.replicas == 2)
        pod = s.pod("web-1")
        assert pod is not None
        assert [
            each.persistent_volume_claim.claim_name for each in pod.spec.volumes if each.persistent_volume_claim
        ] == ["data-web-1"]
        await w.client.delete(kinds.PERSISTENT_VOLUME_CLAIMS, "data-web-0", namespace="default")
        await s.change(replicas=1)
        await w.until(lambda: s.pod("web-1") is None and s.claims.get(Key("default", "data-web-1")) is None)
        await s.change(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete", "whenScaled": "Delete"})
        await w.until(lambda: _owners(s, "data-web-0") == ["StatefulSet"])
        await s.change(replicas=2)
        await w.until(lambda: _owners(s, "data-web-1") == ["StatefulSet"] and s.pod("web-1"))
        messages = {each.message for each in w.events.list() if each.involved_object.name == "web"}
        assert "create Claim data-web-1 Pod web-1 in StatefulSet web success" in messages
        await w.client.delete(STATEFUL_SETS, "web", namespace="default")
        await w.until(lambda: not w.pods.list() and all(each.deleting for each in s.claims.list()))


def _owners(s: Sets, name: str) -> list[str]:
    claim = s.claims.get(Key("default", name))
    return [each.kind for each in claim.metadata.owner_references] if claim is not None else ["none"]


async def test_orphans_are_taken_over_and_other_pods_are_not() -> None:
    async with world() as w:
        s = Sets(w)
        await w.add_node("a")
        await s.create(2, podManagementPolicy="Parallel")
        await w.until(lambda: len(s.images()) == 2)
        pods = {each.uid for each in w.pods.list()}
        await w.client.delete(STATEFUL_SETS, "web", namespace="default", propagation="Orphan")
        await w.until(lambda: s.sets.get(SET) is None)
        spec = {"containers": [{"name": "main", "image": "x"}]}
        await w.create(kinds.PODS, "web-2", metadata={"labels": {"other": "pod"}}, spec=spec)
        await w.create(kinds.PODS, "web-x", metadata={"labels": {"app": "web"}}, spec=spec)
        await s.create(3, podManagementPolicy="Parallel")
        await w.until(lambda: s.sets.get(SET) and s.status.replicas == 2)
        assert {each.uid for each in w.pods.list() if each.metadata.controller is not None} == pods
        assert [each.revision for each in s.revisions.list()] == [1]
        await w.client.delete(kinds.PODS, "web-2", namespace="default")
        await w.until(lambda: s.status.ready_replicas == 3)
        stray = s.pod("web-x")
        assert stray is not None
        assert stray.metadata.controller is None


async def test_two_templates_of_one_hash_get_two_revisions() -> None:
    async with world() as w:
        s = Sets(w)
        await w.add_node("a")
        await s.create(1)
        await w.until(lambda: len(s.images()) == 1)
        [first] = s.revisions.list()
        await w.client.delete(STATEFUL_SETS, "web", namespace="default")
        await w.until(lambda: not s.revisions.list() and not w.pods.list())
        other = {"spec": {"template": {"spec": {"containers": []}, "$patch": "replace"}}}
        await w.create(CONTROLLER_REVISIONS, first.name, data=other, revision=7)
        await s.create(1)
        await w.until(lambda: len(s.images()) == 1 and s.status.collision_count == 1)
        assert s.status.update_revision != first.name
        assert (await w.client.get(CONTROLLER_REVISIONS, first.name, namespace="default")).data == other
