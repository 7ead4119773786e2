"""Whether a pod that was bound to this node may run here: the kubelet's own judgement, after the scheduler's. Pure.

A pod that may not fails at once and for good, with a reason in its status and an event. Whoever runs the node says what
its own rules are (`Admit`); what depends on the pod alone is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from wherry.kube.objects import Pod
from wherry.pods.sysctls import forbidden


class Rejection(NamedTuple):
    """Why a pod may not run here, in the kubelet's words."""

    reason: str
    message: str


Admit = Callable[[Pod, Sequence[Pod]], Rejection | None]
"""Judges a pod beside the others that are on the node."""


def admit_all(_pod: Pod, _others: Sequence[Pod]) -> Rejection | None:
    """The rule of a node without rules."""
    return None


def judge(pod: Pod, others: Sequence[Pod], admit: Admit) -> Rejection | None:
    """Return why a pod may not run, None when it may."""
    text = forbidden(pod)
    return Rejection("SysctlForbidden", text) if text is not None else admit(pod, others)
