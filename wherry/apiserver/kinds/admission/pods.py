"""What admission adds to pods: the service account and its token, priority, tolerations, the runtime class's overhead.

The plugins are ServiceAccount, Priority, DefaultTolerationSeconds and RuntimeClass of the page "Admission Control in
Kubernetes".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.apiserver.kinds.model import Awaited, Context, Object, Refusal, refuse_forbidden
from wherry.apiserver.kinds.printing import parse_time

TOKEN_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
# An hour and seven seconds: tells injected volumes from those that users write.
_VOLUME_PREFIX = "kube-api-access-"
_MIRROR = "kubernetes.io/config.mirror"
_DEFAULT = "default"
_NEW_NAMESPACE = 10.0  # seconds in which the accounts of a namespace may still be on their way

_SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"


def _refuse(obj: Object, text: str) -> Refusal:
    metadata = obj["metadata"]
    return refuse_forbidden("", "pods", metadata.get("name") or metadata.get("generateName", "Unknown"), text)


# --- service accounts -------------------------------------------------------------------------------------------------


def _token_volume(name: str) -> Object:
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
            "defaultMode": 0o644,
        },
    }


def _wants_token(spec: Object, account: Mapping[str, Any]) -> bool:
    for holder in (spec, account):
        if (wanted := holder.get("automountServiceAccountToken")) is not None:
            return bool(wanted)
    return True


def _mount_token(spec: Object, ctx: Context) -> None:
    """Mount the token into every container that has nothing else at that path."""
    volumes = spec.get("volumes") or []
    known = next((v["name"] for v in volumes if v.get("name", "").startswith(_VOLUME_PREFIX) and "projected" in v), "")
    name = known or _VOLUME_PREFIX + ctx.random_suffix(5)
    needed = False
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or ():
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == TOKEN_MOUNT_PATH for mount in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT_PATH}]
            needed = True
    if needed and not known:
        spec["volumes"] = [*volumes, _token_volume(name)]


def await_service_account(pod: Object, ctx: Context) -> Awaited | None:
    """The account `default` of a new namespace, which a controller makes soon after the namespace."""
    metadata, spec = pod["metadata"], pod["spec"]
    if _MIRROR in (metadata.get("annotations") or {}) or spec.get("serviceAccountName", _DEFAULT) != _DEFAULT:
        return None
    namespace = metadata.get("namespace", "")
    found = ctx.get("", "namespaces", "", namespace)
    made = parse_time(found["metadata"].get("creationTimestamp")) if found is not None else None
    left = _NEW_NAMESPACE - (ctx.now() - made).total_seconds() if made is not None else 0.0
    return Awaited("", "serviceaccounts", namespace, _DEFAULT, left) if left > 0 else None


def use_service_account(pod: Object, ctx: Context) -> None:
    """Name the account `default` where none is named, demand that it exists, and mount its token."""
    metadata, spec = pod["metadata"], pod["spec"]
    if _MIRROR in (metadata.get("annotations") or {}):
        if spec.get("serviceAccountName"):
            raise _refuse(pod, "a mirror pod may not reference service accounts")
        return
    name = spec.get("serviceAccountName") or _DEFAULT
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    namespace = metadata.get("namespace", "")
    account = ctx.get("", "serviceaccounts", namespace, name)
    if account is None:
        text = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise _refuse(pod, text)
    if _wants_token(spec, account):
        _mount_token(spec, ctx)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]


# --- priority ---------------------------------------------------------------------------------------------------------


def _default_class(ctx: Context) -> Mapping[str, Any] | None:
    chosen: Mapping[str, Any] | None = None
    for candidate in ctx.list("scheduling.k8s.io", "priorityclasses", ""):
        if candidate.get("globalDefault") and (chosen is None or candidate["value"] < chosen["value"]):
            chosen = candidate
    return chosen


def set_priority(pod: Object, ctx: Context) -> None:
    """The number and the preemption policy of the priority class."""
    spec = pod["spec"]
    name = spec.get("priorityClassName", "")
    value, preemption = 0, "PreemptLowerPriority"
    found = ctx.get("scheduling.k8s.io", "priorityclasses", "", name) if name else _default_class(ctx)
    if found is not None:
        value, preemption = found["value"], found.get("preemptionPolicy", preemption)
        if not name:
            spec["priorityClassName"] = found["metadata"]["name"]
    elif name in _SYSTEM_PRIORITIES:
        value = _SYSTEM_PRIORITIES[name]
    elif name:
        raise _refuse(pod, f"no PriorityClass with name {name} was found")
    given = spec.get("priority")
    if given is not None and given != value:
        text = (
            f"the integer value of priority ({given}) must not be provided in pod spec; "
            f"priority admission controller computed {value} from the given PriorityClass name"
        )
        raise _refuse(pod, text)
    spec["priority"] = value
    policy = spec.get("preemptionPolicy")
    if policy is not None and policy != preemption:
        text = (
            f"the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; "
            f"priority admission controller computed {preemption} from the given PriorityClass name"
        )
        raise _refuse(pod, text)
    spec["preemptionPolicy"] = preemption


def keep_priority(new: Object, old: Object) -> None:
    """An update that leaves the computed fields out keeps them."""
    for key in ("priority", "preemptionPolicy"):
        if key in old["spec"]:
            new["spec"].setdefault(key, old["spec"][key])


# --- tolerations and runtime class ------------------------------------------------------------------------------------


def add_default_tolerations(pod: Object, ctx: Context) -> None:
    """Tolerate for a while that the node is not ready or unreachable, unless the pod says itself how long."""
    tolerations = pod["spec"].get("tolerations") or []
    defaults = ((_NOT_READY, ctx.defaults.not_ready_toleration), (_UNREACHABLE, ctx.defaults.unreachable_toleration))
    missing = []
    for key, seconds in defaults:
        if any(t.get("key", "") in (key, "") and t.get("effect", "") in ("NoExecute", "") for t in tolerations):
            continue
        missing.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    if missing:
        pod["spec"]["tolerations"] = [*tolerations, *missing]


def apply_runtime_class(pod: Object, ctx: Context) -> None:
    """Overhead, node selector and tolerations of the runtime class that the pod names."""
    spec = pod["spec"]
    name = spec.get("runtimeClassName")
    if not name:
        if spec.get("overhead"):
            raise _refuse(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        return
    found = ctx.get("node.k8s.io", "runtimeclasses", "", name)
    if found is None:
        raise _refuse(pod, f'pod rejected: RuntimeClass "{name}" not found')
    overhead = (found.get("overhead") or {}).get("podFixed")
    if overhead:
        if spec.get("overhead") and spec["overhead"] != overhead:
            text = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise _refuse(pod, text)
        spec["overhead"] = dict(overhead)
    scheduling = found.get("scheduling") or {}
    if selector := scheduling.get("nodeSelector"):
        own = spec.get("nodeSelector") or {}
        for key, value in selector.items():
            if own.get(key, value) != value:
                text = f"pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                raise _refuse(pod, f"{text}pod.spec.nodeSelector[{key}] = {own[key]}")
        spec["nodeSelector"] = {**own, **selector}
    own_tolerations = spec.get("tolerations") or []
    added = [dict(item) for item in scheduling.get("tolerations") or () if item not in own_tolerations]
    if added:
        spec["tolerations"] = [*own_tolerations, *added]
