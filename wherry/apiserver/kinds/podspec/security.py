"""Checks of the security contexts of pods and containers."""

from __future__ import annotations

import re
from typing import Any

from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import FieldError, Object, duplicate, invalid, required, unsupported
from wherry.apiserver.kinds.names import in_range

_MAX_ID = (1 << 31) - 1
_SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_PROC_MOUNTS = ("Default", "Unmasked")
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")


def _check_id(errors: list[FieldError], value: Any, path: str) -> None:
    if value is not None and not 0 <= value <= _MAX_ID:
        errors.append(invalid(path, value, in_range(0, _MAX_ID)))


def _check_profile(errors: list[FieldError], profile: Object | None, path: str) -> None:
    if profile is None:
        return
    kind = profile.get("type", "")
    if kind not in _SECCOMP_TYPES:
        errors.append(unsupported(f"{path}.type", kind, _SECCOMP_TYPES) if kind else required(f"{path}.type"))
    local = profile.get("localhostProfile")
    if kind == "Localhost":
        if not local:
            errors.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
    elif local:
        text = "can only be set when seccomp type is Localhost"
        errors.append(invalid(f"{path}.localhostProfile", local, text))


def check_container(errors: list[FieldError], context: Object | None, path: str) -> None:
    """The security context of a container."""
    if not context:
        return
    _check_id(errors, context.get("runAsUser"), f"{path}.runAsUser")
    _check_id(errors, context.get("runAsGroup"), f"{path}.runAsGroup")
    mount = context.get("procMount")
    if mount is not None and mount not in _PROC_MOUNTS:
        errors.append(unsupported(f"{path}.procMount", mount, _PROC_MOUNTS))
    _check_profile(errors, context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        shown = internal("SecurityContext", context)
        if context.get("privileged"):
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(path, shown, text))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, shown, text))


def check_host_ports(errors: list[FieldError], spec: Object, path: str) -> None:
    """What the host's network asks of ports: the host's is the container's.

    A template (whose spec is not at ``spec``) may leave host ports open, since pods get them by default.
    """
    if not spec.get("hostNetwork"):
        return
    text = "must match `containerPort` when `hostNetwork` is true"
    for i, container in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(container.get("ports") or ()):
            on_host = port.get("hostPort", 0)
            if (on_host or path == "spec") and on_host != port.get("containerPort", 0):
                errors.append(invalid(f"{path}.containers[{i}].ports[{j}].hostPort", on_host, text))


def check_pod(errors: list[FieldError], spec: Object, path: str) -> None:
    """The security context of a pod."""
    context = spec.get("securityContext")
    if not context:
        return
    _check_id(errors, context.get("fsGroup"), f"{path}.fsGroup")
    _check_id(errors, context.get("runAsUser"), f"{path}.runAsUser")
    _check_id(errors, context.get("runAsGroup"), f"{path}.runAsGroup")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        _check_id(errors, group, f"{path}.supplementalGroups[{index}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.shareProcessNamespace", True, text))
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        name, where = sysctl.get("name", ""), f"{path}.sysctls[{index}].name"
        if not name:
            errors.append(required(where))
        elif len(name) > 253 or not _SYSCTL.fullmatch(name):
            errors.append(invalid(where, name, f"must have at most 253 characters and match regex ^{_SYSCTL.pattern}$"))
        elif name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("Always", "OnRootMismatch"):
        errors.append(unsupported(f"{path}.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch")))
    _check_profile(errors, context.get("seccompProfile"), f"{path}.seccompProfile")
