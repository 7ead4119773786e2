"""Taking the steps of a stateful set: pods and claims made, changed and deleted, with the events that tell of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.keys import Key
from wherry.kube.objects import PersistentVolumeClaim, Pod
from wherry.workloads import history, templates
from wherry.workloads.expectations import Expectations
from wherry.workloads.kinds import STATEFUL_SETS, ControllerRevision, StatefulSet, reference
from wherry.workloads.podcontrol import is_terminating, slow_start
from wherry.workloads.statefulset import identity, volumes
from wherry.workloads.statefulset.compile import Do, Phase, Step, pod_revision


class Control:
    """Carries out steps for stateful sets; ``claim`` looks a volume claim up in the cache."""

    def __init__(
        self,
        client: Client,
        recorder: EventRecorder,
        expectations: Expectations,
        claim: Callable[[Key], PersistentVolumeClaim | None],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._expectations = expectations
        self._claim = claim

    async def carry_out(
        self,
        stateful_set: StatefulSet,
        phases: Iterable[Phase],
        current: ControllerRevision,
        update: ControllerRevision,
    ) -> tuple[list[ApiError], set[str]]:
        """Take steps until one fails; the errors, and the uids of the pods whose deletion was accepted."""
        deleted: set[str] = set()

        async def act(step: Step) -> ApiError | None:
            try:
                if step.pod is None:
                    revision = pod_revision(stateful_set, current, update, step.ordinal)
                    await self._create(stateful_set, revision, step.ordinal)
                elif step.do is Do.DELETE:
                    await self._delete(stateful_set, step.pod)
                    deleted.add(step.pod.uid)
                elif step.do is Do.PROVIDE:
                    await self._provide(stateful_set, step.ordinal, step.pod.name, step.pod.uid)
                elif step.do is Do.CORRECT:
                    await self._correct(stateful_set, step.ordinal, step.pod)
                else:
                    await self._hand_over(stateful_set, step.ordinal, step.pod.name, step.pod.uid)
            except ApiError as error:
                return error
            return None

        for phase in phases:
            if stateful_set.spec.pod_management_policy == "Parallel":
                errors = await slow_start(phase, act)
            else:
                errors = []
                for step in phase:
                    if error := await act(step):
                        errors.append(error)
                        break
            if errors:
                return errors, deleted
        return [], deleted

    # -- pods ----------------------------------------------------------------------------------------------------------

    async def _create(self, stateful_set: StatefulSet, revision: ControllerRevision, ordinal: int) -> None:
        name = identity.pod_name(stateful_set, ordinal)
        pod = identity.pod_for(stateful_set, history.template_of(revision), revision, ordinal)
        self._expectations.begin(stateful_set.uid)
        made: Pod | None = None
        try:
            await self._provide(stateful_set, ordinal, name, "")
            made = await self._client.create(kinds.PODS, cast("Pod", pod), namespace=stateful_set.namespace)
        except AlreadyExists as error:
            # The cache is behind, or somebody else's pod has the name: only that pod's end can help.
            raise Conflict(error.status) from error
        except ApiError as error:
            self._pod_event(stateful_set, "create", name, error)
            raise
        finally:
            self._expectations.created(stateful_set.uid, made)
        self._pod_event(stateful_set, "create", name)

    async def _delete(self, stateful_set: StatefulSet, pod: Pod) -> None:
        try:
            await self._client.delete(kinds.PODS, pod.name, namespace=pod.namespace, uid=pod.uid)
        except (NotFound, Conflict):
            # Gone already, or another pod has its name by now.
            return
        except ApiError as error:
            self._pod_event(stateful_set, "delete", pod.name, error)
            raise
        self._expectations.deleted(stateful_set.uid, pod)
        self._pod_event(stateful_set, "delete", pod.name)

    async def _correct(self, stateful_set: StatefulSet, ordinal: int, pod: Pod) -> None:
        patch = identity.correction(stateful_set, pod, ordinal)
        try:
            if "spec" in patch:
                await self._provide(stateful_set, ordinal, pod.name, pod.uid)
            else:
                await self._hand_over(stateful_set, ordinal, pod.name, pod.uid)
            if patch:
                patch["metadata"] = {**patch.get("metadata", {}), "uid": pod.uid}
                await self._client.patch(kinds.PODS, pod.name, patch, namespace=pod.namespace, type="strategic")
        except NotFound:
            return
        except ApiError as error:
            self._pod_event(stateful_set, "update", pod.name, error)
            raise
        self._pod_event(stateful_set, "update", pod.name)

    # -- claims --------------------------------------------------------------------------------------------------------

    async def _provide(self, stateful_set: StatefulSet, ordinal: int, pod: str, pod_uid: str) -> None:
        """Make the claims that a pod lacks; Conflict while one that it needs is on its way out."""
        for template in stateful_set.spec.volume_claim_templates:
            name = volumes.claim_name(template, stateful_set, ordinal)
            there = self._claim(Key(stateful_set.namespace, name))
            if there is None:
                await self._create_claim(stateful_set, volumes.new_claim(template, stateful_set, ordinal), pod)
            elif there.deleting:
                raise Conflict({"message": f"pvc {name} is being deleted", "reason": "Conflict", "code": 409})
        await self._hand_over(stateful_set, ordinal, pod, pod_uid)

    async def _create_claim(self, stateful_set: StatefulSet, claim: dict[str, Any], pod: str) -> None:
        name = claim["metadata"]["name"]
        about = f"create Claim {name}"
        try:
            await self._client.create(
                kinds.PERSISTENT_VOLUME_CLAIMS, cast("PersistentVolumeClaim", claim), namespace=stateful_set.namespace
            )
        except AlreadyExists:
            return
        except ApiError as error:
            text = f"{about} for Pod {pod} in StatefulSet {stateful_set.name} failed error: {error}"
            self._event(stateful_set, "Warning", "FailedCreate", text)
            raise ApiError.from_status({**error.status, "message": f"failed to create PVC {name}: {error}"}) from error
        text = f"{about} Pod {pod} in StatefulSet {stateful_set.name} success"
        self._event(stateful_set, "Normal", "SuccessfulCreate", text)

    async def _hand_over(self, stateful_set: StatefulSet, ordinal: int, pod: str, pod_uid: str) -> None:
        """Give the claims of a pod the owners that the set's retention policy asks for."""
        wanted = ordinal in identity.ordinals(stateful_set)
        for name in volumes.claim_names(stateful_set, ordinal):
            claim = self._claim(Key(stateful_set.namespace, name))
            if claim is None:
                continue
            owners = volumes.owners(claim, stateful_set, pod, pod_uid, wanted=wanted)
            if owners is None:
                continue
            if volumes.conflicting(claim, stateful_set, pod, pod_uid):
                text = (
                    f"PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a managing "
                    "controller, the retention policy is ignored for this claim"
                )
                self._event(stateful_set, "Warning", "ConflictingController", text)
            meta = {
                "uid": claim.uid,
                "resourceVersion": claim.metadata.resource_version,
                "ownerReferences": [templates.plain(each) for each in owners],
            }
            await self._client.patch(
                kinds.PERSISTENT_VOLUME_CLAIMS, name, {"metadata": meta}, namespace=stateful_set.namespace
            )

    # -- events --------------------------------------------------------------------------------------------------------

    def _pod_event(self, stateful_set: StatefulSet, verb: str, pod: str, error: ApiError | None = None) -> None:
        if error is not None and is_terminating(error):
            return
        text = f"{verb} Pod {pod} in StatefulSet {stateful_set.name}"
        if error is None:
            self._event(stateful_set, "Normal", f"Successful{verb.capitalize()}", f"{text} successful")
        else:
            self._event(stateful_set, "Warning", f"Failed{verb.capitalize()}", f"{text} failed error: {error}")

    def _event(self, stateful_set: StatefulSet, type_: str, reason: str, message: str) -> None:
        self._recorder.event(reference(STATEFUL_SETS, stateful_set), type_, reason, message)
