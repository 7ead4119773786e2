"""All checks of a pod spec, in the order in which Kubernetes reports them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from wherry.apiserver.kinds import meta, names
from wherry.apiserver.kinds.addresses import check_ip
from wherry.apiserver.kinds.model import FieldError, Object, invalid, required, too_many, unsupported
from wherry.apiserver.kinds.podspec import containers as ctr
from wherry.apiserver.kinds.podspec import scheduling, security
from wherry.apiserver.kinds.podspec.volumes import check_volumes

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MAX_INT32 = (1 << 31) - 1
_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_CHARACTERS = 2048


def _check_names(errors: list[FieldError], spec: Object, path: str) -> None:
    if account := spec.get("serviceAccountName"):
        where = f"{path}.serviceAccountName"
        errors.extend(invalid(where, account, text) for text in names.dns_subdomain(account))
    if node := spec.get("nodeName"):
        errors.extend(invalid(f"{path}.nodeName", node, text) for text in names.dns_subdomain(node))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        errors.append(invalid(f"{path}.activeDeadlineSeconds", deadline, names.in_range(1, _MAX_INT32)))
    for key in ("hostname", "subdomain"):
        if value := spec.get(key):
            errors.extend(invalid(f"{path}.{key}", value, text) for text in names.dns_label(value))


def _check_dns(errors: list[FieldError], spec: Object, path: str) -> None:
    config, where = spec.get("dnsConfig"), f"{path}.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            errors.append(required(where, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(f"{where}.nameservers", text))
            return
    if not config:
        return
    servers = config.get("nameservers") or ()
    if len(servers) > _MAX_NAMESERVERS:
        text = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        errors.append(invalid(f"{where}.nameservers", list(servers), text))
    for index, server in enumerate(servers):
        check_ip(errors, server, f"{where}.nameservers[{index}]")
    searches = config.get("searches") or ()
    if len(searches) > _MAX_SEARCHES:
        text = f"must not have more than {_MAX_SEARCHES} search paths"
        errors.append(invalid(f"{where}.searches", list(searches), text))
    if len(" ".join(searches)) > _MAX_SEARCH_CHARACTERS:
        text = f"must not have more than {_MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        errors.append(invalid(f"{where}.searches", list(searches), text))
    for index, search in enumerate(searches):
        if search != ".":
            relaxed = search.rstrip(".").replace("_", "-")
            at = f"{where}.searches[{index}]"
            errors.extend(invalid(at, search, text) for text in names.dns_subdomain(relaxed))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{where}.options[{index}]", "must not be empty"))


def _check_host_aliases(errors: list[FieldError], aliases: Sequence[Object], path: str) -> None:
    for index, alias in enumerate(aliases):
        check_ip(errors, alias.get("ip", ""), f"{path}[{index}].ip")
        for number, host in enumerate(alias.get("hostnames") or ()):
            at = f"{path}[{index}].hostnames[{number}]"
            errors.extend(invalid(at, host, text) for text in names.dns_subdomain(host))


def _check_rest(errors: list[FieldError], spec: Object, path: str) -> None:
    if tolerations := spec.get("tolerations"):
        scheduling.check_tolerations(errors, tolerations, f"{path}.tolerations")
    if aliases := spec.get("hostAliases"):
        _check_host_aliases(errors, aliases, f"{path}.hostAliases")
    if cls := spec.get("priorityClassName"):
        where = f"{path}.priorityClassName"
        errors.extend(invalid(where, cls, text) for text in names.dns_subdomain(cls))
    if runtime := spec.get("runtimeClassName"):
        where = f"{path}.runtimeClassName"
        errors.extend(invalid(where, runtime, text) for text in names.dns_subdomain(runtime))
    preemption = spec.get("preemptionPolicy")
    if preemption is not None and preemption not in ("PreemptLowerPriority", "Never"):
        errors.append(unsupported(f"{path}.preemptionPolicy", preemption, ("Never", "PreemptLowerPriority")))
    for name, value in sorted((spec.get("overhead") or {}).items()):
        ctr.check_quantity(errors, value, f"{path}.overhead[{name}]")
    system = spec.get("os")
    if system is not None and system.get("name") not in ("linux", "windows"):
        if not system.get("name"):
            errors.append(required(f"{path}.os.name", "cannot be empty"))
        else:
            errors.append(unsupported(f"{path}.os", system["name"], ("linux", "windows")))


def check_pod_spec(errors: list[FieldError], spec: Object, path: str = "spec") -> None:
    """All findings about a defaulted pod spec."""
    volumes = check_volumes(errors, spec.get("volumes") or (), f"{path}.volumes")
    main = ctr.check_containers(errors, spec.get("containers") or (), volumes, f"{path}.containers")
    init = spec.get("initContainers") or ()
    others = ctr.check_init_containers(errors, init, main, volumes, f"{path}.initContainers") if init else main
    if ephemeral := spec.get("ephemeralContainers"):
        ctr.check_ephemeral_containers(errors, ephemeral, others, main, volumes, f"{path}.ephemeralContainers")
    restart = spec.get("restartPolicy", "")
    if not restart:
        errors.append(required(f"{path}.restartPolicy"))
    elif restart not in _RESTART_POLICIES:
        errors.append(unsupported(f"{path}.restartPolicy", restart, _RESTART_POLICIES))
    dns = spec.get("dnsPolicy", "")
    if not dns:
        errors.append(required(f"{path}.dnsPolicy"))
    elif dns not in _DNS_POLICIES:
        errors.append(unsupported(f"{path}.dnsPolicy", dns, _DNS_POLICIES))
    errors.extend(meta.label_key_errors(spec.get("nodeSelector"), f"{path}.nodeSelector"))
    security.check_host_ports(errors, spec, path)
    security.check_pod(errors, spec, f"{path}.securityContext")
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            where = f"{path}.imagePullSecrets[{index}].name"
            errors.append(required(where))
    scheduling.check_affinity(errors, spec.get("affinity"), f"{path}.affinity")
    _check_dns(errors, spec, path)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        where = f"{path}.readinessGates[{index}].conditionType"
        value = gate.get("conditionType", "")
        errors.extend(invalid(where, value, text) for text in names.qualified_name(value))
    if gates := spec.get("schedulingGates"):
        scheduling.check_gates(errors, gates, f"{path}.schedulingGates")
    if constraints := spec.get("topologySpreadConstraints"):
        scheduling.check_spread_constraints(errors, constraints, f"{path}.topologySpreadConstraints")
    _check_names(errors, spec, path)
    _check_rest(errors, spec, path)


def check_pod_template(errors: list[FieldError], template: Object, path: str) -> None:
    """All findings about a template: its labels, annotations and spec; ephemeral containers have no place in it."""
    metadata = template.get("metadata") or {}
    errors.extend(meta.label_key_errors(metadata.get("labels"), f"{path}.labels"))
    errors.extend(meta.annotation_errors(metadata.get("annotations"), f"{path}.annotations"))
    spec = template.get("spec") or {}
    check_pod_spec(errors, spec, f"{path}.spec")
    if ephemeral := spec.get("ephemeralContainers"):
        text = "ephemeral containers not allowed in pod template"
        errors.append(FieldError("FieldValueForbidden", f"{path}.spec.ephemeralContainers", ephemeral, text))


def check_pod_addresses(errors: list[FieldError], status: Object, path: str = "status") -> None:
    """The addresses of a pod: valid, at most one per family."""
    for key in ("podIPs", "hostIPs"):
        addresses = [item.get("ip", "") for item in status.get(key) or ()]
        before = len(errors)
        for index, address in enumerate(addresses):
            check_ip(errors, address, f"{path}.{key}[{index}]")
        if len(errors) > before or len(addresses) < 2:
            continue
        if len(addresses) > 2:
            errors.append(too_many(f"{path}.{key}", len(addresses), 2))
        elif ip_address(addresses[0]).version == ip_address(addresses[1]).version:
            text = "may specify no more than one IP for each IP family"
            errors.append(invalid(f"{path}.{key}", status[key], text))
