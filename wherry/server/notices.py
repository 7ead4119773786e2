"""What the person who creates an object should know at once: that this version stores it and does nothing about it.

An object that is accepted in silence and never acted upon is the hardest failure to find. The text reaches the user as
a warning of the API server, which kubectl prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STORED = "this version of wherry stores it and does nothing about it"

_IDLE = {
    ("storage.k8s.io", "csidrivers"): "CSIDriver",
    ("storage.k8s.io", "volumeattachments"): "VolumeAttachment",
    ("networking.k8s.io", "networkpolicies"): "NetworkPolicy",
    ("networking.k8s.io", "ingresses"): "Ingress",
}


def notices(group: str, plural: str, obj: Mapping[str, Any]) -> list[str]:
    """The notices for an object that is being created; empty for nearly all."""
    kind = _IDLE.get((group, plural))
    return [f"{kind}: {_STORED}"] if kind is not None else []
