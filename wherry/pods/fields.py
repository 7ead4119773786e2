"""Values that a pod can be told about itself (downward API): fields of the pod and resources of its containers. Pure.

Source: Kubernetes API reference, `ObjectFieldSelector` and `ResourceFieldSelector`; formats as the kubelet's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

from wherry.kube import quantity
from wherry.kube.objects import Container, ObjectFieldSelector, Pod, ResourceFieldSelector
from wherry.kube.objects.base import Quantity

_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


class FieldError(Exception):
    """A reference that has no value; the text is the kubelet's."""


class NodeFacts(msgspec.Struct, frozen=True):
    """What a pod may learn of its node and of its own addresses, which its object does not have yet."""

    host_ips: tuple[str, ...] = ()
    pod_ips: tuple[str, ...] = ()
    allocatable: dict[str, Quantity] = {}
    """Stands for the limits that a container does not set."""


def pod_field(pod: Pod, selector: ObjectFieldSelector, facts: NodeFacts) -> str:
    """Return the value of one field. Raises `FieldError` for a path that is not offered."""
    path = selector.field_path
    meta = pod.metadata
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        values = meta.labels if subscript[1] == "labels" else meta.annotations
        return values.get(subscript[2], "")
    match path:
        case "metadata.name":
            return meta.name
        case "metadata.namespace":
            return meta.namespace
        case "metadata.uid":
            return meta.uid
        case "metadata.labels":
            return format_map(meta.labels)
        case "metadata.annotations":
            return format_map(meta.annotations)
        case "spec.nodeName":
            return pod.spec.node_name
        case "spec.serviceAccountName":
            return pod.spec.service_account_name
        case "status.hostIP":
            return facts.host_ips[0] if facts.host_ips else ""
        case "status.hostIPs":
            return ",".join(facts.host_ips)
        case "status.podIP":
            return facts.pod_ips[0] if facts.pod_ips else ""
        case "status.podIPs":
            return ",".join(facts.pod_ips)
    raise FieldError(f"unsupported fieldPath: {path}")


def format_map(values: Mapping[str, str]) -> str:
    """Render labels or annotations as the downward API does: one `key="value"` a line, sorted, values quoted."""
    return "\n".join(f"{key}={_quote(values[key])}" for key in sorted(values))


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
            "\v": "\\v"}  # fmt: skip


def _quote(text: str) -> str:
    out: list[str] = []
    for char in text:
        escaped = _ESCAPES.get(char)
        if escaped is not None:
            out.append(escaped)
        elif char.isprintable():
            out.append(char)
        else:
            point = ord(char)
            width = "x%02x" if point < 0x80 else "u%04x" if point < 0x10000 else "U%08x"
            out.append("\\" + width % point)
    return f'"{"".join(out)}"'


def container_resource(container: Container, selector: ResourceFieldSelector, facts: NodeFacts) -> str:
    """Return a request or limit divided by the divisor, rounded up; a limit that is not set is the node's allocatable.

    Raises `FieldError` for a resource that is not offered.
    """
    kind, _, resource = selector.resource.partition(".")
    known = resource in ("cpu", "memory", "ephemeral-storage") or resource.startswith("hugepages-")
    if kind not in ("limits", "requests") or not known:
        raise FieldError(f"unsupported container resource : {selector.resource}")
    values = container.resources.limits if kind == "limits" else container.resources.requests
    amount = values.get(resource)
    if amount is None:
        amount = facts.allocatable.get(resource, 0) if kind == "limits" else container.resources.limits.get(resource, 0)
    divisor = quantity.parse(selector.divisor) or quantity.parse(1)
    return str(math.ceil(quantity.parse(amount) / divisor))
