"""What an object uses of a namespace's quota, by the names that quotas give it. Pure.

Rules: https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from wherry.apiserver.kinds.model import Object
from wherry.apiserver.kinds.podspec.qos import qos_class
from wherry.apiserver.kinds.printing import parse_time
from wherry.apiserver.kinds.quantity import add, parse

Usage = dict[str, str]
"""Quantities by the name of what is limited."""

_PLAIN = frozenset(
    {"configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services"}
)
_COMPUTE = frozenset(f"{prefix}{name}" for prefix in ("", "requests.", "limits.") for name in ("cpu", "memory"))
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_CLASS_SUFFIX = ".storageclass.storage.k8s.io"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_AFFINITIES = ("podAffinity", "podAntiAffinity")
_TERMS = ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution")


def bucket_of(limited: str) -> tuple[str, str] | None:
    """(group, plural) of the objects that count towards a limited resource; None for what nothing counts towards."""
    if limited.startswith("count/"):
        plural, _, group = limited.removeprefix("count/").partition(".")
        return group, plural
    if limited in _PLAIN:
        return "", limited
    if limited.startswith("services."):
        return "", "services"
    if limited == "requests.storage" or _CLASS_SUFFIX in limited:
        return "", "persistentvolumeclaims"
    return "", "pods"


def usage_of(group: str, plural: str, obj: Object, now: datetime) -> Usage:
    """What one object uses."""
    used = {f"count/{plural}.{group}" if group else f"count/{plural}": "1"}
    if group:
        return used
    if plural in _PLAIN:
        used[plural] = "1"
    if plural == "pods":
        if not is_over(obj, now):
            used.update(_pod(obj.get("spec") or {}))
    elif plural == "services":
        used.update(_service(obj.get("spec") or {}))
    elif plural == "persistentvolumeclaims":
        used.update(_claim(obj))
    return used


def is_over(pod: Object, now: datetime) -> bool:
    """Whether a pod has ended, or should have by the grace it was given: only its object counts then."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    metadata = pod.get("metadata") or {}
    ends, grace = parse_time(metadata.get("deletionTimestamp")), metadata.get("deletionGracePeriodSeconds")
    # The time in the object is when the grace is over; Kubernetes adds the grace once more, so as not to be early.
    return ends is not None and grace is not None and now > ends + timedelta(seconds=grace)


def _amounts(container: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (container.get("resources") or {}).get(key) or {}
    return found


def _sum(total: Usage, amounts: Mapping[str, Any]) -> None:
    for name, amount in amounts.items():
        total[name] = add(total.get(name, "0"), amount)


def _largest(total: Usage, amounts: Mapping[str, Any]) -> None:
    for name, amount in amounts.items():
        if name not in total or parse(amount) > parse(total[name]):
            total[name] = str(amount)


def _pod_amounts(spec: Object, key: str) -> Usage:
    """Requests or limits of a pod: what runs together is summed, init containers count where one asks for more."""
    total: Usage = {}
    for container in spec.get("containers") or ():
        _sum(total, _amounts(container, key))
    sidecars: Usage = {}
    first: Usage = {}
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, key)
        if container.get("restartPolicy") == "Always":
            _sum(sidecars, amounts)
            _largest(first, sidecars)
        else:
            together = dict(sidecars)
            _sum(together, amounts)
            _largest(first, together)
    _sum(total, sidecars)
    _largest(total, first)
    for name, amount in ((spec.get("resources") or {}).get(key) or {}).items():
        total[name] = str(amount)
    overhead = spec.get("overhead") or {}
    if key == "requests":
        _sum(total, overhead)
    else:
        _sum(total, {name: amount for name, amount in overhead.items() if name in total})
    return total


def _pod(spec: Object) -> Usage:
    used: Usage = {"pods": "1"}
    for name, amount in _pod_amounts(spec, "requests").items():
        used[f"requests.{name}"] = amount
        if name in _STANDARD or name.startswith("hugepages-"):
            used[name] = amount
    for name, amount in _pod_amounts(spec, "limits").items():
        if name in _STANDARD:
            used[f"limits.{name}"] = amount
    return used


def _service(spec: Object) -> Usage:
    used: Usage = {}
    ports: Sequence[Object] = spec.get("ports") or ()
    kind = spec.get("type")
    if kind == "NodePort":
        used["services.nodeports"] = str(len(ports))
    elif kind == "LoadBalancer":
        used["services.loadbalancers"] = "1"
        given = spec.get("allocateLoadBalancerNodePorts", True)
        used["services.nodeports"] = str(len(ports) if given else sum(1 for port in ports if port.get("nodePort")))
    return used


def _claim(obj: Object) -> Usage:
    spec = obj.get("spec") or {}
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    used: Usage = {"requests.storage": str(size)}
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if name := annotations.get(_BETA_CLASS) or spec.get("storageClassName"):
        used[f"{name}{_CLASS_SUFFIX}/requests.storage"] = str(size)
        used[f"{name}{_CLASS_SUFFIX}/persistentvolumeclaims"] = "1"
    return used


def missing_amounts(pod: Object, limited: Iterable[str]) -> str:
    """What the containers of a pod must say because it is limited: `limits.cpu for: a,b; limits.memory for: a`."""
    spec = pod.get("spec") or {}
    if spec.get("resources"):
        return ""
    missing: dict[str, list[str]] = {}
    wanted = sorted(_COMPUTE & set(limited))
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for name in wanted:
            key, _, resource = name.rpartition(".")
            if resource not in _amounts(container, key or "requests"):
                missing.setdefault(name, []).append(container.get("name", ""))
    return "; ".join(f"{name} for: {','.join(sorted(set(names)))}" for name, names in missing.items())


# --- scopes -----------------------------------------------------------------------------------------------------------


def applies(quota: Object, group: str, plural: str, obj: Object) -> bool:
    """Whether an object lies in the scopes of a quota; objects other than pods lie in no scope."""
    spec = quota.get("spec") or {}
    wanted = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not wanted:
        return True
    return (group, plural) == ("", "pods") and all(_in_scope(item, obj.get("spec") or {}) for item in wanted)


def _in_scope(item: Object, spec: Object) -> bool:
    match item.get("scopeName"):
        case "Terminating":
            return "activeDeadlineSeconds" in spec
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return _selects(item, str(spec.get("priorityClassName") or ""))
        case "CrossNamespacePodAffinity":
            return _crosses(spec.get("affinity") or {})
    return False


def _selects(item: Object, name: str) -> bool:
    operator: str = item.get("operator", "Exists")
    values: Sequence[str] = item.get("values") or ()
    if operator in ("Exists", "DoesNotExist"):
        return bool(name) == (operator == "Exists")
    return (name in values) == (operator == "In")


def _crosses(affinity: Object) -> bool:
    """Whether a term of affinity between pods looks at other namespaces."""
    for key in _AFFINITIES:
        for kind in _TERMS:
            for item in (affinity.get(key) or {}).get(kind) or ():
                term = item.get("podAffinityTerm", item)
                if term.get("namespaces") or term.get("namespaceSelector") is not None:
                    return True
    return False
