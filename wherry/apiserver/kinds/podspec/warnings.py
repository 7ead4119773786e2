"""Warnings about pods and pod templates: legal, but deprecated or surprising."""

from __future__ import annotations

from wherry.apiserver.kinds import names, quantity
from wherry.apiserver.kinds.model import Object

_BETA_OS = "beta.kubernetes.io/os"
_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    _BETA_OS: 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
_VOLUMES = {
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "seccomp.security.alpha.kubernetes.io/pod": 'non-functional in v1.27+; use the "seccompProfile" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_ANNOTATION_PREFIXES = {
    "container.apparmor.security.beta.kubernetes.io/": (
        'deprecated since v1.30; use the "appArmorProfile" field instead'
    ),
    "container.seccomp.security.alpha.kubernetes.io/": (
        'non-functional in v1.27+; use the "seccompProfile" field instead'
    ),
}


def node_label_warnings(labels: Object | None, path: str) -> list[str]:
    """Deprecated labels of nodes in a selector."""
    return [f"{path}[{key}]: {_NODE_LABELS[key]}" for key in sorted(labels or ()) if key in _NODE_LABELS]


def _fractional(name: str, value: object) -> bool:
    if name not in ("memory", "ephemeral-storage", "storage"):
        return False
    try:
        return quantity.parse(value) % quantity.NANO != 0
    except quantity.BadQuantity:
        return False


def fraction_warnings(resources: Object, path: str) -> list[str]:
    """Fractions of bytes."""
    found = []
    for key in ("limits", "requests"):
        for name, value in sorted((resources.get(key) or {}).items()):
            if _fractional(name, value):
                shown = quantity.canonical(value)
                found.append(f'{path}.{key}[{name}]: fractional byte value "{shown}" is invalid, must be an integer')
    return found


def _port_warnings(containers: list[Object], path: str) -> list[str]:
    found = []
    for i, container in enumerate(containers):
        first: dict[tuple[object, ...], int] = {}
        for j, port in enumerate(container.get("ports") or ()):
            key = (port.get("containerPort"), port.get("protocol"), port.get("hostPort"), port.get("hostIP"))
            if key in first:
                known = f"{path}[{i}].ports[{first[key]}]"
                found.append(f"{path}[{i}].ports[{j}]: duplicate port definition with {known}")
            else:
                first[key] = j
    return found


def template_warnings(template: Object, path: str = "") -> list[str]:
    """Warnings about a pod template; `path` is empty or ends with a dot."""
    spec, metadata = template.get("spec") or {}, template.get("metadata") or {}
    found = node_label_warnings(spec.get("nodeSelector"), f"{path}spec.nodeSelector")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        key = constraint.get("topologyKey")
        if key in _NODE_LABELS:
            found.append(f"{path}spec.topologySpreadConstraints[{index}].topologyKey: {key} is {_NODE_LABELS[key]}")
    for key in sorted(metadata.get("annotations") or ()):
        text = _ANNOTATIONS.get(key)
        if text is None:
            text = next((t for prefix, t in _ANNOTATION_PREFIXES.items() if key.startswith(prefix)), None)
        if text is not None:
            found.append(f"{path}metadata.annotations[{key}]: {text}")
    for index, volume in enumerate(spec.get("volumes") or ()):
        found.extend(f"{path}spec.volumes[{index}].{kind}: {_VOLUMES[kind]}" for kind in volume if kind in _VOLUMES)
    seen: set[str] = set()
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        if (address := alias.get("ip")) in seen:
            found.append(f'{path}spec.hostAliases[{index}].ip: duplicate ip "{address}"')
        seen.add(alias.get("ip", ""))
    for key in ("initContainers", "containers"):
        containers = spec.get(key) or []
        for index, container in enumerate(containers):
            where = f"{path}spec.{key}[{index}]"
            found.extend(fraction_warnings(container.get("resources") or {}, f"{where}.resources"))
            known: set[str] = set()
            for number, variable in enumerate(container.get("env") or ()):
                name = variable.get("name", "")
                if name in known:
                    found.append(
                        f'{where}.env[{number}]: hides previous definition of "{name}", '
                        "which may be dropped when using apply"
                    )
                known.add(name)
        found.extend(_port_warnings(containers, f"{path}spec.{key}"))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        found.append(
            f"{path}spec.terminationGracePeriodSeconds: must be >= 0; "
            "negative values are invalid and will be treated as 1"
        )
    return found


def pod_warnings(pod: Object) -> list[str]:
    """Warnings about a pod."""
    findings = names.dns_label(pod["metadata"].get("name", ""))
    found = []
    if findings:
        found.append(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
            f"a DNS label is recommended: [{' '.join(findings)}]"
        )
    return found + template_warnings(pod)
