"""Checks of probes and lifecycle hooks."""

from __future__ import annotations

from typing import Any

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.model import FieldError, Object, forbidden, invalid, required, unsupported

NON_NEGATIVE = "must be greater than or equal to 0"
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")


def check_port_or_name(errors: list[FieldError], value: Any, path: str) -> None:
    """A port number or the name of one."""
    if isinstance(value, str):
        errors.extend(invalid(path, value, text) for text in names.port_name(value))
    else:
        number = value or 0
        errors.extend(invalid(path, number, text) for text in names.port_number(number))


def _check_handler(errors: list[FieldError], handler: Object, kinds: tuple[str, ...], path: str) -> None:
    given = [kind for kind in kinds if handler.get(kind) is not None]
    if not given:
        errors.append(required(path, "must specify a handler type"))
        return
    for extra in given[1:]:
        errors.append(forbidden(f"{path}.{extra}", "may not specify more than 1 handler type"))
    kind, content = given[0], handler[given[0]]
    where = f"{path}.{kind}"
    if kind == "exec":
        if not content.get("command"):
            errors.append(required(f"{where}.command"))
    elif kind == "httpGet":
        if not content.get("path"):
            errors.append(required(f"{where}.path"))
        check_port_or_name(errors, content.get("port"), f"{where}.port")
        if content.get("scheme") not in ("HTTP", "HTTPS"):
            errors.append(unsupported(f"{where}.scheme", content.get("scheme"), ("HTTP", "HTTPS")))
        for header in content.get("httpHeaders") or ():
            name = header.get("name", "")
            errors.extend(invalid(f"{where}.httpHeaders", name, text) for text in names.http_header(name))
    elif kind == "tcpSocket":
        check_port_or_name(errors, content.get("port"), f"{where}.port")
    elif kind == "grpc":
        port = content.get("port", 0)
        errors.extend(invalid(f"{where}.port", port, text) for text in names.port_number(port))
    elif content.get("seconds", 0) < 0:
        errors.append(invalid(where, content["seconds"], "must be greater than 0 and less than terminationGracePeriod"))


def _check_probe(errors: list[FieldError], probe: Object, path: str) -> None:
    _check_handler(errors, probe, _PROBE_HANDLERS, path)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe.get(key, 0) < 0:
            errors.append(invalid(f"{path}.{key}", probe[key], NON_NEGATIVE))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))


def check_probes(errors: list[FieldError], container: Object, path: str) -> None:
    """The three probes and the two hooks of a container."""
    if (lifecycle := container.get("lifecycle")) is not None:
        for key in ("postStart", "preStop"):
            if (handler := lifecycle.get(key)) is not None:
                _check_handler(errors, handler, _HOOK_HANDLERS, f"{path}.lifecycle.{key}")
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(key)) is None:
            continue
        where = f"{path}.{key}"
        _check_probe(errors, probe, where)
        if key == "readinessProbe":
            if probe.get("terminationGracePeriodSeconds") is not None:
                text = "must not be set for readinessProbes"
                errors.append(
                    invalid(f"{where}.terminationGracePeriodSeconds", probe["terminationGracePeriodSeconds"], text)
                )
        elif probe.get("successThreshold", 1) != 1:
            errors.append(invalid(f"{where}.successThreshold", probe["successThreshold"], "must be 1"))
