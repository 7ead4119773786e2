"""The DaemonSet of a Service: a pod on every eligible node whose host ports are the Service's. Pure.

Shape, names and environment are those of K3s, so that the same object also works with `rancher/klipper-lb`. One thing
does not: PROXY headers, a variable that image does not know. Pods that trust such headers must not be reached without
them, since then the client writes its own. So a Service that asks for them is refused where another image than ours is
configured, rather than served without.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import msgspec

from wherry.cloud.servicelb import binding
from wherry.cloud.servicelb.model import (
    ACCOUNT,
    ENABLE_LB,
    NODE_SELECTOR,
    OUR_IMAGE,
    POOL,
    POOL_PREFIX,
    PREEMPTION,
    PRIORITY_CLASS,
    PROXY_PROTOCOL,
    PROXY_V2,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    SOURCE_RANGES,
    TOLERATIONS,
    LbSettings,
    Unusable,
    only_local,
    proxied,
)
from wherry.config.yaml import YamlError, load
from wherry.kube.objects import Service

READY_FILE = "/run/klipper-lb.ready"
"""What our forwarder makes in its container once its rules are in place."""

_NAME_LENGTH = 48
_UID_LENGTH = 8
_SYSCTLS = {
    "IPv4": {"name": "net.ipv4.ip_forward", "value": "1"},
    "IPv6": {"name": "net.ipv6.conf.all.forwarding", "value": "1"},
}
_TOLERATED: list[dict[str, Any]] = [
    {"key": "node-role.kubernetes.io/master", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "CriticalAddonsOnly", "operator": "Exists"},
]
_EVERYBODY = "0.0.0.0/0"
# A hook rather than a probe: it is asked once, and until it ended the container is not ready.
_WAIT = f"until [ -e {READY_FILE} ]; do sleep 0.02; done"


def name_of(service: Service) -> str:
    """The DaemonSet's name."""
    name = service.name
    if len(name) > _NAME_LENGTH:
        name = name[:_NAME_LENGTH].rstrip("-")
    return f"svclb-{name}-{service.uid[:_UID_LENGTH]}"


def daemon_set(service: Service, settings: LbSettings, *, allow_list: bool) -> dict[str, Any]:
    """The DaemonSet as plain data; ``None`` stands for a field that must be absent, see `merge.applied`.

    Raises `Unusable` for tolerations, source ranges or addresses that cannot be read, and for what the image cannot do.
    """
    if proxied(service) and not _is_ours(settings.image):
        raise Unusable(
            f"annotation {PROXY_PROTOCOL}: the image {settings.image} writes no PROXY headers; "
            f"configure {OUR_IMAGE}, or take the annotation away"
        )
    name = name_of(service)
    owner = {SERVICE_NAME: service.name, SERVICE_NAMESPACE: service.namespace}
    annotations = service.metadata.annotations
    bind = binding.parse(service)
    host_ip = bind.host_ip if bind is not None else ""
    ranges = source_ranges(service)
    pod = {
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": False,
        "priorityClassName": annotations.get(PRIORITY_CLASS, settings.priority_class),
        # A signal that comes before the forwarder's shell listens for it is lost, and its ports must not stay taken.
        "terminationGracePeriodSeconds": 1 if _is_ours(settings.image) else 30,
        "securityContext": {"sysctls": [_SYSCTLS[one] for one in service.spec.ip_families if one in _SYSCTLS]},
        "tolerations": [*_TOLERATED, *extra_tolerations(service)],
        "nodeSelector": {ENABLE_LB: "true"} if allow_list else None,
        "affinity": _affinity(service.labels.get(POOL, "")),
        "containers": [_container(service, settings, number, ranges, host_ip) for number in _ports(service)],
    }
    return {
        "metadata": {
            "name": name,
            "namespace": settings.namespace,
            "labels": {**owner, NODE_SELECTOR: "true" if allow_list else "false"},
            "annotations": {
                "objectset.rio.cattle.io/owner-gvk": "/v1, Kind=Service",
                "objectset.rio.cattle.io/owner-name": service.name,
                "objectset.rio.cattle.io/owner-namespace": service.namespace,
            },
        },
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {
                    "labels": {"app": name, **owner},
                    "annotations": {
                        PREEMPTION: "Never",
                        binding.ON_INTERFACE: (bind.interface if bind is not None else "") or None,
                    },
                },
                "spec": pod,
            },
        },
    }


def source_ranges(service: Service) -> str:
    """Who may come in, comma-separated and in a fixed order. Raises `Unusable`."""
    texts = [text for text in service.spec.load_balancer_source_ranges if text.strip()]
    if not texts:
        texts = [one for one in service.metadata.annotations.get(SOURCE_RANGES, "").split(",") if one.strip()]
    found = set()
    for text in texts:
        try:
            if "/" not in text:
                raise ValueError("no prefix length")
            found.add(str(ip_network(text.strip(), strict=False)))
        except ValueError as error:
            raise Unusable(f"load balancer source range {text.strip()!r} is no range of addresses") from error
    joined = ",".join(sorted(found)) or _EVERYBODY
    return f"{joined},::/0" if joined == _EVERYBODY and "IPv6" in service.spec.ip_families else joined


def extra_tolerations(service: Service) -> list[dict[str, Any]]:
    """The tolerations of the annotation, JSON or YAML. Raises `Unusable` where they are none."""
    text = service.metadata.annotations.get(TOLERATIONS, "")
    if not text.strip():
        return []
    try:
        listed = load(text)
    except YamlError as error:
        raise Unusable(f"annotation {TOLERATIONS}: {error}") from error
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Unusable(f"annotation {TOLERATIONS}: not a list of tolerations")
    return [_toleration(one) for one in listed]


def _toleration(given: dict[str, Any]) -> dict[str, Any]:
    try:
        read = msgspec.convert(given, _Toleration)
    except msgspec.ValidationError as error:
        raise Unusable(f"annotation {TOLERATIONS}: {error}") from error
    operator = read.operator or "Equal"
    if operator not in ("Equal", "Exists"):
        raise Unusable(f"annotation {TOLERATIONS}: operator {operator!r} is neither Equal nor Exists")
    if not read.key and operator != "Exists":
        raise Unusable(f"annotation {TOLERATIONS}: a toleration without key must have the operator Exists")
    if operator == "Exists" and read.value:
        raise Unusable(f"annotation {TOLERATIONS}: a toleration with the operator Exists must have no value")
    return {**msgspec.to_builtins(read), "operator": operator}


class _Toleration(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


def _affinity(pool: str) -> dict[str, Any] | None:
    if not pool:
        return None
    terms = [
        {"matchExpressions": [{"key": POOL, "operator": "In", "values": [pool]}]},
        {"matchExpressions": [{"key": POOL_PREFIX + pool, "operator": "In", "values": ["true"]}]},
    ]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _ports(service: Service) -> range:
    return range(len(service.spec.ports))


def _container(service: Service, settings: LbSettings, index: int, ranges: str, host_ip: str) -> dict[str, Any]:
    port = service.spec.ports[index]
    protocol = port.protocol or "TCP"
    name = f"lb-{protocol.lower()}-{port.port}"
    if only_local(service):
        dest_port = port.node_port
        if not dest_port:
            raise Unusable(
                f"port {port.port}/{protocol}: externalTrafficPolicy Local needs node ports, "
                "which allocateLoadBalancerNodePorts: false leaves out"
            )
        addresses: dict[str, Any] = {
            "name": "DEST_IPS",
            "value": None,
            "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}},
        }
    else:
        dest_port = port.port
        addresses = {"name": "DEST_IPS", "value": ",".join(service.spec.cluster_ips), "valueFrom": None}
    ours = _is_ours(settings.image)
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [
            {
                "name": name,
                "containerPort": port.port,
                "hostPort": port.port,
                "hostIP": host_ip or None,
                "protocol": protocol,
            }
        ],
        "env": [
            {"name": "SRC_PORT", "value": str(port.port)},
            {"name": "SRC_RANGES", "value": ranges},
            {"name": "DEST_PROTO", "value": protocol},
            {"name": "DEST_PORT", "value": str(dest_port)},
            addresses,
            *([{"name": "PROXY_PROTOCOL", "value": PROXY_V2}] if protocol == "TCP" and proxied(service) else ()),
        ],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", _WAIT]}}} if ours else None,
    }


def _is_ours(image: str) -> bool:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}".removeprefix("docker.io/") == OUR_IMAGE
