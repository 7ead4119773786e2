"""How long a container that keeps ending must wait before it is started again: pure bookkeeping.

The numbers are the kubelet's: the first restart is at once, then 10 s after the container's end, doubling to 5 minutes;
a container that was left alone for twice the maximum (10 minutes of running) begins anew. Times are seconds since the
epoch, as they are compared with a container's recorded end and must survive a restart of the agent.
"""

from __future__ import annotations

import msgspec


class BackOffPolicy(msgspec.Struct, frozen=True):
    """The delays, in seconds."""

    base: float = 10.0
    maximum: float = 300.0


class BackOff(msgspec.Struct, frozen=True):
    """The state of one container: the delay that holds now and when it was last raised."""

    delay: float
    updated: float

    def message_delay(self) -> str:
        """Render the delay as Kubernetes words it (`10s`, `2m40s`)."""
        return go_duration(self.delay)


def held_until(entry: BackOff | None, ended: float, policy: BackOffPolicy) -> float | None:
    """Return the moment before which a container that ended at `ended` must not start again; None: it may now."""
    if entry is None or _expired(entry, ended, policy):
        return None
    return ended + entry.delay


def raised(entry: BackOff | None, ended: float, now: float, policy: BackOffPolicy) -> BackOff:
    """Return the entry that holds after the container was started once more at `now`."""
    if entry is None or _expired(entry, ended, policy):
        return BackOff(delay=policy.base, updated=now)
    return BackOff(delay=min(entry.delay * 2, policy.maximum), updated=now)


def _expired(entry: BackOff, ended: float, policy: BackOffPolicy) -> bool:
    return ended - entry.updated > 2 * policy.maximum


def go_duration(seconds: float) -> str:
    """Render a number of seconds as Go prints a duration: `300ms`, `10s`, `1m20s`, `1h0m0s`."""
    if seconds == 0:
        return "0s"
    if abs(seconds) < 1:
        return f"{seconds * 1000:g}ms"
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    tail = f"{secs + (seconds - whole):g}s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
