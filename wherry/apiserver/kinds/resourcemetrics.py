"""The rows of metrics.k8s.io: nothing of it is stored, see `wherry.apiserver.handlers.resource_metrics`."""

from __future__ import annotations

from wherry.apiserver.kinds.model import Resource

GROUP = "metrics.k8s.io"
_VERBS = ("get", "list")

NODE_METRICS = Resource(
    group=GROUP, version="v1beta1", kind="NodeMetrics", plural="nodes", singular="", namespaced=False, verbs=_VERBS
)
POD_METRICS = Resource(
    group=GROUP, version="v1beta1", kind="PodMetrics", plural="pods", singular="", namespaced=True, verbs=_VERBS
)
