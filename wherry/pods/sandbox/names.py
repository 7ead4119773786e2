"""Names and addresses that are the same for every pod, and those derived from a pod's uid. Pure."""

from __future__ import annotations

import hashlib
import re

POD_INTERFACE = "eth0"
"""The pod's end of the veth pair."""
GATEWAY4 = "169.254.1.1"
GATEWAY6 = "fe80::1"
"""Next hops of every pod. Nobody owns them: both ends have permanent neighbour entries, so nothing is ever asked."""
HOST_MAC = "ee:ee:ee:ee:ee:ee"
"""Hardware address of the node's end of every pair (each pair is a link of its own, so it cannot collide)."""

_HOST_INTERFACE = re.compile(r"pod[0-9a-f]{12}")
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def valid_uid(uid: str) -> bool:
    """Whether a pod uid can name files."""
    return _UID.fullmatch(uid) is not None


def host_interface(uid: str) -> str:
    """Name of the node's end of the pod's veth pair: 15 characters, the longest the kernel takes."""
    return "pod" + hashlib.blake2s(uid.encode(), digest_size=6).hexdigest()


def is_host_interface(name: str) -> bool:
    """Whether an interface has a name that only this module gives."""
    return _HOST_INTERFACE.fullmatch(name) is not None


def pod_mac(uid: str) -> str:
    """Hardware address of the pod's end: locally administered, unicast."""
    digest = hashlib.blake2s(uid.encode(), digest_size=5, person=b"mac").digest()
    return ":".join(f"{byte:02x}" for byte in b"\x02" + digest)
