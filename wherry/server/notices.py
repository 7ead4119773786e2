"""What the person who creates an object should know at once: that this version stores it and does nothing about it.

An object that is accepted in silence and never acted upon is the hardest failure to find. The text reaches the user as
a warning of the API server, which kubectl prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STORED = "this version of wherry stores it and does nothing about it"

_IDLE = {
    ("storage.k8s.io", "csidrivers"): "CSIDriver",
    ("storage.k8s.io", "volumeattachments"): "VolumeAttachment",
    ("networking.k8s.io", "networkpolicies"): "NetworkPolicy",
    ("networking.k8s.io", "ingresses"): "Ingress",
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): "FlowSchema",
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): "PriorityLevelConfiguration",
}
_ADMISSION = {
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration: its webhooks are not asked",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration: its webhooks are not asked",
    "validatingadmissionpolicies": "ValidatingAdmissionPolicy: it is not enforced",
    "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding: it is not enforced",
}


def notices(group: str, plural: str, obj: Mapping[str, Any]) -> list[str]:
    """The notices for an object that is being created; empty for nearly all."""
    kind = _IDLE.get((group, plural))
    if kind is not None:
        return [f"{kind}: {_STORED}"]
    if group == "admissionregistration.k8s.io" and plural in _ADMISSION:
        return [f"{_ADMISSION[plural]} by this version of wherry, which lets requests through without it"]
    if (group, plural) == ("certificates.k8s.io", "certificatesigningrequests"):
        return ["CertificateSigningRequest: it can be approved, but this version of wherry has no signer of its own"]
    if (group, plural) == ("apiregistration.k8s.io", "apiservices") and obj.get("spec", {}).get("service"):
        return ["APIService: this version of wherry hands no requests on to other API servers"]
    return []
