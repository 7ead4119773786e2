"""Reading a `kubernetes` block of a Corefile (https://coredns.io/plugins/kubernetes/)."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wherry.dns import names
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import zones_of
from wherry.dns.fallthrough import Fallthrough
from wherry.dns.kubernetes import compile as compiled
from wherry.dns.kubernetes.lookup import IN_ADDR, IP6, Options
from wherry.dns.kubernetes.requests import Limits
from wherry.dns.kubernetes.watch import Scope
from wherry.kube import selectors
from wherry.kube.endpoint import ConfigError, Endpoint

_log = logging.getLogger(__name__)
_MOST = 1_000_000
_PODS = ("disabled", "insecure", "verified")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a block says: how to answer, what to follow, where (`connect` may raise ConfigError), how long to wait."""

    options: Options
    scope: Scope
    connect: Callable[[], Endpoint]
    fallthrough: Fallthrough
    startup_timeout: float


def read(directive: Directive, block: Block) -> Settings:
    """The settings of a block; raises CorefileError."""
    return _Reader(directive, block).settings()


class _Reader:
    """Collects what the lines of a block say; each method is a property's."""

    def __init__(self, directive: Directive, block: Block) -> None:
        self.directive = directive
        self.block = block
        self.zones = zones_of(directive, block)
        self.primary = next((zone for zone in self.zones if not zone.endswith((IN_ADDR, IP6))), b"")
        if not self.primary:
            raise directive.error("non-reverse zone name must be used")
        self.pods = "disabled"
        self.ttl = 5
        self.namespaces: set[bytes] = set()
        self.labels = self.namespace_labels = ""
        self.fallthrough = Fallthrough()
        self.imported: list[bytes] = []
        self.endpoint: Directive | None = None
        self.tls: Directive | None = None
        self.kubeconfig: Directive | None = None
        self.startup_timeout = 5.0
        self.rate, self.burst, self.in_flight = 0.0, 0, 0
        self.endpoints = True
        self.pod_names = self.zonal = self.ignore_empty = False

    def settings(self) -> Settings:
        for line in self.directive.body:
            self.take(line)
        self.check()
        options = Options(
            zones=tuple(sorted(self.zones, key=len, reverse=True)),
            primary=self.primary,
            ttl=self.ttl,
            pods=self.pods,
            namespaces=frozenset(self.namespaces),
            ignore_empty=self.ignore_empty,
            zonal=self.zonal,
            imported=frozenset(self.imported),
            passing=self.fallthrough.zones,
        )
        server, connect = self.server()
        described = any(line.name == "metadata" for line in self.block.directives)
        scope = Scope(
            server=server,
            labels=self.labels,
            namespace_labels=self.namespace_labels,
            endpoints=self.endpoints,
            pods=self.pods == "verified",
            pod_labels=described and self.pods == "verified",
            pod_names=self.pod_names,
            zonal=self.zonal,
            imported=bool(self.imported),
            limits=Limits(self.rate, self.burst, self.in_flight),
        )
        return Settings(options, scope, connect, self.fallthrough, self.startup_timeout)

    def take(self, line: Directive) -> None:
        match line.name:
            case "pods":
                self.pods = line.argument()
                if self.pods not in _PODS:
                    raise line.error(
                        f"wrong value for pods: {self.pods},  must be one of: disabled, verified, insecure"
                    )
            case "endpoint_pod_names":
                line.arguments(0)
                self.pod_names = True
            case "namespaces":
                self.namespaces |= {self.namespace(line, text) for text in line.arguments(1, _MOST)}
            case "endpoint":
                line.arguments(1, _MOST)
                self.endpoint = line
            case "tls":
                line.arguments(3)
                self.tls = line
            case "kubeconfig":
                line.arguments(1, 2)
                self.kubeconfig = line
            case "labels":
                self.labels = self.selector(line, "label selector")
            case "namespace_labels":
                self.namespace_labels = self.selector(line, "namespace_label selector")
            case "fallthrough":
                self.fallthrough = Fallthrough.of(line)
            case "ttl":
                self.ttl = line.integer(line.argument(), 0, 3600)
            case "noendpoints":
                line.arguments(0)
                self.endpoints = False
            case "zonal":
                line.arguments(0)
                self.zonal = True
            case "ignore":
                # CoreDNS reads the first word only.
                if line.arguments(1, _MOST)[0] != "empty_service":
                    raise line.error(f"unable to parse ignore value: '{line.args[0]}'")
                self.ignore_empty = True
            case "multicluster":
                # Without zones there are none, as in CoreDNS; the block's do not stand in.
                self.imported = zones_of(line, self.block, line.args) if line.arguments(0, _MOST) else []
                for zone in self.imported:
                    if zone not in self.zones:
                        raise line.error(f"is not authoritative for the multicluster zone {names.to_text(zone)}")
            case "startup_timeout":
                self.startup_timeout = line.duration(line.argument())
            case "apiserver_qps":
                self.rate = self.number(line)
            case "apiserver_burst":
                self.burst = line.integer(line.argument(), 0, _MOST)
            case "apiserver_max_inflight":
                self.in_flight = line.integer(line.argument(), 0, _MOST)
            case _:
                raise line.unknown_property()

    def check(self) -> None:
        if self.namespaces and self.namespace_labels:
            raise self.directive.error("namespaces and namespace_labels cannot both be set")
        if self.zonal and not self.endpoints:
            raise self.directive.error("zonal requires the endpoint cache; remove noendpoints")

    @staticmethod
    def namespace(line: Directive, text: str) -> bytes:
        label = compiled.label_of(text)
        if not label:
            raise line.error(f"'{text}' cannot be a namespace: it has more than 63 characters or none")
        return label

    @staticmethod
    def selector(line: Directive, what: str) -> str:
        text = " ".join(line.arguments(1, _MOST))
        try:
            return str(selectors.parse(text))
        except selectors.SelectorError as error:
            raise line.error(f"unable to parse {what} value: '{text}': {error}") from error

    @staticmethod
    def number(line: Directive) -> float:
        text = line.argument()
        try:
            number = float(text)
        except ValueError as error:
            raise line.error(f"invalid {line.name} '{text}'") from error
        if not 0 <= number < float("inf"):
            raise line.error(f"{line.name} must be >= 0")
        return number

    def server(self) -> tuple[str, Callable[[], Endpoint]]:
        """Which server is followed: as text that tells two apart, and how to reach it."""
        if self.kubeconfig is not None:
            return self.from_kubeconfig(self.kubeconfig)
        if self.endpoint is not None:
            return self.from_url(self.endpoint)
        given = self.block.config.process.endpoint
        return ("", given) if given is not None else ("in-cluster", Endpoint.in_cluster)

    def from_kubeconfig(self, line: Directive) -> tuple[str, Callable[[], Endpoint]]:
        path, *rest = line.args
        file = self.block.config.path(path)
        context = rest[0] if rest else None
        try:
            Endpoint.from_kubeconfig(file, context)
            version = file.stat().st_mtime_ns
        except (ConfigError, OSError) as error:
            raise line.error(str(error)) from error
        return f"{file}@{version}#{context or ''}", lambda: Endpoint.from_kubeconfig(file, context)

    def from_url(self, line: Directive) -> tuple[str, Callable[[], Endpoint]]:
        if len(line.args) > 1:
            _log.warning(
                "plugin/kubernetes: %s:%d: only the first endpoint '%s' is used", line.file, line.line, line.args[0]
            )
        url = line.args[0].rstrip("/")
        if "://" not in url:
            url = f"{'https' if self.tls else 'http'}://{url}"
        scheme = url.partition("://")[0]
        if scheme not in ("http", "https"):
            raise line.error(f"'{line.args[0]}' is no URL of an API server: http:// or https:// is expected")
        context, version = (None, "") if scheme == "http" else self.trust(line)
        return f"{url}{version}", lambda: Endpoint(url=url, ssl=context)

    def trust(self, line: Directive) -> tuple[ssl.SSLContext, str]:
        """How to prove who we and they are, and text that changes with the files."""
        if self.tls is None:
            return ssl.create_default_context(), ""
        certificate, key, authority = (self.block.config.path(text) for text in self.tls.args)
        try:
            context = ssl.create_default_context(cafile=str(authority))
            context.load_cert_chain(str(certificate), str(key))
            return context, "".join(f" {_version(path)}" for path in (certificate, key, authority))
        except (OSError, ssl.SSLError) as error:
            raise self.tls.error(f"cannot use {certificate}, {key}, {authority}: {error}") from error


def _version(path: Path) -> str:
    return f"{path}@{path.stat().st_mtime_ns}"
