"""Which plugins there are, and the one order in which a chain runs them.

The order is CoreDNS 1.14's plugin.cfg. It is fixed: where a directive stands in the Corefile decides nothing.
`rewrite`, `autopath` and `acl` come before `cache`, so that no cached answer and no rewritten name gets past an access
list.
"""

import difflib
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from wherry.dns.corefile.model import Block, Directive
    from wherry.dns.plugin import Plugin

Setup = Callable[["list[Directive]", "Block"], "Plugin | None"]

ORDER: tuple[str, ...] = (
    "metadata",
    "cancel",
    "timeouts",
    "multisocket",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "debug",
    "ready",
    "health",
    "prometheus",
    "errors",
    "log",
    "local",
    "dns64",
    "any",
    "chaos",
    "loadbalance",
    "rewrite",
    "autopath",
    "acl",
    "cache",
    "header",
    "tls",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "kubernetes",
    "file",
    "loop",
    "forward",
    "erratic",
    "whoami",
    "view",
)
POSITION = {name: position for position, name in enumerate(ORDER)}

ELSEWHERE = frozenset(
    {
        "root",
        "geoip",
        "proxyproto",
        "quic",
        "grpc_server",
        "https",
        "https3",
        "trace",
        "pprof",
        "shed",
        "dnstap",
        "tsig",
        "dnssec",
        "route53",
        "azure",
        "clouddns",
        "k8s_external",
        "auto",
        "secondary",
        "etcd",
        "grpc",
        "on",
        "sign",
        "nomad",
    }
)
"""Plugins of CoreDNS that wherry does not have."""


def complaint_of(name: str) -> str | None:
    """Why `name` is no directive here, and which there are; None where it is one."""
    if name in POSITION:
        return None
    known = ", ".join(sorted(ORDER))
    if name in ELSEWHERE:
        return f"plugin {name} of CoreDNS is not part of wherry; there are: {known}"
    near = difflib.get_close_matches(name, ORDER, n=1)
    return f"Unknown directive '{name}'{f' (did you mean {near[0]}?)' if near else ''}; there are: {known}"


def module_of(name: str) -> ModuleType:
    """The module of a plugin of ORDER, imported when first asked for: what no Corefile names costs nothing."""
    return importlib.import_module(f"wherry.dns.plugins.{name}")


def setup_of(name: str) -> Setup:
    """The `setup(directives, block)` of a plugin of ORDER; None from it means that the chain gets no part of it."""
    return cast(Setup, module_of(name).setup)
