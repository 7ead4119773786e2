"""Values of structured fields as they appear in findings.

Kubernetes prints such a value as the JSON of its internal type: Go field names, every field, in order of declaration.
Clients show that text as it is, so it is rendered here from a table of the types that occur in findings.
"""

from __future__ import annotations

import json
from typing import Any

from wherry.apiserver.kinds.model import Object

# type: fields "Name[=zero][:type]", zero s (""), b (false), i (0), o (an object of the type); otherwise null.
_TYPES = {
    "Capabilities": "Add Drop",
    "SELinuxOptions": "User=s Role=s Type=s Level=s",
    "SeccompProfile": "Type=s LocalhostProfile",
    "SecurityContext": (
        "Capabilities:Capabilities Privileged SELinuxOptions:SELinuxOptions WindowsOptions RunAsUser RunAsGroup "
        "RunAsNonRoot ReadOnlyRootFilesystem AllowPrivilegeEscalation ProcMount SeccompProfile:SeccompProfile "
        "AppArmorProfile:SeccompProfile"
    ),
    "PodSecurityContext": (
        "HostNetwork=b HostPID=b HostIPC=b ShareProcessNamespace HostUsers SELinuxOptions:SELinuxOptions "
        "WindowsOptions RunAsUser RunAsGroup RunAsNonRoot SupplementalGroups SupplementalGroupsPolicy FSGroup "
        "FSGroupChangePolicy Sysctls:Sysctl SeccompProfile:SeccompProfile AppArmorProfile:SeccompProfile "
        "SELinuxChangePolicy"
    ),
    "Sysctl": "Name=s Value=s",
    "ContainerPort": "Name=s HostPort=i ContainerPort=i Protocol=s HostIP=s",
    "EnvVar": "Name=s Value=s ValueFrom",
    "Resources": "Limits Requests Claims",
    "VolumeMount": ("Name=s ReadOnly=b RecursiveReadOnly MountPath=s SubPath=s MountPropagation SubPathExpr=s"),
    "Container": (
        "Name=s Image=s Command Args WorkingDir=s Ports:ContainerPort EnvFrom Env:EnvVar Resources=o:Resources "
        "ResizePolicy RestartPolicy RestartPolicyRules VolumeMounts:VolumeMount VolumeDevices LivenessProbe "
        "ReadinessProbe StartupProbe Lifecycle TerminationMessagePath=s TerminationMessagePolicy=s ImagePullPolicy=s "
        "SecurityContext:SecurityContext Stdin=b StdinOnce=b TTY=b"
    ),
    "Toleration": "Key=s Operator=s Value=s Effect=s TolerationSeconds",
    "PodSpec": (
        "Volumes InitContainers:Container Containers:Container EphemeralContainers RestartPolicy=s "
        "TerminationGracePeriodSeconds ActiveDeadlineSeconds DNSPolicy=s NodeSelector ServiceAccountName=s "
        "AutomountServiceAccountToken NodeName=s SecurityContext:PodSecurityContext ImagePullSecrets Hostname=s "
        "Subdomain=s SetHostnameAsFQDN Affinity SchedulerName=s Tolerations:Toleration HostAliases "
        "PriorityClassName=s Priority PreemptionPolicy DNSConfig ReadinessGates RuntimeClassName Overhead "
        "EnableServiceLinks TopologySpreadConstraints OS SchedulingGates ResourceClaims Resources HostnameOverride "
        "SchedulingGroup"
    ),
    "ServicePort": "Name=s Protocol=s AppProtocol Port=i TargetPort=i NodePort=i",
    "Strategy": "Type=s RollingUpdate",
    "RoleRef": "APIGroup=s Kind=s Name=s",
    "PodDisruptionBudgetSpec": "MinAvailable Selector MaxUnavailable UnhealthyPodEvictionPolicy",
    "CustomResourceDefinitionVersion": (
        "Name=s Served=b Storage=b Deprecated=b DeprecationWarning Schema Subresources AdditionalPrinterColumns "
        "SelectableFields"
    ),
    "ValidationRule": "Rule=s Message=s MessageExpression=s Reason FieldPath=s OptionalOldSelf",
    "VolumeResources": "Limits Requests",
    "PersistentVolumeClaimSpec": (
        "AccessModes Selector Resources=o:VolumeResources VolumeName=s StorageClassName VolumeMode DataSource "
        "DataSourceRef VolumeAttributesClassName"
    ),
}

_ZEROS: dict[str, Any] = {"s": "", "b": False, "i": 0, "": None}
_JSON_NAMES = {"TTY": "tty", "OS": "os"}

# Fields of a pod spec that the internal type keeps inside of the security context.
_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


def type_name(group: str, kind: str) -> str:
    """The name of a kind's internal type: `core.Pod`, `rbac.Role`."""
    package = group.partition(".")[0]
    return f"{'core' if package in ('', 'events') else package}.{kind}"


def _json_name(name: str) -> str:
    """`DNSPolicy` is `dnsPolicy`, `SELinuxOptions` is `seLinuxOptions`, `Volumes` is `volumes`."""
    if name in _JSON_NAMES:
        return _JSON_NAMES[name]
    upper = 0
    while upper < len(name) and name[upper].isupper():
        upper += 1
    length = 2 if name.startswith("SELinux") else max(1, upper - 1 if upper < len(name) else upper)
    return name[:length].lower() + name[length:]


def _parse(fields: str) -> tuple[tuple[str, str, str, str], ...]:
    parsed = []
    for field in fields.split():
        rest, _, type_ = field.partition(":")
        name, _, zero = rest.partition("=")
        parsed.append((name, _json_name(name), zero, type_))
    return tuple(parsed)


_LAYOUTS = {name: _parse(fields) for name, fields in _TYPES.items()}


def internal(type_: str, value: Any) -> Any:
    """The value with the names, order and zero values of an internal type; types not in the table keep their form."""
    if isinstance(value, list):
        return [internal(type_, item) for item in value]
    layout = _LAYOUTS.get(type_)
    if layout is None or not isinstance(value, dict):
        return value
    if type_ == "PodSpec":
        inner = dict(value.get("securityContext") or {})
        inner.update({name: value[name] for name in _HOST_FIELDS if name in value})
        value = {**value, "securityContext": inner}
    result: Object = {}
    for name, json_name, zero, inner_type in layout:
        found = value.get(json_name)
        if found is None:
            found = {} if zero == "o" else _ZEROS[zero]
        result[name] = internal(inner_type, found) if inner_type else found
    return result


def _indented(value: Any) -> list[str]:
    return json.dumps(value, indent=1, ensure_ascii=False).split("\n")


def difference(type_: str, old: Object, new: Object) -> str:
    """A unified diff (three lines of context) of two values, as findings about immutable specs carry it."""
    import difflib  # only where an update is refused

    lines = list(difflib.unified_diff(_indented(internal(type_, old)), _indented(internal(type_, new)), lineterm=""))
    return "\n".join(lines[2:]) + "\n"
