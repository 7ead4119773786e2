"""The row of certificate signing requests: who asks is written down, approval and certificate are subresources.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import keep_spec, keep_status
from wherry.apiserver.kinds.model import (
    NAME_COLUMN,
    STATUS_VERBS,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    Subresource,
    duplicate,
    invalid,
    required,
    unsupported,
)

_DECISIONS = ("Approved", "Denied")
_USAGES = frozenset(
    {"signing", "digital signature", "content commitment", "key encipherment", "key agreement", "data encipherment",
     "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth", "client auth", "code signing",
     "email protection", "s/mime", "ipsec end system", "ipsec tunnel", "ipsec user", "timestamping", "ocsp signing",
     "microsoft sgc", "netscape sgc"}
)  # fmt: skip
_REQUEST = re.compile(rb"-----BEGIN CERTIFICATE REQUEST-----.+-----END CERTIFICATE REQUEST-----", re.DOTALL)
_SHORTEST = 600


def _new(obj: Object, ctx: Context) -> None:
    """Who asks is not up to the request's author; it begins undecided."""
    spec = obj.setdefault("spec", {})
    for key in ("username", "uid", "groups", "extra"):
        spec.pop(key, None)
    info = getattr(ctx.user, "info", None)
    asked = info() if info is not None else {"username": ctx.user.name}
    spec.update(asked)
    obj["status"] = {}


def _prepare_update(new: Object, old: Object, ctx: Context) -> None:
    keep_spec(new, old, ctx)
    keep_status(new, old, ctx)


def _conditions(obj: Object) -> list[Object]:
    return list((obj.get("status") or {}).get("conditions") or ())


def _stamp(new: Object, old: Object, ctx: Context) -> None:
    """Give conditions the times that they lack."""
    now, before = printing.format_time(ctx.now()), {one.get("type"): one for one in _conditions(old)}
    for condition in (new.get("status") or {}).get("conditions") or ():
        known = before.get(condition.get("type")) or {}
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = now
        if not condition.get("lastTransitionTime"):
            same = known.get("status") == condition.get("status")
            condition["lastTransitionTime"] = (known.get("lastTransitionTime") if same else None) or now


def _prepare_status(new: Object, old: Object, ctx: Context) -> None:
    """The status has everything but the decision."""
    keep_spec(new, old, ctx)
    kept = [one for one in _conditions(old) if one.get("type") in _DECISIONS]
    rest = [one for one in _conditions(new) if one.get("type") not in _DECISIONS]
    current = new.setdefault("status", {})
    current.pop("conditions", None)
    if kept or rest:
        current["conditions"] = kept + rest
    _stamp(new, old, ctx)


def _prepare_approval(new: Object, old: Object, ctx: Context) -> None:
    """The approval has nothing but conditions."""
    keep_spec(new, old, ctx)
    conditions = (new.get("status") or {}).get("conditions")
    new["status"] = dict(old.get("status") or {})
    if conditions:
        new["status"]["conditions"] = conditions
    else:
        new["status"].pop("conditions", None)
    _stamp(new, old, ctx)


def _check_signer(errors: list[FieldError], name: str, path: str) -> None:
    if not name:
        errors.append(required(path))
        return
    domain, slash, rest = name.partition("/")
    if not slash:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        errors.append(invalid(path, name, text))
        return
    errors.extend(invalid(path, domain, f"validating label {part!r}: {text}")
                  for part in domain.split(".") for text in names.dns_label(part))  # fmt: skip
    if "." not in domain:
        errors.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    errors.extend(invalid(path, rest, text) for part in rest.split(".") for text in names.dns_label(part))


def _check_conditions(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, condition in enumerate(_conditions(obj)):
        path, kind = f"status.conditions[{index}]", condition.get("type", "")
        state = condition.get("status", "")
        if not kind:
            errors.append(required(f"{path}.type"))
        if not state:
            errors.append(required(f"{path}.status"))
        elif kind in (*_DECISIONS, "Failed") and state != "True":
            errors.append(unsupported(f"{path}.status", state, ("True",)))
        elif state not in ("True", "False", "Unknown"):
            errors.append(unsupported(f"{path}.status", state, ("False", "True", "Unknown")))
        if kind in _DECISIONS and seen & (set(_DECISIONS) - {kind}):
            text = "Approved and Denied conditions are mutually exclusive"
            errors.append(invalid(f"{path}.type", kind, text))
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
    return errors


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    try:
        text = base64.b64decode(spec.get("request") or "", validate=True)
    except (ValueError, binascii.Error):
        text = b""
    if not _REQUEST.search(text):
        errors.append(invalid("spec.request", spec.get("request") or "", "PEM block type must be CERTIFICATE REQUEST"))
    usages = spec.get("usages") or []
    if not usages:
        errors.append(required("spec.usages"))
    for index, usage in enumerate(usages):
        if usage not in _USAGES:
            errors.append(unsupported(f"spec.usages[{index}]", usage, sorted(_USAGES)))
        if usage in usages[:index]:
            errors.append(duplicate(f"spec.usages[{index}]", usage))
    _check_signer(errors, spec.get("signerName", ""), "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST:
        errors.append(invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 "
                              "minutes)"))  # fmt: skip
    return errors + _check_conditions(obj)


def _unchecked(new: Object, old: Object) -> list[FieldError]:
    return []


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors = _check_conditions(new)
    before = (old.get("status") or {}).get("certificate")
    after = (new.get("status") or {}).get("certificate")
    if before and after != before:
        errors.append(invalid("status.certificate", after or "", "field is immutable"))
    return errors


def _validate_approval(new: Object, old: Object) -> list[FieldError]:
    errors = _check_conditions(new)
    after = {one.get("type") for one in _conditions(new)}
    for kind in _DECISIONS:
        if kind not in after and any(one.get("type") == kind for one in _conditions(old)):
            errors.append(FieldError("FieldValueForbidden", "status.conditions", None, "updates may not remove a "
                          f'condition of type "{kind}"'))  # fmt: skip
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    decided = {one.get("type") for one in _conditions(obj)}
    state = "Denied" if "Denied" in decided else "Approved" if "Approved" in decided else "Pending"
    if "Failed" in decided:
        state += ",Failed"
    if (obj.get("status") or {}).get("certificate"):
        state += ",Issued"
    return [
        printing.name_of(obj),
        printing.age(obj, now),
        spec.get("signerName") or printing.NONE,
        spec.get("username", ""),
        printing.NONE if seconds is None else printing.human_duration(seconds),
        state,
    ]


def _fields(obj: Object) -> dict[str, str]:
    metadata = obj.get("metadata") or {}
    return {"metadata.name": metadata.get("name", ""), "spec.signerName": (obj.get("spec") or {}).get("signerName", "")}


_KIND = "CertificateSigningRequest"

SIGNING_REQUESTS = Resource(
    group="certificates.k8s.io",
    version="v1",
    kind=_KIND,
    plural="certificatesigningrequests",
    singular="certificatesigningrequest",
    namespaced=False,
    short_names=("csr",),
    prepare_create=_new,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_unchecked,
    selectable_fields=_fields,
    field_labels=("metadata.name", "metadata.namespace", "spec.signerName"),
    columns=(
        NAME_COLUMN,
        Column("Age", description=".metadata.creationTimestamp"),
        Column("SignerName", description=".spec.signerName"),
        Column("Requestor", description=".spec.username"),
        Column("RequestedDuration", description=".spec.expirationSeconds"),
        Column("Condition", description=".status.conditions"),
    ),
    cells=_cells,
    subresources=(
        Subresource(name="approval", verbs=STATUS_VERBS, kind=_KIND, style="object",
                    prepare_update=_prepare_approval, validate_update=_validate_approval),
        Subresource(name="status", verbs=STATUS_VERBS, kind=_KIND, style="object",
                    prepare_update=_prepare_status, validate_update=_validate_status),
    ),
)  # fmt: skip
