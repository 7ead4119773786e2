"""PodSecurity: what the labels of a namespace forbid its pods, or warn about.

Levels and rules: https://kubernetes.io/docs/concepts/security/pod-security-standards/. The labels' versions are not
looked at: the rules are those of the newest version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wherry.apiserver.kinds.model import Context, Object, refuse_forbidden

_LABEL = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")

_CAPABILITIES = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
     "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
)  # fmt: skip
_SYSCTLS = frozenset(
    {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
     "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
     "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
     "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem"}
)  # fmt: skip
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
     "secret"}
)  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})

_TEMPLATES = frozenset(
    {("apps", "deployments"), ("apps", "replicasets"), ("apps", "statefulsets"), ("apps", "daemonsets"),
     ("batch", "jobs"), ("", "replicationcontrollers")}
)  # fmt: skip

Finding = tuple[str, str]
"""What is wrong, and where."""
Rule = Callable[[Object], Finding | None]


def _containers(spec: Object) -> Iterable[Object]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _security(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = holder.get("securityContext") or {}
    return found


def _listed(word: str, names: Iterable[str]) -> str:
    found = [f'"{name}"' for name in names]
    return f"{word}{'s' if len(found) > 1 else ''} {', '.join(found)}"


def _those(spec: Object, bad: Callable[[Mapping[str, Any]], bool]) -> list[str]:
    return [str(one.get("name", "")) for one in _containers(spec) if bad(_security(one))]


def _where(spec: Object, holds: Callable[[Mapping[str, Any]], bool]) -> str:
    """`pod and container "a"`: where a security context is so; empty for nowhere."""
    parts = ["pod"] if holds(_security(spec)) else []
    if names := _those(spec, holds):
        parts.append(_listed("container", names))
    return " and ".join(parts)


# --- baseline ---------------------------------------------------------------------------------------------------------


def _apparmor(spec: Object) -> Finding | None:
    where = _where(spec, lambda one: (one.get("appArmorProfile") or {}).get("type") == "Unconfined")
    text = f'{where} must not set AppArmor profile type to "Unconfined"'
    return ("forbidden AppArmor profile", text) if where else None


def _added(spec: Object, allowed: frozenset[str]) -> str:
    added: dict[str, list[str]] = {}
    for one in _containers(spec):
        extra = sorted(set((_security(one).get("capabilities") or {}).get("add") or ()) - allowed)
        if extra:
            added[str(one.get("name", ""))] = extra
    every = sorted({name for names in added.values() for name in names})
    listed = ", ".join(f'"{name}"' for name in every)
    return (
        f"{_listed('container', added)} must not include {listed} in securityContext.capabilities.add" if added else ""
    )


def _capabilities(spec: Object) -> Finding | None:
    text = _added(spec, _CAPABILITIES)
    return ("non-default capabilities", text) if text else None


def _host_namespaces(spec: Object) -> Finding | None:
    used = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return ("host namespaces", ", ".join(used)) if used else None


def _host_paths(spec: Object) -> Finding | None:
    found = [str(one.get("name", "")) for one in spec.get("volumes") or () if "hostPath" in one]
    return ("hostPath volumes", _listed("volume", found)) if found else None


def _host_ports(spec: Object) -> Finding | None:
    names: list[str] = []
    ports: set[int] = set()
    for one in _containers(spec):
        taken = {port["hostPort"] for port in one.get("ports") or () if port.get("hostPort")}
        if taken:
            names.append(str(one.get("name", "")))
            ports |= taken
    if not names:
        return None
    word = "hostPort" if len(ports) == 1 else "hostPorts"
    verb = "uses" if len(names) == 1 else "use"
    return "hostPort", f"{_listed('container', names)} {verb} {word} {', '.join(map(str, sorted(ports)))}"


def _privileged(spec: Object) -> Finding | None:
    found = _those(spec, lambda one: bool(one.get("privileged")))
    return (
        ("privileged", f"{_listed('container', found)} must not set securityContext.privileged=true") if found else None
    )


def _proc_mount(spec: Object) -> Finding | None:
    found = _those(spec, lambda one: one.get("procMount") not in (None, "Default"))
    text = f'{_listed("container", found)} must not set securityContext.procMount to "Unmasked"'
    return ("procMount", text) if found else None


def _selinux(spec: Object) -> Finding | None:
    def bad(one: Mapping[str, Any]) -> bool:
        options = one.get("seLinuxOptions") or {}
        return options.get("type", "") not in _SELINUX_TYPES or bool(options.get("user") or options.get("role"))

    where = _where(spec, bad)
    return ("seLinuxOptions", f"{where} set forbidden securityContext.seLinuxOptions") if where else None


def _seccomp(spec: Object) -> Finding | None:
    where = _where(spec, lambda one: (one.get("seccompProfile") or {}).get("type") == "Unconfined")
    text = f'{where} must not set securityContext.seccompProfile.type to "Unconfined"'
    return ("seccompProfile", text) if where else None


def _sysctls(spec: Object) -> Finding | None:
    names = [str(one.get("name", "")) for one in _security(spec).get("sysctls") or ()]
    found = [name for name in names if name.replace("/", ".") not in _SYSCTLS]
    return ("forbidden sysctls", ", ".join(found)) if found else None


def _host_process(spec: Object) -> Finding | None:
    where = _where(spec, lambda one: bool((one.get("windowsOptions") or {}).get("hostProcess")))
    return ("hostProcess", f"{where} must not set securityContext.windowsOptions.hostProcess=true") if where else None


# --- restricted -------------------------------------------------------------------------------------------------------


def _escalation(spec: Object) -> Finding | None:
    found = _those(spec, lambda one: one.get("allowPrivilegeEscalation") is not False)
    text = f"{_listed('container', found)} must set securityContext.allowPrivilegeEscalation=false"
    return ("allowPrivilegeEscalation != false", text) if found else None


def _dropped(spec: Object) -> Finding | None:
    found = _those(spec, lambda one: "ALL" not in ((one.get("capabilities") or {}).get("drop") or ()))
    texts = [f'{_listed("container", found)} must set securityContext.capabilities.drop=["ALL"]'] if found else []
    if added := _added(spec, frozenset({"NET_BIND_SERVICE"})):
        texts.append(added)
    return ("unrestricted capabilities", "; ".join(texts)) if texts else None


def _volume_types(spec: Object) -> Finding | None:
    names, types = [], set()
    for one in spec.get("volumes") or ():
        source = next((key for key in one if key != "name"), "")
        if source not in _VOLUMES:
            names.append(str(one.get("name", "")))
            types.add(source)
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    text = f"{_listed('volume', names)} {verb} {_listed('restricted volume type', sorted(types))}"
    return "restricted volume types", text


def _inherited(spec: Object, good: Callable[[Mapping[str, Any]], bool], given: Callable[[Any], bool]) -> list[str]:
    """Containers that say something wrong, or say nothing where the pod says nothing right."""
    pod_is_good = good(_security(spec))
    return _those(spec, lambda one: not good(one) if given(one) else not pod_is_good)


def _non_root(spec: Object) -> Finding | None:
    found = _inherited(
        spec, lambda one: one.get("runAsNonRoot") is True, lambda one: one.get("runAsNonRoot") is not None
    )
    text = f"pod or {_listed('container', found)} must set securityContext.runAsNonRoot=true"
    return ("runAsNonRoot != true", text) if found else None


def _root_user(spec: Object) -> Finding | None:
    where = _where(spec, lambda one: one.get("runAsUser") == 0)
    return ("runAsUser=0", f"{where} must not set runAsUser=0") if where else None


def _seccomp_given(spec: Object) -> Finding | None:
    found = _inherited(
        spec,
        lambda one: (one.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
        lambda one: one.get("seccompProfile") is not None,
    )
    where = f"pod or {_listed('container', found)}"
    text = f'{where} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return ("seccompProfile", text) if found else None


_BASELINE: tuple[Rule, ...] = (
    _apparmor, _capabilities, _host_namespaces, _host_paths, _host_ports, _privileged, _proc_mount, _selinux, _seccomp,
    _sysctls, _host_process,
)  # fmt: skip
_STRICTER: tuple[Rule, ...] = (_escalation, _dropped, _volume_types, _non_root, _root_user, _seccomp_given)
_REPLACED = frozenset({_capabilities, _host_paths, _seccomp})
"""Rules of the baseline that a stricter one covers."""


def violations(level: str, spec: Object) -> str:
    """What a pod does that a level forbids; empty for nothing. A level that does not exist counts as the strictest."""
    if level in ("", "privileged"):
        return ""
    rules: list[Rule] = [*_BASELINE]
    if level != "baseline":
        rules = [*(rule for rule in _BASELINE if rule not in _REPLACED), *_STRICTER]
    found = [result for rule in rules if (result := rule(spec)) is not None]
    return ", ".join(f"{what} ({where})" for what, where in found)


def _policy(ctx: Context, namespace: str, mode: str) -> tuple[str, str]:
    """Level and version of one mode."""
    found = ctx.get("", "namespaces", "", namespace)
    labels = (found["metadata"].get("labels") or {}) if found is not None else {}
    level = labels.get(f"{_LABEL}{mode}", "")
    if level and level not in _LEVELS:
        level = "restricted"
    return level, labels.get(f"{_LABEL}{mode}-version", "latest")


def enforce(pod: Object, ctx: Context) -> None:
    """Refuse a pod that its namespace does not allow."""
    metadata = pod["metadata"]
    level, version = _policy(ctx, metadata.get("namespace", ""), "enforce")
    if text := violations(level, pod["spec"]):
        text = f'violates PodSecurity "{level}:{version}": {text}'
        raise refuse_forbidden("", "pods", metadata.get("name", ""), text)


def security_warnings(group: str, plural: str, obj: Object, ctx: Context) -> list[str]:
    """What the maker of a pod, or of a workload with a pod template, is warned about."""
    spec = obj.get("spec") or {}
    if (group, plural) in _TEMPLATES:
        spec = (spec.get("template") or {}).get("spec") or {}
    elif (group, plural) == ("batch", "cronjobs"):
        spec = (((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}).get("spec") or {}
    elif (group, plural) != ("", "pods"):
        return []
    level, version = _policy(ctx, obj["metadata"].get("namespace", ""), "warn")
    text = violations(level, spec)
    return [f'would violate PodSecurity "{level}:{version}": {text}'] if text else []
