"""The autoscaling controller's edge: reads scales, keeps them within bounds, reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import ApiError, ServerUnavailable
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import HorizontalPodAutoscaler
from wherry.kube.times import format_time
from wherry.workloads.autoscaling import compile
from wherry.workloads.autoscaling.compile import Decision, Told, Warned
from wherry.workloads.scales import NoMatch, NoScale, Scale, Scales
from wherry.workloads.statuswriter import write_status

RESYNC = 15.0
"""Seconds between two looks at a target, as kube-controller-manager's ``--horizontal-pod-autoscaler-sync-period``."""


class HorizontalPodAutoscalerController(Controller):
    """Looks at every autoscaler's target now and then; idle while there is none."""

    name = "horizontal-pod-autoscaler"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        resync: float = RESYNC,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._resync = resync
        self._clock = clock
        self._scales = Scales(client)
        self._autoscalers = informers.informer(kinds.HORIZONTAL_POD_AUTOSCALERS)
        self._autoscalers.add_handler(self._changed)

    async def prepare(self) -> None:
        """Wait for the autoscalers."""
        await self._autoscalers.synced()

    def _changed(self, old: HorizontalPodAutoscaler | None, new: HorizontalPodAutoscaler | None) -> None:
        # What this controller writes itself is no reason to look again.
        if new is not None and (old is None or old.spec != new.spec):
            self.queue.add(new.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Look at one target."""
        autoscaler = self._autoscalers.get(key)
        if autoscaler is None or autoscaler.deleting:
            return None
        try:
            scale = await self._scale(autoscaler)
        except ServerUnavailable:
            raise
        except (NoScale, ApiError) as error:
            told, warned = compile.no_scale(str(error))
            self._warn(autoscaler, (warned,))
            await self._write(autoscaler, (told,))
            return Result(requeue_after=self._resync)
        decision = compile.decide(autoscaler, scale)
        self._warn(autoscaler, decision.warned)
        if decision.replicas is None:
            await self._write(autoscaler, decision.told, current=scale.replicas, desired=decision.desired)
        else:
            await self._rescale(autoscaler, scale, decision)
        return Result(requeue_after=self._resync)

    async def _scale(self, autoscaler: HorizontalPodAutoscaler) -> Scale:
        target = autoscaler.spec.scale_target_ref
        version = target.api_version or "v1"
        try:
            scale = await self._scales.get(version, target.kind, autoscaler.namespace, target.name)
        except NoMatch as error:
            group = version.rpartition("/")[0]
            raise NoScale(f'no matches for kind "{target.kind}" in group "{group}"') from error
        if scale is None:
            resource = await self._scales.resource(version, target.kind)
            raise NoScale(f'{resource} "{target.name}" not found')
        return scale

    async def _rescale(self, autoscaler: HorizontalPodAutoscaler, scale: Scale, decision: Decision) -> None:
        target = autoscaler.spec.scale_target_ref
        try:
            await self._scales.set(
                target.api_version or "v1", target.kind, autoscaler.namespace, target.name, decision.desired
            )
        except ServerUnavailable:
            raise
        except ApiError as error:
            told, warned = compile.not_rescaled(decision, str(error))
            self._warn(autoscaler, (warned,))
            await self._write(autoscaler, (*decision.told, told), current=scale.replicas)
            return
        text = f"New size: {decision.desired}; reason: {decision.why}"
        self._recorder.event(autoscaler, "Normal", "SuccessfulRescale", text)
        told = compile.rescaled(decision)
        await self._write(
            autoscaler, (*decision.told, told), current=scale.replicas, desired=decision.desired, rescaled=True
        )

    def _warn(self, autoscaler: HorizontalPodAutoscaler, warned: Iterable[Warned]) -> None:
        for each in warned:
            self._recorder.event(autoscaler, "Warning", each.reason, each.message)

    async def _write(
        self,
        autoscaler: HorizontalPodAutoscaler,
        told: Iterable[Told],
        *,
        current: int | None = None,
        desired: int | None = None,
        rescaled: bool = False,
    ) -> None:
        now = self._clock()
        status = compile.status(autoscaler, told, now, current=current, desired=desired)
        if rescaled:
            status["lastScaleTime"] = format_time(now)
        await write_status(self._client, kinds.HORIZONTAL_POD_AUTOSCALERS, autoscaler, status)
