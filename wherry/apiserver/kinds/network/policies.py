"""The row of network policies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.addresses import check_cidr
from wherry.apiserver.kinds.common import spec_changed
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    forbidden,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.scheduling import check_label_selector

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("Ingress", "Egress")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    for key in ("ingress", "egress"):
        for rule in spec.get(key) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _check_ports(errors: list[FieldError], ports: Sequence[Object], path: str) -> None:
    for index, item in enumerate(ports):
        where = f"{path}[{index}]"
        protocol, port, end = item.get("protocol"), item.get("port"), item.get("endPort")
        if protocol is not None and protocol not in _PROTOCOLS:
            errors.append(unsupported(f"{where}.protocol", protocol, _PROTOCOLS))
        if isinstance(port, str):
            errors.extend(invalid(f"{where}.port", port, text) for text in names.port_name(port))
            if end is not None:
                errors.append(invalid(f"{where}.endPort", end, "may not be specified when `port` is non-numeric"))
        elif port is not None:
            errors.extend(invalid(f"{where}.port", port, text) for text in names.port_number(port))
            if end is not None:
                if end < port:
                    errors.append(invalid(f"{where}.endPort", port, "must be greater than or equal to `port`"))
                errors.extend(invalid(f"{where}.endPort", end, text) for text in names.port_number(end))
        elif end is not None:
            errors.append(invalid(f"{where}.endPort", end, "may not be specified when `port` is not specified"))


def _inside(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    """Whether a prefix is a part, and not the whole, of another."""
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer) and inner != outer
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer) and inner != outer
    return False


def _check_block(errors: list[FieldError], block: Object, path: str) -> None:
    value = block.get("cidr", "")
    if not value:
        errors.append(required(f"{path}.cidr"))
        return
    outer = check_cidr(errors, value, f"{path}.cidr")
    if outer is None:
        return
    for index, exception in enumerate(block.get("except") or ()):
        where = f"{path}.except[{index}]"
        inner = check_cidr(errors, exception, where)
        if inner is not None and not _inside(inner, outer):
            errors.append(invalid(where, exception, "must be a strict subset of `cidr`"))


def _check_peers(errors: list[FieldError], peers: Sequence[Object], path: str) -> None:
    for index, peer in enumerate(peers):
        where = f"{path}[{index}]"
        selectors = [key for key in ("podSelector", "namespaceSelector") if peer.get(key) is not None]
        for key in selectors:
            check_label_selector(errors, peer[key], f"{where}.{key}")
        block = peer.get("ipBlock")
        if block is not None:
            _check_block(errors, block, f"{where}.ipBlock")
            if selectors:
                errors.append(forbidden(where, "may not specify both ipBlock and another peer"))
        elif not selectors:
            errors.append(required(where, "must specify a peer"))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    check_label_selector(errors, spec.get("podSelector"), "spec.podSelector")
    for key, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(key) or ()):
            path = f"spec.{key}[{index}]"
            _check_ports(errors, rule.get("ports") or (), f"{path}.ports")
            _check_peers(errors, rule.get(peers) or (), f"{path}.{peers}")
    types = spec.get("policyTypes") or ()
    if len(types) > len(_TYPES):
        text = "may not specify more than two policyTypes"
        errors.append(invalid("spec.policyTypes", list(types), text))
        return errors
    for index, value in enumerate(types):
        if value not in _TYPES:
            errors.append(unsupported(f"spec.policyTypes[{index}]", value, _TYPES))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), printing.label_selector(obj["spec"].get("podSelector")), printing.age(obj, now)]


NETWORK_POLICIES = Resource(
    group="networking.k8s.io",
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    singular="networkpolicy",
    namespaced=True,
    short_names=("netpol",),
    default=_default,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    columns=(NAME_COLUMN, Column("Pod-Selector", description=".spec.podSelector"), AGE_COLUMN),
    cells=_cells,
)
