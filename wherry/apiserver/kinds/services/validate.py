"""Checks of services, in the order in which Kubernetes reports them."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.apiserver.kinds import meta, names
from wherry.apiserver.kinds.addresses import check_cidr, check_ip, check_special_ranges, family_of, parse_ip
from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import FieldError, Object, duplicate, forbidden, invalid, required, unsupported
from wherry.apiserver.kinds.podspec.probes import check_port_or_name
from wherry.apiserver.kinds.services.rules import NONE, is_external, is_headless, needs_health_check

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_FAMILIES = ("IPv4", "IPv6")
_TRAFFIC = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_KUBELET_PORT = 10250
_MAX_AFFINITY = 86400
_LB_ONLY = "may only be used when `type` is 'LoadBalancer'"
_ONCE = "may not change once set"
_NO_NONE = "may not be set to 'None' for {} services"
_NOT_FOR_NAMES = "may not be set for ExternalName services"


def _check_port(errors: list[FieldError], port: Object, named: set[str], path: str, *, name_needed: bool) -> None:
    name = port.get("name", "")
    if name_needed and not name:
        errors.append(required(f"{path}.name"))
    elif name:
        errors.extend(invalid(f"{path}.name", name, text) for text in names.dns_label(name))
        if name in named:
            errors.append(duplicate(f"{path}.name", name))
        named.add(name)
    number = port.get("port", 0)
    errors.extend(invalid(f"{path}.port", number, text) for text in names.port_number(number))
    protocol = port.get("protocol", "")
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in _PROTOCOLS:
        errors.append(unsupported(f"{path}.protocol", protocol, _PROTOCOLS))
    check_port_or_name(errors, port.get("targetPort"), f"{path}.targetPort")
    application = port.get("appProtocol")
    if application is not None:
        errors.extend(invalid(f"{path}.appProtocol", application, text) for text in names.qualified_name(application))


def _check_type(errors: list[FieldError], spec: Object, ports: Sequence[Object]) -> None:
    kind = spec.get("type")
    if kind in ("LoadBalancer", "NodePort") and is_headless(spec):
        errors.append(invalid("spec.clusterIPs[0]", NONE, _NO_NONE.format(kind)))
    if kind == "LoadBalancer":
        for index, port in enumerate(ports):
            if port.get("port") == _KUBELET_PORT:
                text = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
                errors.append(invalid(f"spec.ports[{index}]", _KUBELET_PORT, text))
    elif kind == "ExternalName":
        target = spec.get("externalName", "")
        if target:
            trimmed = target.removesuffix(".")
            errors.extend(invalid("spec.externalName", target, text) for text in names.dns_subdomain(trimmed))
        else:
            errors.append(required("spec.externalName"))


def _check_affinity(errors: list[FieldError], spec: Object) -> None:
    affinity, config = spec.get("sessionAffinity", ""), spec.get("sessionAffinityConfig")
    if affinity not in ("ClientIP", NONE):
        errors.append(unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None")))
    path = "spec.sessionAffinityConfig"
    if affinity == "ClientIP":
        client = (config or {}).get("clientIP")
        if client is None:
            text = "when session affinity type is ClientIP"
            errors.append(required(path, text))
            return
        seconds = client.get("timeoutSeconds", 0)
        if not 0 < seconds <= _MAX_AFFINITY:
            text = f"must be greater than 0 and less than {_MAX_AFFINITY}"
            errors.append(invalid(f"{path}.clientIP.timeoutSeconds", seconds, text))
    elif affinity == NONE and config is not None:
        errors.append(forbidden(path, "must not be set when session affinity is None"))


def check_families(spec: Object) -> list[FieldError]:
    """Findings about clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy and how they agree."""
    errors: list[FieldError] = []
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    if spec.get("type") == "ExternalName":
        for key, value in (("clusterIPs", addresses), ("ipFamilies", families), ("ipFamilyPolicy", policy)):
            if value:
                errors.append(forbidden(f"spec.{key}", _NOT_FOR_NAMES))
        return errors
    if not address and addresses:
        errors.append(invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified"))
    elif address and not addresses:
        errors.append(required("spec.clusterIPs"))
    elif address and addresses[0] != address:
        errors.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    seen: set[str] = set()
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            errors.append(unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
        if family in seen:
            errors.append(duplicate(f"spec.ipFamilies[{index}]", family))
        seen.add(family)
    if policy is not None and policy not in _POLICIES:
        errors.append(unsupported("spec.ipFamilyPolicy", policy, _POLICIES))
    before = len(errors)
    for index, value in enumerate(addresses):
        where = f"spec.clusterIPs[{index}]"
        if value == NONE and index == 0:
            if len(addresses) > 1:
                errors.append(invalid(where, addresses, "'None' must be the first and only value"))
        else:
            check_ip(errors, value, where)
    if len(addresses) > 2:
        errors.append(invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    if len(errors) > before:
        return errors
    if len(addresses) == 2 and family_of(addresses[0]) == family_of(addresses[1]):
        text = "may specify no more than one IP for each IP family"
        errors.append(invalid("spec.clusterIPs", addresses, text))
    if not errors and not is_headless(spec):
        for index, (value, family) in enumerate(zip(addresses, families, strict=False)):
            if family_of(value) != family:
                text = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
                errors.append(invalid(f"spec.clusterIPs[{index}]", value, text))
    return errors


def _check_port_pairs(errors: list[FieldError], ports: Sequence[Object]) -> None:
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in seen:
            shown = internal("ServicePort", {"protocol": key[0], "port": key[1]})
            errors.append(duplicate(f"spec.ports[{index}]", shown))
        seen.add(key)


def _check_balancer(errors: list[FieldError], spec: Object) -> None:
    balanced = spec.get("type") == "LoadBalancer"
    if ranges := spec.get("loadBalancerSourceRanges"):
        # The path is spelled with a capital letter in Kubernetes, too.
        path = "spec.LoadBalancerSourceRanges"
        if not balanced:
            errors.append(forbidden(path, _LB_ONLY))
        for index, value in enumerate(ranges):
            check_cidr(errors, value.strip(), f"{path}[{index}]")
    flag = spec.get("allocateLoadBalancerNodePorts")
    if balanced and flag is None:
        errors.append(required("spec.allocateLoadBalancerNodePorts"))
    elif not balanced and flag is not None:
        errors.append(forbidden("spec.allocateLoadBalancerNodePorts", _LB_ONLY))


def _check_class(errors: list[FieldError], new: Object, old: Object | None) -> None:
    path, value = "spec.loadBalancerClass", new.get("loadBalancerClass")
    balanced = new.get("type") == "LoadBalancer"
    if old is not None and balanced and old.get("type") == "LoadBalancer" and value != old.get("loadBalancerClass"):
        errors.append(invalid(path, value, _ONCE))
    elif value is not None:
        if balanced:
            errors.extend(invalid(path, value, text) for text in names.qualified_name(value))
        else:
            errors.append(forbidden(path, _LB_ONLY))


def _check_traffic(errors: list[FieldError], spec: Object) -> None:
    policy = spec.get("externalTrafficPolicy", "")
    if not is_external(spec):
        if policy:
            text = "may only be set for externally-accessible services"
            errors.append(invalid("spec.externalTrafficPolicy", policy, text))
    elif not policy:
        errors.append(required("spec.externalTrafficPolicy"))
    elif policy not in _TRAFFIC:
        errors.append(unsupported("spec.externalTrafficPolicy", policy, _TRAFFIC))
    check = spec.get("healthCheckNodePort") or 0
    if check and not needs_health_check(spec):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", check, text))
    elif check < 0:
        errors.append(invalid("spec.healthCheckNodePort", check, "must be greater than 0"))
    inner = spec.get("internalTrafficPolicy")
    if inner is None:
        if spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer"):
            errors.append(required("spec.internalTrafficPolicy"))
    elif inner not in _TRAFFIC:
        errors.append(unsupported("spec.internalTrafficPolicy", inner, _TRAFFIC))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        errors.append(unsupported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))


def check_service(spec: Object, old: Object | None = None) -> list[FieldError]:
    """All findings about a defaulted spec."""
    errors: list[FieldError] = []
    kind, ports = spec.get("type", ""), spec.get("ports") or ()
    if not ports and not is_headless(spec) and kind != "ExternalName":
        errors.append(required("spec.ports"))
    _check_type(errors, spec, ports)
    named: set[str] = set()
    for index, port in enumerate(ports):
        _check_port(errors, port, named, f"spec.ports[{index}]", name_needed=len(ports) > 1)
    errors.extend(meta.label_key_errors(spec.get("selector"), "spec.selector"))
    _check_affinity(errors, spec)
    errors.extend(check_families(spec))
    for index, value in enumerate(spec.get("externalIPs") or ()):
        where = f"spec.externalIPs[{index}]"
        address = check_ip(errors, value, where)
        if address is not None:
            check_special_ranges(errors, address, value, where)
    if not kind:
        errors.append(required("spec.type"))
    elif kind not in _TYPES:
        errors.append(unsupported("spec.type", kind, _TYPES))
    if kind == "ClusterIP":
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                text = "may not be used when `type` is 'ClusterIP'"
                errors.append(forbidden(f"spec.ports[{index}].nodePort", text))
    _check_port_pairs(errors, ports)
    _check_balancer(errors, spec)
    _check_class(errors, spec, old)
    _check_traffic(errors, spec)
    return errors


def check_service_update(new: Object, old: Object) -> list[FieldError]:
    """Findings about a change: addresses and primary families stay once they are set."""
    errors: list[FieldError] = []
    if new.get("type") == "ExternalName" or old.get("type") == "ExternalName" or check_families(new):
        return errors + check_service(new, old)
    for key in ("clusterIPs", "ipFamilies"):
        after, before = new.get(key) or [], old.get(key) or []
        for index in range(min(len(after), len(before))):
            if after[index] != before[index]:
                errors.append(invalid(f"spec.{key}[{index}]", after, _ONCE))
                break
        else:
            if len(before) > 1 and len(after) == 1 and new.get("ipFamilyPolicy") not in (None, "SingleStack"):
                what = "clusterIP" if key == "clusterIPs" else "ipFamily"
                text = f"must be set to 'SingleStack' when releasing the secondary {what}"
                errors.append(invalid("spec.ipFamilyPolicy", new["ipFamilyPolicy"], text))
    return errors + check_service(new, old)


def check_service_status(new: Object, old: Object) -> list[FieldError]:
    """Findings about a load balancer's status."""
    errors: list[FieldError] = []
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    ingresses = balancer.get("ingress") or ()
    path = "status.loadBalancer.ingress"
    if (
        ingresses
        and new["spec"].get("type") != "LoadBalancer"
        and balancer != (old.get("status") or {}).get("loadBalancer")
    ):
        errors.append(forbidden(path, _LB_ONLY.replace("`type`", "`spec.type`")))
        return errors
    for index, ingress in enumerate(ingresses):
        where = f"{path}[{index}]"
        if address := ingress.get("ip"):
            check_ip(errors, address, f"{where}.ip")
        mode = ingress.get("ipMode")
        if mode is not None and not ingress.get("ip"):
            errors.append(forbidden(f"{where}.ipMode", "may not be specified when `ip` is not set"))
        elif mode is None and ingress.get("ip"):
            errors.append(required(f"{where}.ipMode", "must be specified when `ip` is set"))
        elif mode not in (None, "VIP", "Proxy"):
            errors.append(unsupported(f"{where}.ipMode", mode, ("Proxy", "VIP")))
        if host := ingress.get("hostname"):
            errors.extend(invalid(f"{where}.hostname", host, text) for text in names.dns_subdomain(host))
            if parse_ip(host) is not None:
                text = "must be a DNS name, not an IP address"
                errors.append(invalid(f"{where}.hostname", host, text))
    return errors
