"""The rows of endpoints and endpoint slices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.addresses import check_ip, check_special_ranges, parse_ip
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    duplicate,
    invalid,
    required,
    too_many,
    unsupported,
)

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MAX_ENDPOINTS = 1000
_MAX_ADDRESSES = 100
_MAX_PORTS = 20000
_MAX_ZONE_HINTS = 8


# --- endpoints --------------------------------------------------------------------------------------------------------


def _default_endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _check_address(errors: list[FieldError], address: Object, path: str) -> None:
    value = address.get("ip", "")
    parsed = check_ip(errors, value, f"{path}.ip")
    if host := address.get("hostname"):
        errors.extend(invalid(f"{path}.hostname", host, text) for text in names.dns_label(host))
    if node := address.get("nodeName"):
        errors.extend(invalid(f"{path}.nodeName", node, text) for text in names.dns_subdomain(node))
    if parsed is None:
        errors.append(invalid(f"{path}.ip", value, "must be a valid IP address"))
    else:
        check_special_ranges(errors, parsed, value, f"{path}.ip")


def _check_subset_port(errors: list[FieldError], port: Object, path: str, *, name_needed: bool) -> None:
    name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
    if name_needed and not name:
        errors.append(required(f"{path}.name"))
    elif name:
        errors.extend(invalid(f"{path}.name", name, text) for text in names.dns_label(name))
    errors.extend(invalid(f"{path}.port", number, text) for text in names.port_number(number))
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in _PROTOCOLS:
        errors.append(unsupported(f"{path}.protocol", protocol, _PROTOCOLS))
    if application := port.get("appProtocol"):
        errors.extend(invalid(f"{path}.appProtocol", application, text) for text in names.qualified_name(application))


def _validate_endpoints(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                _check_address(errors, address, f"{path}.{key}[{number}]")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            _check_subset_port(errors, port, f"{path}.ports[{number}]", name_needed=len(ports) > 1)
    return errors


def _update_endpoints(new: Object, old: Object) -> list[FieldError]:
    return _validate_endpoints(new)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _endpoints_cells(obj: Object, now: datetime) -> list[Any]:
    shown: list[str] = []
    for subset in obj.get("subsets") or ():
        hosts = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            shown.extend(hosts)
        for port in ports:
            shown.extend(_join(host, port.get("port", 0)) for host in hosts)
    return [printing.name_of(obj), printing.limited(shown, 3), printing.age(obj, now)]


ENDPOINTS = Resource(
    group="",
    version="v1",
    kind="Endpoints",
    plural="endpoints",
    singular="endpoints",
    namespaced=True,
    short_names=("ep",),
    default=_default_endpoints,
    validate=_validate_endpoints,
    validate_update=_update_endpoints,
    revalidates_metadata=True,
    allow_create_on_update=True,
    columns=(NAME_COLUMN, Column("Endpoints", description=".subsets"), AGE_COLUMN),
    cells=_endpoints_cells,
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
)


# --- endpoint slices --------------------------------------------------------------------------------------------------


def _default_slice(obj: Object) -> None:
    for key in ("endpoints", "ports"):
        # Empty lists are stored as none at all.
        if not obj.get(key):
            obj.pop(key, None)
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _check_slice_address(errors: list[FieldError], kind: str, value: str, path: str, index: int) -> None:
    if kind == "FQDN":
        errors.extend(invalid(path, value, text) for text in names.dns_subdomain(value.removesuffix(".")))
        return
    parsed = parse_ip(value)
    if parsed is None or f"IPv{parsed.version}" != kind:
        errors.append(invalid(path, value, f"must be an {kind} address"))
    else:
        check_special_ranges(errors, parsed, value, f"{path}[{index}]")


def _check_endpoints(errors: list[FieldError], obj: Object) -> None:
    kind, endpoints = obj.get("addressType", ""), obj.get("endpoints") or ()
    if len(endpoints) > _MAX_ENDPOINTS:
        errors.append(too_many("endpoints", len(endpoints), _MAX_ENDPOINTS))
        return
    for index, endpoint in enumerate(endpoints):
        path = f"endpoints[{index}]"
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            errors.append(required(f"{path}.addresses", "must contain at least 1 address"))
        elif len(addresses) > _MAX_ADDRESSES:
            errors.append(too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES))
        else:
            for number, value in enumerate(addresses):
                _check_slice_address(errors, kind, value, f"{path}.addresses", number)
        if node := endpoint.get("nodeName"):
            errors.extend(invalid(f"{path}.nodeName", node, text) for text in names.dns_subdomain(node))
        if host := endpoint.get("hostname"):
            errors.extend(invalid(f"{path}.hostname", host, text) for text in names.dns_label(host))
        zones = (endpoint.get("hints") or {}).get("forZones") or ()
        if len(zones) > _MAX_ZONE_HINTS:
            errors.append(too_many(f"{path}.hints.forZones", len(zones), _MAX_ZONE_HINTS))


def _check_slice_ports(errors: list[FieldError], ports: Sequence[Object]) -> None:
    if len(ports) > _MAX_PORTS:
        errors.append(too_many("ports", len(ports), _MAX_PORTS))
        return
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"ports[{index}]", port.get("name", "")
        if name:
            errors.extend(invalid(f"{path}.name", name, text) for text in names.dns_label(name))
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        protocol = port.get("protocol", "")
        if not protocol:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in _PROTOCOLS:
            errors.append(unsupported(f"{path}.protocol", protocol, _PROTOCOLS))
        if application := port.get("appProtocol"):
            where = f"{path}.appProtocol"
            errors.extend(invalid(where, application, text) for text in names.qualified_name(application))


def _validate_slice(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    kind = obj.get("addressType", "")
    if not kind:
        errors.append(required("addressType"))
    elif kind not in _ADDRESS_TYPES:
        errors.append(unsupported("addressType", kind, _ADDRESS_TYPES))
    else:
        _check_endpoints(errors, obj)
    _check_slice_ports(errors, obj.get("ports") or ())
    return errors


def _update_slice(new: Object, old: Object) -> list[FieldError]:
    if new.get("addressType") != old.get("addressType"):
        return [invalid("addressType", new.get("addressType", ""), "field is immutable")]
    return _validate_slice(new)


def _slice_changed(new: Object, old: Object) -> bool:
    """Content and labels count; annotations do not."""
    if (new["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {}):
        return True
    return any(new.get(key) != old.get(key) for key in ("addressType", "endpoints", "ports"))


def _slice_cells(obj: Object, now: datetime) -> list[Any]:
    ports = obj.get("ports") or ()
    numbers = ["*" if port.get("port") is None else str(port["port"]) for port in ports]
    addresses = [value for endpoint in obj.get("endpoints") or () for value in endpoint.get("addresses") or ()]
    return [
        printing.name_of(obj),
        obj.get("addressType", ""),
        printing.limited(numbers, 3) if numbers else printing.UNSET,
        printing.limited(addresses, 3) if addresses else printing.UNSET,
        printing.age(obj, now),
    ]


ENDPOINT_SLICES = Resource(
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    singular="endpointslice",
    namespaced=True,
    default=_default_slice,
    validate=_validate_slice,
    validate_update=_update_slice,
    generation=_slice_changed,
    allow_create_on_update=True,
    columns=(
        NAME_COLUMN,
        Column("AddressType", description=".addressType"),
        Column("Ports", description=".ports"),
        Column("Endpoints", description=".endpoints"),
        AGE_COLUMN,
    ),
    cells=_slice_cells,
)
