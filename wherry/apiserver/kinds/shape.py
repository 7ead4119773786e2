"""Bring an object into the form in which Kubernetes stores it: what says nothing is left out.

A built-in kind is stored without nulls, without empty lists and maps, and without the zero values of fields that cannot
tell "zero" from "not given" (`hostNetwork: false`, `value: ""`).  Fields that can (pointers in Kubernetes' own types:
`replicas: 0`, `optional: false`, `emptyDir: {}`) stay as they are.  Rows put back the few zero values that are always
shown.
"""

from __future__ import annotations

from typing import Any

from wherry.apiserver.kinds.model import Object


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Maps whose keys belong to the user: empty ones go, values stay untouched.
_MAPS = _words(
    "labels annotations data binaryData stringData matchLabels nodeSelector limits requests capacity allocatable hard "
    "used overhead parameters default defaultRequest max min maxLimitRequestRatio volumeAttributes allocatedResources "
    "options extendedResources"
)

# Free-form or separately handled content.
_OPAQUE = frozenset({"managedFields", "fieldsV1", "openAPIV3Schema", "openAPIV3schema"})

# Booleans of which false is the same as absent.
_PLAIN_BOOLEANS = _words(
    "hostNetwork hostPID hostIPC readOnly tty stdin stdinOnce paused publishNotReadyAddresses unschedulable "
    "globalDefault"
)

# Numbers of which zero is the same as absent.
_PLAIN_NUMBERS = _words(
    "hostPort nodePort minReadySeconds initialDelaySeconds timeoutSeconds periodSeconds successThreshold "
    "failureThreshold healthCheckNodePort observedGeneration updatedReplicas readyReplicas availableReplicas "
    "unavailableReplicas fullyLabeledReplicas updatedNumberScheduled numberAvailable numberUnavailable "
    "currentReplicas active succeeded failed count"
)

# Strings of which the empty one means something (or is always shown).
_MEANINGFUL_STRINGS = _words(
    "storageClassName volumeAttributesClassName ingressClassName loadBalancerClass appProtocol image imageID service "
    "type holderIdentity message reportingComponent reportingInstance runtimeClassName preemptionPolicy"
)


def _meaningless(key: str, value: Any) -> bool:
    """Whether a scalar under this key says the same as its absence."""
    if value is None:
        return True
    if value == "":
        return key not in _MEANINGFUL_STRINGS
    if value is False:
        return key in _PLAIN_BOOLEANS
    return value == 0 and key in _PLAIN_NUMBERS


def tidy(obj: Object, maps: frozenset[str] = frozenset()) -> None:
    """Leave out what says nothing, in place; `maps` names further fields that are maps of the user's."""
    gone: list[str] = []
    for key, value in obj.items():
        if isinstance(value, dict):
            if key in _MAPS or key in maps:
                if not value:
                    gone.append(key)
            elif key not in _OPAQUE:
                tidy(value, maps)
        elif isinstance(value, list):
            if not value:
                gone.append(key)
            elif key not in _OPAQUE:
                for item in value:
                    if isinstance(item, dict):
                        tidy(item, maps)
        elif not value and _meaningless(key, value):
            gone.append(key)
    for key in gone:
        del obj[key]
