"""LimitRanger: defaults and bounds of a namespace's limit ranges, applied to new pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wherry.apiserver.kinds.model import Context, Object, refuse_forbidden
from wherry.apiserver.kinds.quantity import NANO, canonical, parse

_ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, int]
"""Nano-units by resource."""


def _fill(resources: Object, key: str, defaults: Mapping[str, Any]) -> list[str]:
    """Set missing values; returns the names of the resources that were missing."""
    given = resources.get(key) or {}
    missing = sorted(name for name in defaults if name not in given)
    if missing:
        resources[key] = {**given, **{name: defaults[name] for name in missing}}
    return missing


def _apply_defaults(pod: Object, item: Mapping[str, Any]) -> None:
    told: list[str] = []
    for key, what in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(key) or ():
            resources = container.setdefault("resources", {})
            for part, field, word in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
                if filled := _fill(resources, part, item.get(field) or {}):
                    told.append(f"{', '.join(filled)} {word} for {what} {container.get('name', '')}")
    if told:
        metadata = pod["metadata"]
        text = f"LimitRanger plugin set: {'; '.join(told)}"
        metadata["annotations"] = {**(metadata.get("annotations") or {}), _ANNOTATION: text}


def _amounts(container: Mapping[str, Any], key: str) -> dict[str, int]:
    given = (container.get("resources") or {}).get(key) or {}
    return {name: parse(value) for name, value in given.items()}


def _totals(spec: Mapping[str, Any], key: str) -> dict[str, int]:
    """What a pod asks for: the sum of its containers, or the largest init container where that is more.

    A resource that one of the containers leaves open counts with what the others say, as far as they say something.
    """
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        for name, amount in _amounts(container, key).items():
            total[name] = total.get(name, 0) + amount
    for container in spec.get("initContainers") or ():
        for name, amount in _amounts(container, key).items():
            total[name] = max(total.get(name, 0), amount)
    return total


def _text(amount: int) -> str:
    return canonical(f"{amount}n")


def _violations(item: Mapping[str, Any], requests: Amounts, limits: Amounts) -> Iterable[str]:
    kind = item.get("type", "")
    for name, bound in sorted((item.get("min") or {}).items()):
        lead, enforced = f"minimum {name} usage per {kind} is {canonical(bound)}", parse(bound)
        if name not in requests:
            yield f"{lead}.  No request is specified"
        elif requests[name] < enforced:
            yield f"{lead}, but request is {_text(requests[name])}"
        elif name in limits and limits[name] < enforced:
            yield f"{lead}, but limit is {_text(limits[name])}"
    for name, bound in sorted((item.get("max") or {}).items()):
        lead, enforced = f"maximum {name} usage per {kind} is {canonical(bound)}", parse(bound)
        if name not in limits:
            yield f"{lead}.  No limit is specified"
        elif limits[name] > enforced:
            yield f"{lead}, but limit is {_text(limits[name])}"
        elif name in requests and requests[name] > enforced:
            yield f"{lead}, but request is {_text(requests[name])}"
    for name, bound in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        lead = f"{name} max limit to request ratio per {kind} is {canonical(bound)}"
        if not requests.get(name):
            yield f"{lead}, but no request is specified or request is 0"
        elif not limits.get(name):
            yield f"{lead}, but no limit is specified or limit is 0"
        elif limits[name] * NANO > parse(bound) * requests[name]:
            yield f"{lead}, but provided ratio is {limits[name] / requests[name]:.6f}"


def apply_limit_ranges(pod: Object, ctx: Context) -> None:
    """Fill in the defaults of all limit ranges of the pod's namespace."""
    for limit_range in ctx.list("", "limitranges", pod["metadata"].get("namespace", "")):
        for item in (limit_range.get("spec") or {}).get("limits") or ():
            if item.get("type") == "Container":
                _apply_defaults(pod, item)


def check_limits(pod: Object, ctx: Context) -> None:
    """Refuse a pod that leaves the bounds of a limit range."""
    spec = pod["spec"]
    for limit_range in ctx.list("", "limitranges", pod["metadata"].get("namespace", "")):
        items = (limit_range.get("spec") or {}).get("limits") or ()
        found: list[str] = []
        for item in items:
            if item.get("type") == "Container":
                for key in ("containers", "initContainers"):
                    for container in spec.get(key) or ():
                        found.extend(_violations(item, _amounts(container, "requests"), _amounts(container, "limits")))
            elif item.get("type") == "Pod":
                found.extend(_violations(item, _totals(spec, "requests"), _totals(spec, "limits")))
        if found:
            text = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
            raise refuse_forbidden("", "pods", pod["metadata"].get("name", ""), text)


def check_claim_limits(claim: Object, ctx: Context) -> None:
    """Refuse a claim that is smaller or larger than the namespace's limit ranges allow (type PersistentVolumeClaim)."""
    metadata = claim["metadata"]
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    for limit_range in ctx.list("", "limitranges", metadata.get("namespace", "")):
        found = [
            text
            for item in (limit_range.get("spec") or {}).get("limits") or ()
            if item.get("type") == "PersistentVolumeClaim"
            for text in _claim_violations(item, requests)
        ]
        if found:
            text = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
            raise refuse_forbidden("", "persistentvolumeclaims", metadata.get("name", ""), text)


def _claim_violations(item: Mapping[str, Any], requests: Mapping[str, Any]) -> Iterable[str]:
    for key, words in (("min", "minimum"), ("max", "maximum")):
        for name, bound in sorted((item.get(key) or {}).items()):
            lead = f"{words} {name} usage per PersistentVolumeClaim is {canonical(bound)}"
            if name not in requests:
                yield f"{lead}.  No request is specified"
                continue
            asked = parse(requests[name])
            if asked < parse(bound) if key == "min" else asked > parse(bound):
                yield f"{lead}, but request is {canonical(requests[name])}"
