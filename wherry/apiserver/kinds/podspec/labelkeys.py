"""Selectors that follow a pod's own labels (KEP-3243, KEP-3633)."""

from __future__ import annotations

from wherry.apiserver.kinds.model import Object


def merge_label_keys(obj: Object) -> None:
    """Write what ``matchLabelKeys`` and ``mismatchLabelKeys`` come to for this pod into the selectors beside them."""
    spec = obj["spec"]
    selecting: list[Object] = list(spec.get("topologySpreadConstraints") or ())
    for which in ("podAffinity", "podAntiAffinity"):
        group = (spec.get("affinity") or {}).get(which) or {}
        selecting += group.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = group.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        selecting += [each["podAffinityTerm"] for each in preferred if each.get("podAffinityTerm")]
    labels = obj["metadata"].get("labels") or {}
    for item in selecting:
        selector = item.get("labelSelector")
        for keys, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
            added = [
                {"key": key, "operator": operator, "values": [labels[key]]}
                for key in item.get(keys) or ()
                if key in labels
            ]
            if selector is not None and added:
                selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *added]
