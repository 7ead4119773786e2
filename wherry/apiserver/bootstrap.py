"""What a cluster begins with and what the server keeps right: namespaces, roles, the `kubernetes` service.

All of it is written through the store like any other object, so that watches and restarts see nothing special.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from wherry.apiserver.authz import policy
from wherry.apiserver.kinds.control.apiservices import AUTOMANAGED, ON_START, availability
from wherry.apiserver.kinds.control.apiservices import GROUP as API_SERVICES
from wherry.apiserver.kinds.model import Object
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.storage import Entry, Store

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
SYSTEM_PRIORITIES = {
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}
"""Value and description of the built-in priority classes."""
# As kube-apiserver ranks the groups; the others come after these.
_GROUP_PRIORITIES = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
    "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
    "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500,
    "node.k8s.io": 16300, "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100, "metrics.k8s.io": 100,
}  # fmt: skip
_SLICE_LABELS = {"kubernetes.io/service-name": "kubernetes"}


class Bootstrap:
    """Writes the initial objects; `ensure` may run again at any time and changes only what differs."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def policy(self) -> None:
        """Roles and bindings: missing ones are made, rules and subjects that were taken out come back."""
        group = policy.GROUP
        for role in policy.cluster_roles():
            await self._ensure(group, "v1", "ClusterRole", "clusterroles", role, _merge_role)
        for binding in policy.cluster_role_bindings():
            await self._ensure(group, "v1", "ClusterRoleBinding", "clusterrolebindings", binding, _merge_binding)

    async def namespaces(self) -> None:
        """The four namespaces of every cluster."""
        for name in NAMESPACES:
            namespace = {
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }
            await self._ensure("", "v1", "Namespace", "namespaces", namespace, _keep)

    async def priorities(self) -> None:
        """The two priority classes of the system's own pods."""
        for name, (value, text) in SYSTEM_PRIORITIES.items():
            wanted = {
                "metadata": {"name": name, "generation": 1},
                "value": value,
                "description": text,
                "preemptionPolicy": "PreemptLowerPriority",
            }
            await self._ensure("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", wanted, _keep)

    async def api_services(self, versions: Iterable[tuple[str, str]]) -> None:
        """The API services of the (group, version) pairs that this server itself answers for."""
        for group, version in versions:
            spec = {
                "group": group,
                "version": version,
                "groupPriorityMinimum": _GROUP_PRIORITIES.get(group, 16000),
                "versionPriority": 1 if not group else 30 if version == "v2" else 15,
            }
            wanted = {
                "metadata": {
                    "name": f"{version}.{group}",
                    "labels": {AUTOMANAGED: ON_START},
                    "generation": 1,
                },
                "spec": spec,
                "status": {"conditions": [availability(spec, format_time(self._clock()))]},
            }
            await self._ensure(API_SERVICES, "v1", "APIService", "apiservices", wanted, _keep)

    async def kubernetes_service(
        self,
        *,
        ranges: Sequence[IPv4Network | IPv6Network],
        addresses: Sequence[IPv4Address | IPv6Address],
        port: int,
        service_port: int = 443,
    ) -> None:
        """`kubernetes.default`, the first address of the first service range, and its slice: this server's address."""
        families = [f"IPv{ranges[0].version}"]
        cluster_ip = str(ranges[0][1])
        service = {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": cluster_ip,
                "clusterIPs": [cluster_ip],
                "ipFamilies": families,
                "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None",
                "ports": [{"name": "https", "protocol": "TCP", "port": service_port, "targetPort": port}],
            },
            "status": {"loadBalancer": {}},
        }
        await self._ensure("", "v1", "Service", "services", service, _replace_spec)
        own = [str(address) for address in addresses if address.version == ranges[0].version]
        endpoint_slice = {
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": dict(_SLICE_LABELS)},
            "addressType": families[0],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in own],
            "ports": [{"name": "https", "protocol": "TCP", "port": port}],
        }
        await self._ensure(
            "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", endpoint_slice, _replace_endpoints
        )
        subset = {
            "addresses": [{"ip": address} for address in own],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        endpoints = {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [subset],
        }
        await self._ensure("", "v1", "Endpoints", "endpoints", endpoints, _replace_endpoints)

    async def _ensure(
        self,
        group: str,
        version: str,
        kind: str,
        plural: str,
        wanted: Object,
        merge: Callable[[Object, Object], Object],
    ) -> Entry:
        bucket = self._store.bucket(f"{group}/{plural}" if group else plural)
        schema = schema_for(group, version, kind)
        assert schema is not None  # all of these are built in
        metadata = wanted["metadata"]
        namespace = metadata.get("namespace", "")
        key = f"{namespace}/{metadata['name']}" if namespace else metadata["name"]
        head = bucket.head(key)
        if head is None:
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = format_time(self._clock())
            return await self._store.create(bucket, key, canonical(wanted, schema))
        there = head.object()
        changed = canonical(merge(head.object(), canonical(wanted, schema)), schema)
        if changed == there:
            return head
        return await self._store.update(bucket, head, changed)


def _keep(there: Object, wanted: Object) -> Object:
    return there


def _merge_role(there: Object, wanted: Object) -> Object:
    """Add what is missing; rules that an administrator added stay."""
    if not _autoupdated(there):
        return there
    if "aggregationRule" in wanted:
        there["aggregationRule"] = wanted["aggregationRule"]
    else:
        rules = there.get("rules") or []
        there["rules"] = rules + [one for one in wanted.get("rules") or () if one not in rules]
    there["metadata"]["labels"] = {**(there["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
    return there


def _merge_binding(there: Object, wanted: Object) -> Object:
    if not _autoupdated(there) or there["roleRef"] != wanted["roleRef"]:
        return there
    subjects = there.get("subjects") or []
    there["subjects"] = subjects + [one for one in wanted["subjects"] if one not in subjects]
    return there


def _autoupdated(there: Object) -> bool:
    annotations = there["metadata"].get("annotations") or {}
    return all(annotations.get(key, value) == value for key, value in policy.AUTOUPDATE.items())


def _replace_spec(there: Object, wanted: Object) -> Object:
    there["spec"] = wanted["spec"]
    return there


def _replace_endpoints(there: Object, wanted: Object) -> Object:
    for key in ("endpoints", "ports", "subsets"):
        if key in wanted:
            there[key] = wanted[key]
    return there
