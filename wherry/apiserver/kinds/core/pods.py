"""The row of pods, with the subresources through which scheduler, kubelet and users act on them."""

from __future__ import annotations

from collections.abc import Callable

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.admission import pods as admission
from wherry.apiserver.kinds.admission import podsecurity
from wherry.apiserver.kinds.admission.limits import apply_limit_ranges, check_limits
from wherry.apiserver.kinds.common import keep_status, spec_changed, status
from wherry.apiserver.kinds.core.pod_cells import COLUMNS, pod_cells, pod_row_conditions
from wherry.apiserver.kinds.model import (
    STATUS_VERBS,
    Context,
    FieldError,
    Object,
    Refusal,
    Resource,
    Subresource,
    forbidden,
    invalid,
    refuse_conflict,
    unsupported,
)
from wherry.apiserver.kinds.podspec.defaults import default_pod_only, default_pod_spec
from wherry.apiserver.kinds.podspec.labelkeys import merge_label_keys
from wherry.apiserver.kinds.podspec.qos import qos_class
from wherry.apiserver.kinds.podspec.update import check_ephemeral_update, check_pod_update
from wherry.apiserver.kinds.podspec.validate import check_pod_addresses, check_pod_spec
from wherry.apiserver.kinds.podspec.warnings import pod_warnings
from wherry.apiserver.kinds.printing import format_time

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_APPARMOR_PROFILES = {"runtime/default": {"type": "RuntimeDefault"}, "unconfined": {"type": "Unconfined"}}
_GATED_MESSAGE = "Scheduling is blocked due to non-empty scheduling gates"


def _default_addresses(current: Object) -> None:
    """podIP is always the first of podIPs."""
    address, addresses = current.get("podIP"), current.get("podIPs")
    if address and (not addresses or addresses[0].get("ip") != address):
        current["podIPs"] = [{"ip": address}]
    elif addresses and not address:
        current["podIP"] = addresses[0].get("ip", "")


def default_pod(obj: Object) -> None:
    """Defaults of a pod."""
    spec = obj.setdefault("spec", {})
    default_pod_spec(spec)
    default_pod_only(spec)
    _default_addresses(obj.setdefault("status", {}))


def _fix_grace(spec: Object) -> None:
    """A negative grace period means: as short as can be."""
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1


def _apply_apparmor_annotations(obj: Object) -> None:
    """Take the profile of a container from its deprecated annotation where the field says nothing."""
    for key, value in (obj["metadata"].get("annotations") or {}).items():
        if not key.startswith(_APPARMOR):
            continue
        name, profile = key.removeprefix(_APPARMOR), _APPARMOR_PROFILES.get(value)
        if value.startswith("localhost/"):
            profile = {"type": "Localhost", "localhostProfile": value.removeprefix("localhost/")}
        for container in (*obj["spec"].get("containers", ()), *obj["spec"].get("initContainers", ())):
            if container.get("name") == name and profile is not None:
                container.setdefault("securityContext", {}).setdefault("appArmorProfile", dict(profile))


def _prepare_create(obj: Object, ctx: Context) -> None:
    spec = obj["spec"]
    _fix_grace(spec)
    merge_label_keys(obj)
    _apply_apparmor_annotations(obj)
    current: Object = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        current["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastTransitionTime": format_time(ctx.now()),
                "reason": "SchedulingGated",
                "message": _GATED_MESSAGE,
            }
        ]
    obj["status"] = current


def _prepare_update(new: Object, old: Object, ctx: Context) -> None:
    _fix_grace(new["spec"])
    keep_status(new, old, ctx)


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_pod_spec(errors, obj["spec"])
    if obj["spec"].get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_pod_spec(errors, new["spec"])
    check_pod_update(errors, new["spec"], old["spec"])
    return errors


# --- status -----------------------------------------------------------------------------------------------------------


def _prepare_status(new: Object, old: Object, ctx: Context) -> None:
    new["spec"] = old["spec"]
    if "ownerReferences" in old["metadata"]:
        new["metadata"]["ownerReferences"] = old["metadata"]["ownerReferences"]
    else:
        new["metadata"].pop("ownerReferences", None)
    if not new["status"].get("qosClass"):
        new["status"]["qosClass"] = (old.get("status") or {}).get("qosClass") or qos_class(old["spec"])


def _may_restart(spec: Object, container: Object, exit_code: int) -> bool:
    """Whether a container may leave the state terminated: its rules and its own policy come before the pod's."""
    policy = container.get("restartPolicy")
    if policy is None:
        return spec.get("restartPolicy") == "OnFailure" and exit_code != 0
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        listed = exit_code in (codes.get("values") or ())
        if codes.get("operator") == ("In" if listed else "NotIn"):
            return True
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _check_states(errors: list[FieldError], new: Object, old: Object, key: str) -> None:
    """Containers of pods that do not restart them stay terminated."""
    spec = old["spec"]
    containers = {item.get("name"): item for item in spec.get("containers") or ()}
    everyone = (*containers.values(), *(spec.get("initContainers") or ()))
    rules = [rule for item in everyone for rule in item.get("restartPolicyRules") or ()]
    if any(rule.get("action") == "RestartAllContainers" for rule in rules):
        return
    after = {item.get("name"): item for item in new["status"].get(key) or ()}
    for index, before in enumerate((old.get("status") or {}).get(key) or ()):
        was = (before.get("state") or {}).get("terminated")
        now = after.get(before.get("name"))
        if was is None or now is None or "terminated" in (now.get("state") or {}):
            continue
        if _may_restart(spec, containers.get(before.get("name")) or {}, was.get("exitCode", 0)):
            continue
        path = f"status.{key}[{index}].state"
        errors.append(forbidden(path, "may not be transitioned to non-terminated state"))


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    current = new["status"]
    if nominated := current.get("nominatedNodeName"):
        where = "status.nominatedNodeName"
        errors.extend(invalid(where, nominated, text) for text in names.dns_subdomain(nominated))
    for index, condition in enumerate(current.get("conditions") or ()):
        value = condition.get("type", "")
        where = f"status.conditions[{index}].type"
        errors.extend(invalid(where, value, text) for text in names.qualified_name(value))
    if old["spec"].get("restartPolicy") != "Always":
        _check_states(errors, new, old, "containerStatuses")
    check_pod_addresses(errors, current)
    return errors


# --- ephemeral containers and resize ----------------------------------------------------------------------------------


def _prepare_ephemeral(new: Object, old: Object, ctx: Context) -> None:
    added = new["spec"].get("ephemeralContainers")
    new["spec"] = dict(old["spec"])
    if added:
        new["spec"]["ephemeralContainers"] = added
    else:
        new["spec"].pop("ephemeralContainers", None)
    keep_status(new, old, ctx)


def _validate_ephemeral(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_pod_spec(errors, new["spec"])
    check_ephemeral_update(errors, new["spec"], old["spec"])
    return errors


def _prepare_resize(new: Object, old: Object, ctx: Context) -> None:
    """Only the resources of containers, which are matched by name, are taken."""
    wanted = {c.get("name"): c.get("resources") for c in new["spec"].get("containers") or ()}
    containers = [
        {**container, "resources": wanted.get(container["name"]) or container.get("resources") or {}}
        for container in old["spec"]["containers"]
    ]
    new["spec"] = {**old["spec"], "containers": containers}
    keep_status(new, old, ctx)


def _validate_resize(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    check_pod_spec(errors, new["spec"])
    before = (old.get("status") or {}).get("qosClass") or qos_class(old["spec"])
    after = qos_class(new["spec"])
    if after != before:
        errors.append(invalid("spec", after, "Pod QOS Class may not change as a result of resizing"))
    return errors


# --- binding ----------------------------------------------------------------------------------------------------------


def _plain_refusal(code: int, message: str) -> Refusal:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code}
    return Refusal(body)


def bind(pod: Object, binding: Object, ctx: Context) -> None:
    """Assign a pod to the node of a Binding; raises Refusal where it has one, is gated or is being deleted."""
    metadata, spec = pod["metadata"], pod["spec"]
    target = binding.get("target") or {}
    name, node = metadata["name"], target.get("name", "")
    problems: list[FieldError] = []
    if target.get("kind", "") not in ("", "Node"):
        problems.append(unsupported("target.kind", target["kind"], ("Node", "<empty>")))
    if not node:
        problems.append(FieldError("FieldValueRequired", "target.name"))
    if problems:
        text = problems[0].message if len(problems) == 1 else f"[{', '.join(p.message for p in problems)}]"
        raise _plain_refusal(500, text)
    uid = (binding.get("metadata") or {}).get("uid")
    reason = ""
    if uid and uid != metadata.get("uid"):
        reason = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata.get('uid')}"
    elif "deletionTimestamp" in metadata:
        reason = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        reason = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        reason = f"pod {name} has non-empty .spec.schedulingGates"
    if reason:
        raise refuse_conflict("", "pods/binding", name, reason)
    spec["nodeName"] = node
    for key in ("annotations", "labels"):
        if added := (binding.get("metadata") or {}).get(key):
            metadata[key] = {**(metadata.get(key) or {}), **added}
    current = pod.setdefault("status", {})
    current.pop("nominatedNodeName", None)
    conditions = current.setdefault("conditions", [])
    conditions[:] = [item for item in conditions if item.get("type") != "PodScheduled"]
    conditions.append(
        {
            "type": "PodScheduled",
            "status": "True",
            "lastTransitionTime": format_time(ctx.now()),
        }
    )


# --- the row ----------------------------------------------------------------------------------------------------------


def _admit_create(obj: Object, ctx: Context) -> None:
    apply_limit_ranges(obj, ctx)
    admission.use_service_account(obj, ctx)
    admission.set_priority(obj, ctx)
    admission.add_default_tolerations(obj, ctx)
    admission.apply_runtime_class(obj, ctx)


def _check_create(obj: Object, ctx: Context) -> None:
    check_limits(obj, ctx)
    podsecurity.enforce(obj, ctx)


def _admit_update(new: Object, old: Object, ctx: Context) -> None:
    admission.keep_priority(new, old)
    admission.add_default_tolerations(new, ctx)


def _graceful_seconds(obj: Object, asked: int | None) -> int | None:
    """The grace that a deletion gives: none for pods without a node and for finished ones."""
    spec = obj.get("spec") or {}
    seconds: int = asked if asked is not None else (spec.get("terminationGracePeriodSeconds") or 0)
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    return 1 if seconds < 0 else seconds


def pod_fields(obj: Object) -> dict[str, str]:
    """The values that field selectors of pods look at."""
    metadata, spec, current = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    return {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.restartPolicy": spec.get("restartPolicy", ""),
        "spec.schedulerName": spec.get("schedulerName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": current.get("phase", ""),
        "status.podIP": current.get("podIP", ""),
        "status.nominatedNodeName": current.get("nominatedNodeName", ""),
    }


def _connect(name: str, kind: str, verbs: tuple[str, ...] = ("create", "get")) -> Subresource:
    return Subresource(name=name, verbs=verbs, kind=kind, style="connect")


def _object(
    name: str,
    prepare: Callable[[Object, Object, Context], None],
    validate: Callable[[Object, Object], list[FieldError]],
) -> Subresource:
    return Subresource(
        name=name,
        verbs=STATUS_VERBS,
        kind="Pod",
        style="object",
        prepare_update=prepare,
        validate_update=validate,
        bumps_generation=True,
    )


PROXY_VERBS = ("create", "delete", "get", "patch", "update")

PODS = Resource(
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    singular="pod",
    namespaced=True,
    short_names=("po",),
    categories=("all",),
    default=default_pod,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    revalidates_metadata=True,
    generation=spec_changed,
    awaits=admission.await_service_account,
    admit_create=_admit_create,
    check_create=_check_create,
    admit_update=_admit_update,
    graceful_seconds=_graceful_seconds,
    returns_deleted=True,
    selectable_fields=pod_fields,
    field_labels=(
        "metadata.name",
        "metadata.namespace",
        "spec.hostNetwork",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.nominatedNodeName",
        "status.phase",
        "status.podIP",
        "status.podIPs",
    ),
    field_label_error="field label not supported: {label}",
    columns=COLUMNS,
    cells=pod_cells,
    row_conditions=pod_row_conditions,
    warnings=pod_warnings,
    subresources=(
        _connect("attach", "PodAttachOptions"),
        Subresource(name="binding", verbs=("create",), kind="Binding", style="create", create=bind),
        _object("ephemeralcontainers", _prepare_ephemeral, _validate_ephemeral),
        Subresource(
            name="eviction",
            verbs=("create",),
            kind="Eviction",
            style="create",
            group="policy",
            version="v1",
        ),
        _connect("exec", "PodExecOptions"),
        _connect("log", "Pod", ("get",)),
        _connect("portforward", "PodPortForwardOptions"),
        _connect("proxy", "PodProxyOptions", PROXY_VERBS),
        _object("resize", _prepare_resize, _validate_resize),
        status("Pod", prepare=_prepare_status, validate=_validate_status),
    ),
)

BINDINGS = Resource(
    group="",
    version="v1",
    kind="Binding",
    plural="bindings",
    singular="binding",
    namespaced=True,
    verbs=("create",),
)
"""The older way to bind: the pod is the one of the same name, see `bind`."""
