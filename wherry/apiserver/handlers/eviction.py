"""Evictions: pods deleted on request as far as their disruption budget allows.

The rules are those of https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/: a pod that does not run
yet, runs no more or is going anyway needs no budget; one that is not ready needs it only when the budget's policy or
too few healthy pods say so; any other takes one of the disruptions that the budget's status allows and is noted there,
so that the next eviction sees it at once. Between reading the budget and writing it nothing is awaited: no two
evictions take the same disruption.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.apiserver.core import Call
from wherry.apiserver.encode import payload
from wherry.apiserver.handlers.creates import read_part
from wherry.apiserver.handlers.delete import check_preconditions, remove
from wherry.apiserver.handlers.objects import stored_form
from wherry.apiserver.handlers.options import DeleteOptions, Preconditions, read_delete_options
from wherry.apiserver.kinds.common import labels_match
from wherry.apiserver.kinds.model import (
    Object,
    Refusal,
    Subresource,
    refuse_bad_request,
    refuse_forbidden,
    refuse_not_found,
)
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.kinds.refusals import failure
from wherry.apiserver.negotiate import negotiate
from wherry.apiserver.request import Answer, Response
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.status import success
from wherry.apiserver.storage import Entry

_GROUP, _BUDGETS = "policy", "poddisruptionbudgets"
_MOST_DISRUPTED = 2000
"""Evictions that may wait for the disruption controller to notice them; more mean that it does not run."""

_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_RETRY_SECONDS = 10


async def evict(call: Call, sub: Subresource) -> Answer:
    """Delete a pod, unless its disruption budget forbids it now."""
    form = negotiate(call.request.headers.get("accept", ""), shapes=False)
    body = await read_part(call, sub)
    served = call.served
    said = body.get("metadata", {}).get("name") or call.route.name
    if said != call.route.name:
        raise refuse_bad_request("name in URL does not match name in Eviction object")
    options = _options(call, body)
    # From here to the deletion nothing is awaited: budget, condition and deletion are one step.
    head = served.bucket.head(call.key)
    if head is None:
        raise refuse_not_found(served.group, served.plural, call.route.name)
    check_preconditions(call, head, options)
    pod = served.object(head)
    if not ignores_budget(pod):
        _take_disruption(call, pod, dry_run=bool(options.dry_run))
    if not options.dry_run:
        head = _note(call, head, options)
    await remove(call, head, options)
    return Response(201, payload(form, success(code=201)), form.media_type)


def _options(call: Call, body: Object) -> DeleteOptions:
    """How to delete; a dry run may be asked for in the body or in the query."""
    options = read_delete_options(body.get("deleteOptions") or {}, call.request.query)
    asked = call.request.query.all("dryRun")
    if asked and options.dry_run and options.dry_run != asked:
        text = f"Non-matching dry-run options in request and content: {asked} and {options.dry_run}"
        raise refuse_bad_request(text)
    if asked:
        options.dry_run = asked
        options.check()
    return options


def _take_disruption(call: Call, pod: Object, *, dry_run: bool) -> None:
    bucket = call.core.registry.bucket(_GROUP, _BUDGETS)
    found = [
        head
        for entry in bucket.scan(call.route.namespace)
        if (head := bucket.head(entry.key)) is not None and _selects(head.object(), pod)
    ]
    if len(found) > 1:
        raise failure(500, "", _SEVERAL)
    if not found or spares(budget := found[0].object(), pod):
        return
    take(budget, pod["metadata"]["name"], format_time(call.core.clock()))
    if dry_run:
        return
    schema = schema_for(_GROUP, "v1", "PodDisruptionBudget")
    assert schema is not None  # built in
    written = call.core.store.update(bucket, found[0], canonical(budget, schema))
    # It goes to disk with the deletion that follows, which tells the caller when that fails.
    written.add_done_callback(lambda done: done.exception())


def _note(call: Call, head: Entry, options: DeleteOptions) -> Entry:
    """Say in the pod's conditions why it goes; the pod as it is then."""
    bucket = call.served.bucket
    pod = call.served.object(head)
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    if not set_condition(conditions, condition, format_time(call.core.clock())):
        return head
    written = call.core.store.update(bucket, head, stored_form(call, pod))
    written.add_done_callback(lambda done: done.exception())
    there = bucket.head(head.key)
    assert there is not None  # just written
    if options.preconditions is not None and options.preconditions.resource_version is not None:
        options.preconditions = Preconditions(options.preconditions.uid, str(there.revision))
    return there


# --- the rules, on plain data -----------------------------------------------------------------------------------------


def ignores_budget(pod: Mapping[str, Any]) -> bool:
    """Whether the pod may go without a budget's leave: it does not run yet, or any more, or is being deleted."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


def _selects(budget: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    selector = budget["spec"].get("selector")
    return selector is not None and labels_match(selector, pod["metadata"].get("labels") or {})


def spares(budget: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether the budget lets the pod go without counting it: one that is not ready, and its policy allows that."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired: int = status.get("desiredHealthy", 0)
    return desired > 0 and status.get("currentHealthy", 0) >= desired


def take(budget: Object, pod: str, now: str) -> None:
    """Take one disruption and note the pod in the budget's status; raises Refusal where there is none."""
    name, status = budget["metadata"]["name"], budget.setdefault("status", {})
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", _RETRY_SECONDS)
    allowed = status.get("disruptionsAllowed", 0)
    disrupted = status.get("disruptedPods") or {}
    if allowed < 0:
        raise refuse_forbidden(_GROUP, "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    if len(disrupted) > _MOST_DISRUPTED:
        text = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise refuse_forbidden(_GROUP, "poddisruptionbudget", name, text)
    if allowed == 0:
        raise _too_many(_why(name, status))
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**disrupted, pod: now}
    if allowed == 1:
        condition = {
            "type": "DisruptionAllowed",
            "status": "False",
            "observedGeneration": status.get("observedGeneration", 0),
            "reason": "InsufficientPods",
            "message": "",
        }
        conditions = status["conditions"] = list(status.get("conditions") or ())
        set_condition(conditions, condition, now)


def _why(name: str, status: Mapping[str, Any]) -> str:
    lead = f"The disruption budget {name} does not allow evicting pods currently"
    conditions = status.get("conditions") or ()
    refusing = (c for c in conditions if c.get("type") == "DisruptionAllowed" and c.get("status") == "False")
    refused: Mapping[str, Any] = next(refusing, {})
    reason, message = refused.get("reason", ""), refused.get("message", "")
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if message and reason == "SyncFailed":
        return f"{lead} because it failed sync: {message}"
    if healthy <= desired:
        return f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
    return f"{lead} ({reason}): {message}" if message else lead


def _too_many(cause: str, seconds: int = 0) -> Refusal:
    details: Object = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if seconds:
        details["retryAfterSeconds"] = seconds
    return failure(429, "TooManyRequests", _VIOLATES, details)


def set_condition(conditions: list[Any], condition: Object, now: str) -> bool:
    """Put a condition into a list, its time kept unless its status changes; whether anything changed."""
    index = next((i for i, each in enumerate(conditions) if each.get("type") == condition["type"]), None)
    if index is None:
        conditions.append({**condition, "lastTransitionTime": now})
        return True
    before = conditions[index]
    since = before.get("lastTransitionTime") if before.get("status") == condition["status"] else now
    conditions[index] = {**before, **condition, "lastTransitionTime": since}
    return bool(conditions[index] != before)
