"""Checks of containers of all three lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from wherry.apiserver.kinds import names, quantity
from wherry.apiserver.kinds.model import (
    FieldError,
    Object,
    duplicate,
    forbidden,
    invalid,
    required,
    too_many,
    unsupported,
)
from wherry.apiserver.kinds.podspec import security
from wherry.apiserver.kinds.podspec.env import check_env, check_env_from
from wherry.apiserver.kinds.podspec.probes import NON_NEGATIVE, check_probes
from wherry.apiserver.kinds.podspec.volumes import check_mounts

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_MAX_RULES, _MAX_CODES = 20, 255
_HOOKS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")


def _check_ports(errors: list[FieldError], ports: Sequence[Object], path: str) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if name := port.get("name"):
            findings = names.port_name(name)
            errors.extend(invalid(f"{where}.name", name, text) for text in findings)
            if not findings:
                if name in seen:
                    errors.append(duplicate(f"{where}.name", name))
                seen.add(name)
        number = port.get("containerPort", 0)
        if number == 0:
            errors.append(required(f"{where}.containerPort"))
        else:
            errors.extend(invalid(f"{where}.containerPort", number, text) for text in names.port_number(number))
        if host := port.get("hostPort"):
            errors.extend(invalid(f"{where}.hostPort", host, text) for text in names.port_number(host))
        protocol = port.get("protocol", "")
        if not protocol:
            errors.append(required(f"{where}.protocol"))
        elif protocol not in _PROTOCOLS:
            errors.append(unsupported(f"{where}.protocol", protocol, _PROTOCOLS))


def _check_host_ports(errors: list[FieldError], containers: Sequence[Object], path: str) -> None:
    taken: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort")
            if not host:
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{host}"
            if key in taken:
                errors.append(duplicate(f"{path}[{i}].ports[{j}].hostPort", key))
            taken.add(key)


def _check_resource_name(errors: list[FieldError], name: str, path: str) -> None:
    errors.extend(invalid(path, name, text) for text in names.qualified_name(name))
    if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        text = "must be a standard resource type or fully qualified"
        errors.append(invalid(path, name, text))
        errors.append(invalid(path, name, "must be a standard resource for containers"))


def check_quantity(errors: list[FieldError], value: Any, path: str) -> int | None:
    """A quantity of zero or more; returns its nano-units if it is well-formed."""
    try:
        amount = quantity.parse(value)
    except quantity.BadQuantity:
        errors.append(invalid(path, value, "must be a valid resource quantity"))
        return None
    if amount < 0:
        errors.append(invalid(path, quantity.canonical(value), NON_NEGATIVE))
    return amount


def check_resources(errors: list[FieldError], resources: Object, path: str) -> None:
    """Limits and requests of a container."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in sorted(limits):
        _check_resource_name(errors, name, f"{path}.limits")
        amount = check_quantity(errors, limits[name], f"{path}.limits[{name}]")
        if (
            amount is not None
            and name not in _STANDARD
            and not name.startswith("hugepages-")
            and amount % quantity.NANO
        ):
            errors.append(invalid(f"{path}.limits[{name}]", limits[name], "must be an integer"))
    for name in sorted(requests):
        _check_resource_name(errors, name, f"{path}.requests")
        amount = check_quantity(errors, requests[name], f"{path}.requests[{name}]")
        if amount is None:
            continue
        if name in limits:
            try:
                limit = quantity.parse(limits[name])
            except quantity.BadQuantity:
                continue
            overcommit = name in _STANDARD
            if not overcommit and amount != limit:
                text = f"must be equal to {name} limit of {quantity.canonical(limits[name])}"
                errors.append(invalid(f"{path}.requests", quantity.canonical(requests[name]), text))
            elif amount > limit:
                text = f"must be less than or equal to {name} limit of {quantity.canonical(limits[name])}"
                errors.append(invalid(f"{path}.requests", quantity.canonical(requests[name]), text))
        elif name not in _STANDARD:
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))


def _check_common(errors: list[FieldError], container: Object, volumes: Collection[str], path: str) -> None:
    name = container.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors.extend(invalid(f"{path}.name", name, text) for text in names.dns_label(name))
    image = container.get("image", "")
    if not image:
        errors.append(required(f"{path}.image"))
    elif image.strip() != image:
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy", "")
    if not policy:
        errors.append(required(f"{path}.terminationMessagePolicy"))
    elif policy not in _MESSAGE_POLICIES:
        errors.append(unsupported(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES))
    if ports := container.get("ports"):
        _check_ports(errors, ports, f"{path}.ports")
    if env := container.get("env"):
        check_env(errors, env, f"{path}.env")
    if env_from := container.get("envFrom"):
        check_env_from(errors, env_from, f"{path}.envFrom")
    context = container.get("securityContext")
    if mounts := container.get("volumeMounts"):
        privileged = bool(context and context.get("privileged"))
        check_mounts(errors, mounts, volumes, f"{path}.volumeMounts", privileged=privileged)
    pull = container.get("imagePullPolicy", "")
    if not pull:
        errors.append(required(f"{path}.imagePullPolicy"))
    elif pull not in _PULL_POLICIES:
        errors.append(unsupported(f"{path}.imagePullPolicy", pull, _PULL_POLICIES))
    if resources := container.get("resources"):
        check_resources(errors, resources, f"{path}.resources")
    if context:
        security.check_container(errors, context, f"{path}.securityContext")


def _check_restart(errors: list[FieldError], container: Object, path: str) -> None:
    """The restart policy of a container and its rules for exit codes (KEP-5307)."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is not None and policy not in _RESTART_POLICIES:
        errors.append(unsupported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if rules and policy is None:
        errors.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    if len(rules) > _MAX_RULES:
        errors.append(too_many(f"{path}.restartPolicyRules", len(rules), _MAX_RULES))
    for index, rule in enumerate(rules):
        where = f"{path}.restartPolicyRules[{index}]"
        if rule.get("action") not in _RESTART_ACTIONS:
            errors.append(unsupported(f"{where}.action", rule.get("action", ""), _RESTART_ACTIONS))
        codes = rule.get("exitCodes")
        if codes is None:
            errors.append(required(f"{where}.exitCodes", "must be specified"))
        elif codes.get("operator") not in ("In", "NotIn"):
            errors.append(unsupported(f"{where}.exitCodes.operator", codes.get("operator", ""), ("In", "NotIn")))
        elif len(codes.get("values") or ()) > _MAX_CODES:
            errors.append(too_many(f"{where}.exitCodes.values", len(codes["values"]), _MAX_CODES))


def check_containers(
    errors: list[FieldError], containers: Sequence[Object], volumes: Collection[str], path: str
) -> set[str]:
    """The main containers; returns their names."""
    seen: set[str] = set()
    if not containers:
        errors.append(required(path))
        return seen
    for index, container in enumerate(containers):
        where = f"{path}[{index}]"
        _check_common(errors, container, volumes, where)
        name = container.get("name", "")
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        elif name:
            seen.add(name)
        check_probes(errors, container, where)
        _check_restart(errors, container, where)
    _check_host_ports(errors, containers, path)
    return seen


def check_init_containers(
    errors: list[FieldError], containers: Sequence[Object], main: Collection[str], volumes: Collection[str], path: str
) -> set[str]:
    """Init containers and sidecars (those with restart policy Always); returns all names."""
    seen = set(main)
    for index, container in enumerate(containers):
        where = f"{path}[{index}]"
        _check_common(errors, container, volumes, where)
        sidecar = container.get("restartPolicy") == "Always"
        _check_restart(errors, container, where)
        name = container.get("name", "")
        if name:
            if name in seen:
                errors.append(duplicate(f"{where}.name", name))
            seen.add(name)
        _check_host_ports(errors, [container], where)
        if sidecar:
            check_probes(errors, container, where)
        else:
            for key in _HOOKS:
                if container.get(key) is not None:
                    text = "may not be set for init containers without restartPolicy=Always"
                    errors.append(forbidden(f"{where}.{key}", text))
    return seen


_EPHEMERAL_FORBIDDEN = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")


def check_ephemeral_containers(
    errors: list[FieldError],
    containers: Sequence[Object],
    others: Collection[str],
    main: Collection[str],
    volumes: Collection[str],
    path: str,
) -> None:
    """Ephemeral containers, which may have neither ports nor probes nor resources."""
    seen = set(others)
    for index, container in enumerate(containers):
        where = f"{path}[{index}]"
        _check_common(errors, container, volumes, where)
        name = container.get("name", "")
        if name:
            if name in seen:
                errors.append(duplicate(f"{where}.name", name))
            seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in others and target not in main:
            errors.append(FieldError("FieldValueNotFound", f"{where}.targetContainerName", target))
        for key in _EPHEMERAL_FORBIDDEN:
            if container.get(key):
                errors.append(forbidden(f"{where}.{key}", "cannot be set for an Ephemeral Container"))
        if container.get("resources"):
            errors.append(forbidden(f"{where}.resources", "cannot be set for an Ephemeral Container"))
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            if mount.get("subPath"):
                at = f"{where}.volumeMounts[{number}].subPath"
                errors.append(forbidden(at, "cannot be set for an Ephemeral Container"))
