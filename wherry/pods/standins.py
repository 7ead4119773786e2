"""What a pod's annotations say about its stand-ins. Pure.

    wherry.dev/run: process | stand-in              what its containers are (see `images`); counts at their start
    wherry.dev/stand-in: tls, proxy-protocol        on every TCP port; on some: tls:8443, tls:https, proxy-protocol:80
    wherry.dev/stand-in-names: api.example.com      more names for the certificate, separated by commas
    wherry.dev/stand-in-delay: 250ms                between a request and its answer
    wherry.dev/stand-in-status: "503"               of every answer, probes included
    wherry.dev/stand-in-body: 64Ki                  size of every answer's body, a quantity up to 1Gi

Each may end in ``.CONTAINER`` to mean one container only. All but ``run`` may be changed while the pod runs. A port
that is called https or numbered 443 speaks plain HTTP until it is asked for TLS, as the manifest cannot say what its
program would have spoken. Delay, status and size are those of HTTP and gRPC; echoes answer at once. gRPC health is not
serving from status 400 on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from wherry.kube import quantity
from wherry.kube.objects import Container, Pod
from wherry.pods.images import Run
from wherry.pods.model import Behaviour, Port
from wherry.pods.probes.ask import PortError, port_number

RUN = "wherry.dev/run"
FEATURES = "wherry.dev/stand-in"
NAMES = "wherry.dev/stand-in-names"
DELAY = "wherry.dev/stand-in-delay"
STATUS = "wherry.dev/stand-in-status"
BODY = "wherry.dev/stand-in-body"

MOST_DELAY = 3600.0
"""Seconds."""
MOST_BODY = 1 << 30
"""Bytes."""

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NAME = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE)


class _Problems:
    """Collects what cannot be read, worded for an event."""

    def __init__(self, pod: Pod, container: Container) -> None:
        self._annotations = pod.metadata.annotations
        self._container = container.name
        self.found: list[str] = []

    def value(self, name: str) -> tuple[str, str]:
        """The annotation that counts for the container, and its value without spaces around it."""
        own = f"{name}.{self._container}"
        key = own if own in self._annotations else name
        return key, self._annotations.get(key, "").strip()

    def add(self, key: str, value: str, why: str) -> None:
        self.found.append(f"annotation {key}: {value!r} {why}; it is ignored")


def run_of(pod: Pod, container: Container) -> tuple[Run, tuple[str, ...]]:
    """Whether the container must be a process or a stand-in; and what cannot be read."""
    problems = _Problems(pod, container)
    key, value = problems.value(RUN)
    if value in ("process", "stand-in", ""):
        return msgspec.convert(value, Run), ()
    problems.add(key, value, "is neither process nor stand-in")
    return "", tuple(problems.found)


def behaviour_of(pod: Pod, container: Container, ports: Iterable[Port]) -> tuple[Behaviour, tuple[str, ...]]:
    """How the container's stand-in behaves on these ports, without a certificate; and what cannot be read."""
    problems = _Problems(pod, container)
    tcp = tuple(port.number for port in ports if port.protocol == "TCP")
    chosen: dict[str, set[int]] = {"tls": set(), "proxy-protocol": set()}
    key, value = problems.value(FEATURES)
    for item in filter(None, (part.strip() for part in value.split(","))):
        feature, colon, port = item.partition(":")
        if feature not in chosen:
            problems.add(key, item, f"is not known: there are {' and '.join(chosen)}")
        elif not colon:
            chosen[feature].update(tcp)
        elif (number := _port(port.strip(), container)) in tcp:
            chosen[feature].add(number)
        else:
            problems.add(key, item, "names no TCP port of the container")
    found = Behaviour(
        tls=tuple(sorted(chosen["tls"])),
        proxy_protocol=tuple(sorted(chosen["proxy-protocol"])),
        delay=_delay(problems),
        status=_status(problems),
        body=_body(problems),
    )
    return found, tuple(problems.found)


def certificate_names(
    pod: Pod, container: Container, *, domain: str, addresses: Iterable[str], services: Iterable[str]
) -> tuple[str, ...]:
    """The names and addresses under which the stand-in of a pod is reached; ``services`` are those that select it."""
    namespace = pod.namespace
    names = [pod.spec.hostname or pod.name]
    for service in services:
        names += [service, *(f"{service}.{rest}" for rest in _rests(namespace, domain))]
    if pod.spec.subdomain:
        names += [f"*.{pod.spec.subdomain}.{rest}" for rest in _rests(namespace, domain)]
    names += [f"*.{namespace}.svc", f"*.{namespace}.svc.{domain}"]
    _, extra = _Problems(pod, container).value(NAMES)
    wanted = [name.strip() for name in extra.split(",")]
    names += [name for name in wanted if _NAME.fullmatch(name)]
    return tuple(dict.fromkeys((*names, *addresses, "localhost", "127.0.0.1", "::1")))


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it (``250ms``, ``1m30s``). Raises ValueError."""
    seconds, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            break
        seconds += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if text == "0":
        return 0.0
    if not text or at < len(text):
        raise ValueError(f"{text!r} is not a duration")
    return seconds


def _rests(namespace: str, domain: str) -> tuple[str, ...]:
    return namespace, f"{namespace}.svc", f"{namespace}.svc.{domain}"


def _port(port: str, container: Container) -> int:
    try:
        return port_number(port, container)
    except PortError:
        return 0


def _delay(problems: _Problems) -> float:
    key, value = problems.value(DELAY)
    try:
        delay = duration(value) if value else 0.0
    except ValueError:
        problems.add(key, value, "is not a duration such as 250ms or 1.5s")
        return 0.0
    if delay > MOST_DELAY:
        problems.add(key, value, "is longer than 1h")
        return 0.0
    return delay


def _status(problems: _Problems) -> int:
    key, value = problems.value(STATUS)
    if not value:
        return Behaviour().status
    if re.fullmatch(r"[2-5][0-9][0-9]", value, re.ASCII):
        return int(value)
    problems.add(key, value, "is not an HTTP status from 200 to 599")
    return Behaviour().status


def _body(problems: _Problems) -> int | None:
    key, value = problems.value(BODY)
    if not value:
        return None
    try:
        size = quantity.whole(value)
    except quantity.QuantityError:
        problems.add(key, value, "is not a quantity such as 64Ki")
        return None
    if not 0 <= size <= MOST_BODY:
        problems.add(key, value, "is not between 0 and 1Gi")
        return None
    return size
