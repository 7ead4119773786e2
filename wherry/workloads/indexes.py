"""Indexes that several controllers share."""

from __future__ import annotations

from wherry.kube.objects import Pod

NODE_INDEX = "node"
"""Name of the index of pods by the node they are bound to, for :func:`node_values`."""


def node_values(pod: Pod) -> tuple[str, ...]:
    """Index function: the pod's node, nothing while it has none."""
    return (pod.spec.node_name,) if pod.spec.node_name else ()
