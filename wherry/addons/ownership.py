"""The marks by which the objects of an add-on are known: a label to find them, annotations that say whose they are.

They are those of K3s (rancher/wrangler's object sets), values included, so that its tools and people's scripts find
what they look for.
"""

from __future__ import annotations

import hashlib
from typing import Any

NAMESPACE = "kube-system"
"""Where add-ons live."""

_PREFIX = "objectset.rio.cattle.io"
HASH = f"{_PREFIX}/hash"
"""Label: a digest of the owner, since its full name does not fit into a label."""
_ID, _GVK, _NAME, _NAMESPACE = (f"{_PREFIX}/{word}" for word in ("id", "owner-gvk", "owner-name", "owner-namespace"))
_ADDON = "k3s.cattle.io/v1, Kind=Addon"


def owner(name: str) -> dict[str, str]:
    """What an object of the add-on says of its owner."""
    return {_ID: "", _GVK: _ADDON, _NAME: name, _NAMESPACE: NAMESPACE}


def digest(name: str) -> str:
    """The value of the label on every object of the add-on."""
    return hashlib.sha1("".join(owner(name).values()).encode(), usedforsecurity=False).hexdigest()


def marked(obj: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy of the object that carries the add-on's marks."""
    metadata = obj["metadata"]
    return obj | {
        "metadata": metadata
        | {
            "labels": {**(metadata.get("labels") or {}), HASH: digest(name)},
            "annotations": {**(metadata.get("annotations") or {}), **owner(name)},
        }
    }
