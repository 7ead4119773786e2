"""How much of each resource a pod asks for.

Amounts are whole numbers: milli-units of ``cpu``, bytes of memory and storage, units of anything else. A pod needs
what its containers and sidecars need together, or what the neediest step of its start needs, whichever is more
(https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers). Requests of
the pod as a whole take the place of that for cpu, memory and huge pages (KEP-2837).
"""

from __future__ import annotations

from collections.abc import Mapping

from wherry.kube import quantity
from wherry.kube.objects import Container, PodSpec, Quantity

CPU = "cpu"
MEMORY = "memory"
PODS = "pods"

_OF_PODS, _HUGE = (CPU, MEMORY), "hugepages-"
"""What a pod as a whole can ask for."""

DEFAULT_MILLI_CPU = 100
"""What scoring assumes of a container that asks for no cpu, so that such pods spread too."""

DEFAULT_MEMORY = 200 * 1024 * 1024
"""What scoring assumes of a container that asks for no memory, in bytes."""

Amounts = dict[str, int]


def amount(resource: str, value: Quantity) -> int:
    """A quantity as a whole number of the resource's unit, rounded up."""
    return quantity.milli(value) if resource == CPU else quantity.whole(value)


def amounts(quantities: Mapping[str, Quantity]) -> Amounts:
    """A map of quantities as whole numbers."""
    return {resource: amount(resource, value) for resource, value in quantities.items()}


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for resource, value in more.items():
        total[resource] = total.get(resource, 0) + value


def _raise_to(total: Amounts, floor: Mapping[str, int]) -> None:
    for resource, value in floor.items():
        if value > total.get(resource, 0):
            total[resource] = value


def _asked(container: Container, assumed: Mapping[str, int]) -> Amounts:
    return {**assumed, **amounts(container.resources.requests)}


def pod_requests(spec: PodSpec, *, assumed: Mapping[str, int] | None = None) -> Amounts:
    """What a pod asks for in all; ``assumed`` stands in for a container's missing requests.

    Raises ``ValueError`` for a quantity that cannot be read (an API server lets none through).
    """
    assumed = assumed or {}
    total: Amounts = {}
    for container in spec.containers or ():
        _add(total, _asked(container, assumed))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers:
        asked = _asked(container, assumed)
        if container.restart_policy == "Always":
            _add(total, asked)
            _add(sidecars, asked)
            _raise_to(peak, sidecars)
        else:
            _add(asked, sidecars)
            _raise_to(peak, asked)
    _raise_to(total, peak)
    if spec.resources is not None:
        whole = amounts(spec.resources.requests)
        total.update({name: value for name, value in whole.items() if name in _OF_PODS or name.startswith(_HUGE)})
    if spec.overhead:
        _add(total, amounts(spec.overhead))
    return total


ASSUMED: Mapping[str, int] = {CPU: DEFAULT_MILLI_CPU, MEMORY: DEFAULT_MEMORY}
"""The ``assumed`` argument that scoring uses."""
