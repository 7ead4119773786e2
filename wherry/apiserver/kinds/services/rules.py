"""Which fields the types of a service have, and what a change of type or family leaves of them."""

from __future__ import annotations

from wherry.apiserver.kinds.model import Object

NONE = "None"
DUAL_POLICIES = ("RequireDualStack", "PreferDualStack")


def needs_cluster_ip(spec: Object) -> bool:
    """All types but ExternalName."""
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_port(spec: Object) -> bool:
    """Types whose ports may have node ports."""
    return spec.get("type") in ("NodePort", "LoadBalancer")


def wants_node_ports(spec: Object) -> bool:
    """Whether node ports are allocated that were not asked for."""
    if spec.get("type") == "LoadBalancer":
        return bool(spec.get("allocateLoadBalancerNodePorts", True))
    return spec.get("type") == "NodePort"


def needs_health_check(spec: Object) -> bool:
    """Load balancers that keep traffic on the node ask each node for its endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_external(spec: Object) -> bool:
    """Whether traffic may come from outside of the cluster."""
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def is_headless(spec: Object) -> bool:
    """Whether the service has endpoints and no address."""
    return bool((spec.get("clusterIPs") or [spec.get("clusterIP")])[0] == NONE)


def default_service(obj: Object) -> None:
    """Defaults, as the API reference of Service documents them."""
    spec = obj.setdefault("spec", {})
    affinity = spec.setdefault("sessionAffinity", NONE)
    if affinity == NONE:
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", 10800)
    kind = spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port", 0)
    if is_external(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        balancer = (obj.get("status") or {}).get("loadBalancer") or {}
        for ingress in balancer.get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _node_ports(spec: Object) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def drop_type_dependent(new: Object, old: Object) -> None:
    """Forget what only the former type had, unless the user changed it with the type."""
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        if new.get("clusterIP") == old.get("clusterIP") and new.get("clusterIPs") == old.get("clusterIPs"):
            new.pop("clusterIP", None)
            new.pop("clusterIPs", None)
        for key in ("ipFamilies", "ipFamilyPolicy"):
            if new.get(key) == old.get(key):
                new.pop(key, None)
    if needs_node_port(old) and not needs_node_port(new) and _node_ports(new) <= _node_ports(old):
        for port in new.get("ports") or ():
            port.pop("nodePort", None)
    if needs_health_check(old) and not needs_health_check(new):
        _drop_if_same(new, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" and new.get("type") != "LoadBalancer":
        _drop_if_same(new, old, "allocateLoadBalancerNodePorts")
        _drop_if_same(new, old, "loadBalancerClass")
    if is_external(old) and not is_external(new):
        _drop_if_same(new, old, "externalTrafficPolicy")


def _drop_if_same(new: Object, old: Object, key: str) -> None:
    if new.get(key) == old.get(key):
        new.pop(key, None)


def carry_allocated(new: Object, old: Object) -> None:
    """Keep what was allocated where the update does not mention it."""
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        if not new.get("clusterIP") and old.get("clusterIP"):
            new["clusterIP"] = old["clusterIP"]
        if not new.get("clusterIPs") and new.get("clusterIP") == old.get("clusterIP") and old.get("clusterIPs"):
            new["clusterIPs"] = list(old["clusterIPs"])
    if needs_node_port(old) and needs_node_port(new):
        used = _node_ports(new)
        known = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in old.get("ports") or ()}
        for port in new.get("ports") or ():
            before = known.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and before and before not in used:
                port["nodePort"] = before
                used.add(before)
    if needs_health_check(old) and needs_health_check(new) and not new.get("healthCheckNodePort"):
        new["healthCheckNodePort"] = old.get("healthCheckNodePort")


def normalize_cluster_ips(new: Object, old: Object | None) -> None:
    """Make clusterIPs follow clusterIP for clients that know only the latter."""
    address, addresses = new.get("clusterIP", ""), new.get("clusterIPs") or []
    if old is None:
        if address and not addresses:
            new["clusterIPs"] = [address]
        return
    if address != old.get("clusterIP", "") and addresses == (old.get("clusterIPs") or []):
        if address:
            new["clusterIPs"] = [address]
        else:
            new.pop("clusterIPs", None)


def trim_downgrade(new: Object, old: Object) -> None:
    """Going back to a single stack gives up the second address and family."""
    if not needs_cluster_ip(old) or not needs_cluster_ip(new):
        return
    if old.get("ipFamilyPolicy") not in DUAL_POLICIES or new.get("ipFamilyPolicy") != "SingleStack":
        return
    for key in ("clusterIPs", "ipFamilies"):
        if len(new.get(key) or ()) > 1 and new.get(key) == old.get(key):
            new[key] = new[key][:1]
