"""Writing a pod's status: only what changed, as seldom as the truth allows, until the API has it.

A status is offered whenever it is computed anew. It is written at once when it says something final for now, and may
wait a moment (`hold`) while the next step is already under way, so that a pod that comes up quickly is written once.
While the API is away the newest status waits; intermediate ones are not worth sending.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from wherry.kube.client import Client
from wherry.kube.errors import ApiError, Conflict, NotFound, ServerUnavailable, TooManyRequests
from wherry.kube.kinds import PODS
from wherry.kube.objects import Pod, PodStatus
from wherry.pods.status import same_status, status_patch

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_log = logging.getLogger(__name__)


class StatusReporter:
    """The status of one pod on its way to the API. `acknowledged` is called when the API's copy changed through us."""

    def __init__(self, client: Client, pod: Pod, *, acknowledged: Callable[[], None]) -> None:
        self._client = client
        self._pod = pod
        self._acknowledged = acknowledged
        self.reported: PodStatus = pod.status
        """The newest status known to be in the API."""
        self._version = pod.metadata.resource_version
        self._wanted: PodStatus | None = None
        self._settled: PodStatus | None = None
        self._sending = asyncio.Lock()
        self._gone = False

    def noticed(self, pod: Pod) -> bool:
        """Take in the pod as the informer has it; False when its status says nothing new."""
        self._pod = pod
        if _older(pod.metadata.resource_version, self._version):
            # The informer is behind our own last write.
            return False
        changed = pod.status != self.reported
        self.reported, self._version = pod.status, pod.metadata.resource_version
        if changed:
            self._settled = None
        return changed

    def gone(self) -> None:
        """Stop writing: the pod's object does not exist any more."""
        self._gone = True

    def offer(self, wanted: PodStatus) -> bool:
        """Make this the status to report; True when it has to be written."""
        self._wanted = wanted
        return self.due

    @property
    def due(self) -> bool:
        """Whether the API lacks something of the wanted status."""
        wanted = self._wanted
        if wanted is None or self._gone or wanted == self._settled:
            return False
        return not same_status(self.reported, wanted)

    @property
    def sending(self) -> bool:
        """Whether `send` is at work; it takes what is offered meanwhile along."""
        return self._sending.locked()

    async def send(self) -> None:
        """Write until the API has what was offered last, or the pod is gone."""
        async with self._sending:
            pause = _FIRST_PAUSE
            while self.due:
                try:
                    await self._write()
                    pause = _FIRST_PAUSE
                    continue
                except (NotFound, Conflict):
                    # Deleted, or deleted and made anew under its name; the informer will say the same.
                    self._gone = True
                    return
                except (ServerUnavailable, TooManyRequests) as error:
                    _log.info("status of pod %s waits: %s", self._pod.key, error)
                except ApiError as error:
                    _log.warning("status of pod %s refused: %s", self._pod.key, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _write(self) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        pod = self._pod
        patch = status_patch(pod, self.reported, wanted)
        answer = await self._client.patch(
            PODS, pod.name, patch, namespace=pod.namespace, subresource="status", type="strategic"
        )
        if not _older(answer.metadata.resource_version, self._version):
            self.reported, self._version = answer.status, answer.metadata.resource_version
        if not same_status(answer.status, wanted):
            # Writing it again would change nothing; once the pod changes it is tried anew.
            _log.warning("the API keeps another status of pod %s than was sent", pod.key)
            self._settled = wanted
        self._acknowledged()


def _older(version: str, than: str) -> bool:
    """Compare two resourceVersions of one object, which count upwards."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)
