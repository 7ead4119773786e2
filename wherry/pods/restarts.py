"""Which containers are started again after they ended. Pure.

Sources: Kubernetes documentation "Pod Lifecycle" (restart policies of pods and containers), KEP-753 (sidecars),
KEP-5307 (restart rules of single containers), KEP-5532 (restarting all containers).
"""

from __future__ import annotations

from wherry.kube.objects import Container, ContainerRestartRule, Pod

RESTART = "Restart"
RESTART_ALL = "RestartAllContainers"


def is_sidecar(container: Container) -> bool:
    """Tell whether an init container keeps running beside the others (KEP-753)."""
    return container.restart_policy == "Always"


def restarts(pod: Pod, container: Container, exit_code: int) -> bool:
    """Tell whether a container that ended with this code is to be started again.

    The first rule of the container that matches decides; then its own restart policy; then the pod's.
    """
    policy = pod.spec.restart_policy
    if container.restart_policy is not None:
        rule = matching_rule(container, exit_code)
        if rule is not None and rule.action in (RESTART, RESTART_ALL):
            return True
        policy = container.restart_policy
    if policy == "OnFailure":
        return exit_code != 0
    return policy != "Never"


def restartable(pod: Pod, container: Container) -> bool:
    """Tell whether a container may be started again at all, whatever it ends with."""
    if container.restart_policy is None:
        return pod.spec.restart_policy != "Never"
    ruled = any(rule.action in (RESTART, RESTART_ALL) for rule in container.restart_policy_rules)
    return ruled or container.restart_policy != "Never"


def restarts_all(container: Container, exit_code: int) -> bool:
    """Tell whether this end of a container makes every container of its pod begin anew."""
    rule = matching_rule(container, exit_code)
    return rule is not None and rule.action == RESTART_ALL


def may_restart_all(pod: Pod) -> bool:
    """Tell whether some end of some container would make every container begin anew."""
    containers = (*pod.spec.init_containers, *(pod.spec.containers or ()))
    return any(rule.action == RESTART_ALL for container in containers for rule in container.restart_policy_rules)


def matching_rule(container: Container, exit_code: int) -> ContainerRestartRule | None:
    """Return the first restart rule that is about this exit code."""
    for rule in container.restart_policy_rules:
        codes = rule.exit_codes
        if codes is None:
            continue
        within = exit_code in codes.values
        if (codes.operator == "In" and within) or (codes.operator == "NotIn" and not within):
            return rule
    return None
