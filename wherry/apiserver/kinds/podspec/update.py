"""What an update may change in the spec of a pod."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from wherry.apiserver.kinds.golang import difference
from wherry.apiserver.kinds.model import FieldError, Object, forbidden, invalid
from wherry.apiserver.kinds.names import in_range

_MAX_INT32 = (1 << 31) - 1
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _check_counts(errors: list[FieldError], new: Object, old: Object, key: str) -> bool:
    if len(new.get(key) or ()) != len(old.get(key) or ()):
        errors.append(forbidden(f"spec.{key}", "pod updates may not add or remove containers"))
        return False
    return True


def _check_deadline(errors: list[FieldError], new: Object, old: Object) -> None:
    path = "spec.activeDeadlineSeconds"
    after, before = new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if after is not None:
        if not 0 <= after <= _MAX_INT32:
            errors.append(invalid(path, after, in_range(0, _MAX_INT32)))
        elif before is not None and before < after:
            errors.append(invalid(path, after, "must be less than or equal to previous value"))
    elif before is not None:
        errors.append(invalid(path, None, "must not update from a positive integer to nil value"))


def _same_but_seconds(one: Object, other: Object) -> bool:
    return {**one, "tolerationSeconds": 0} == {**other, "tolerationSeconds": 0}


def _check_tolerations(errors: list[FieldError], new: Sequence[Object], old: Sequence[Object]) -> None:
    for before in old:
        if not any(_same_but_seconds(before, after) for after in new):
            text = "existing toleration can not be modified except its tolerationSeconds"
            errors.append(forbidden("spec.tolerations", text))
            return


def _check_gates(errors: list[FieldError], new: Sequence[Object], old: Sequence[Object]) -> None:
    known = {gate.get("name") for gate in old}
    for index, gate in enumerate(new):
        name = gate.get("name")
        if name not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{name}'"
            errors.append(forbidden(f"spec.schedulingGates[{index}].name", text))


def _munge_gated(munged: Object, new: Object, old: Object) -> None:
    """A gated pod may be narrowed down: more node labels asked for, an affinity where there was none (KEP-3838)."""
    before, after = old.get("nodeSelector") or {}, new.get("nodeSelector") or {}
    if all(after.get(key) == value for key, value in before.items()) and before:
        munged["nodeSelector"] = before
    elif not before:
        munged.pop("nodeSelector", None)
    had = (old.get("affinity") or {}).get("nodeAffinity")
    affinity = munged.get("affinity")
    if had is None and affinity is not None and "nodeAffinity" in affinity:
        affinity = dict(affinity)
        del affinity["nodeAffinity"]
        munged.pop("affinity")
        if affinity or "affinity" in old:
            munged["affinity"] = affinity


def check_pod_update(errors: list[FieldError], new: Object, old: Object) -> None:
    """Findings about a change of a pod's spec: images, deadline, added tolerations and removed gates may change."""
    if not _check_counts(errors, new, old, "containers") or not _check_counts(errors, new, old, "initContainers"):
        return
    _check_deadline(errors, new, old)
    munged = copy.copy(new)
    for key in ("containers", "initContainers"):
        if key in munged:
            pairs = zip(new[key], old[key], strict=True)
            munged[key] = [{**after, "image": before.get("image", "")} for after, before in pairs]
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        munged.pop(key, None)
        if key in old:
            munged[key] = old[key]
    if gates := new.get("schedulingGates"):
        _check_gates(errors, gates, old.get("schedulingGates") or ())
    if old.get("schedulingGates"):
        _munge_gated(munged, new, old)
    _check_tolerations(errors, new.get("tolerations") or (), old.get("tolerations") or ())
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and munged.get("terminationGracePeriodSeconds") == 1:
        munged["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    if munged != old:
        text = f"pod updates may not change fields other than {_UPDATABLE}\n{difference('PodSpec', old, munged)}"
        errors.append(forbidden("spec", text))


def check_ephemeral_update(errors: list[FieldError], new: Object, old: Object) -> None:
    """Ephemeral containers may be added, not changed and not removed."""
    after = {item.get("name"): item for item in new.get("ephemeralContainers") or ()}
    for before in old.get("ephemeralContainers") or ():
        name = before.get("name")
        if name not in after:
            errors.append(
                forbidden("spec.ephemeralContainers", f'existing ephemeral containers "{name}" may not be removed\n')
            )
        elif after[name] != before:
            errors.append(
                forbidden("spec.ephemeralContainers", f'existing ephemeral containers "{name}" may not be changed\n')
            )
