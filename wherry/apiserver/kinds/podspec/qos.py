"""The quality-of-service class of a pod ("Pod Quality of Service Classes" of the documentation)."""

from __future__ import annotations

from wherry.apiserver.kinds import quantity
from wherry.apiserver.kinds.model import Object

_COMPUTE = ("cpu", "memory")


def _positive(resources: Object | None) -> dict[str, int]:
    found = {}
    for name in _COMPUTE:
        if resources and name in resources and (amount := quantity.parse(resources[name])) > 0:
            found[name] = amount
    return found


def qos_class(spec: Object) -> str:
    """`BestEffort` without requests and limits, `Guaranteed` where all equal, otherwise `Burstable`."""
    total_requests: dict[str, int] = {}
    total_limits: dict[str, int] = {}
    guaranteed = True
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            resources = container.get("resources") or {}
            if not resources:
                guaranteed = False
                continue
            requests, limits = _positive(resources.get("requests")), _positive(resources.get("limits"))
            for name, amount in requests.items():
                total_requests[name] = total_requests.get(name, 0) + amount
            for name, amount in limits.items():
                total_limits[name] = total_limits.get(name, 0) + amount
            if len(limits) != len(_COMPUTE):
                guaranteed = False
    if not total_requests and not total_limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and total_requests == total_limits else "Burstable"
