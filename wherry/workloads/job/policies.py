"""What a job's policies say about failed pods and succeeded indexes (KEP-3329, KEP-3998). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wherry.kube.objects import ContainerStatus, Pod
from wherry.kube.objects.batch import OnExitCodes, PodFailurePolicy, PodFailurePolicyRule, SuccessPolicy
from wherry.workloads.job.indexes import Indexes


@dataclass(frozen=True, slots=True)
class Verdict:
    """The action of the rule that a failed pod matches (None without one), and what FailJob says."""

    action: str | None = None
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether the failure counts against the job's limit."""
        return self.action != "Ignore"


def judge(policy: PodFailurePolicy | None, pod: Pod) -> Verdict:
    """What a policy says about a failed pod: its first rule that matches decides."""
    for number, rule in enumerate(policy.rules or () if policy is not None else ()):
        what = _what_matches(rule, pod)
        if what is not None:
            return Verdict(rule.action, f"{what} matching {rule.action} rule at index {number}")
    return Verdict()


def _what_matches(rule: PodFailurePolicyRule, pod: Pod) -> str | None:
    if rule.on_exit_codes is not None:
        for statuses in (pod.status.container_statuses, pod.status.init_container_statuses):
            for name, code in _exits(statuses, rule.on_exit_codes):
                return f"Container {name} for pod {pod.namespace}/{pod.name} failed with exit code {code}"
        return None
    patterns = {(each.type, each.status) for each in rule.on_pod_conditions or ()}
    for condition in pod.status.conditions:
        if (condition.type, condition.status) in patterns:
            return f"Pod {pod.namespace}/{pod.name} has condition {condition.type}"
    return None


def _exits(statuses: Iterable[ContainerStatus], wanted: OnExitCodes) -> Iterable[tuple[str, int]]:
    for each in statuses:
        ended = each.state.terminated
        if ended is None or ended.exit_code == 0 or wanted.container_name not in (None, each.name):
            continue
        if (ended.exit_code in wanted.values) == (wanted.operator == "In"):
            yield each.name, ended.exit_code


def rule_met(policy: SuccessPolicy | None, completions: int, succeeded: Indexes) -> int | None:
    """The number of the first rule of a success policy that the succeeded indexes fulfil; None when none is."""
    if not succeeded:
        return None
    for number, rule in enumerate(policy.rules or () if policy is not None else ()):
        if rule.succeeded_indexes is None:
            if rule.succeeded_count is not None and len(succeeded) >= rule.succeeded_count:
                return number
            continue
        wanted = Indexes.parse(rule.succeeded_indexes, completions)
        there = len(wanted & succeeded)
        if wanted and (there == len(wanted) or (rule.succeeded_count is not None and there >= rule.succeeded_count)):
            return number
    return None
