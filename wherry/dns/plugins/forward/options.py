"""The options of one `forward` directive."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address

from wherry.dns import names
from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import expand
from wherry.dns.message import NOERROR, rcode_number
from wherry.dns.plugins.forward import targets
from wherry.dns.plugins.forward.targets import Target

MOST_UPSTREAMS = 15
MOST_CONCURRENT = 1000
"""Queries in flight where `max_concurrent` says nothing: kubeadm's number, some 15 MB while an upstream is silent."""
_MANY = 2**32 - 1
_POLICIES = ("random", "round_robin", "sequential")


@dataclass(slots=True)
class Options:
    """What a directive says; times are seconds."""

    zones: tuple[bytes, ...]
    """Folded; names within one of them are forwarded. More than one where FROM is a range of addresses."""
    targets: list[Target]
    sources: list[str] = field(default_factory=list)
    """The TO arguments that gave no target, with the reason."""
    excepted: tuple[bytes, ...] = ()
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0
    max_age: float = 0.0
    max_idle: int = 0
    read_timeout: float = 2.0
    max_fails: int = 2
    attempts: int | None = None
    """The most tries for a query: 0 for no limit, None for two each upstream."""
    max_concurrent: int = MOST_CONCURRENT
    policy: str = "random"
    check_interval: float = 0.5
    check_recursion: bool = True
    check_domain: bytes = names.ROOT
    next: frozenset[int] = frozenset()
    next_on_nodata: bool = False
    failover: frozenset[int] = frozenset()
    failfast: bool = False
    source_address: str = ""
    resolvers: list[Target] = field(default_factory=list)
    doh_method: str = "POST"
    tls: ssl.SSLContext | None = None
    tls_server_name: str = ""


def read(directive: Directive, block: Block) -> Options:
    """Read `forward FROM TO… { … }`; raises CorefileError."""
    if len(directive.args) < 2:
        raise directive.wrong_arguments()
    source, *texts = directive.args
    try:
        zones = expand(source)[0]
    except ValueError as error:
        raise directive.error(f"unable to normalize '{source}': {error}") from error
    if len(texts) > MOST_UPSTREAMS:
        raise directive.error(f"more than {MOST_UPSTREAMS} TOs configured: {len(texts)}")
    options = Options(tuple(zones), [])
    for line in directive.body:
        _option(line, block, options)
    if 0 < options.max_age < options.expire:
        raise directive.error(f"max_age ({options.max_age:g}s) must not be less than expire ({options.expire:g}s)")
    for text in texts:
        try:
            found = targets.read(text, block.config.path)
        except ValueError as error:
            if "/" not in text or "://" in text:
                raise directive.error(str(error)) from error
            options.sources.append(str(error))
            continue
        if not found:
            options.sources.append(f"{text} names no nameserver")
        options.targets += found
    _settle(directive, options)
    return options


def _settle(directive: Directive, options: Options) -> None:
    """Keep the first of equal upstreams, and give those over TLS their names and a context."""
    unique = {target.address: target for target in reversed(options.targets)}
    options.targets = [target for target in dict.fromkeys(options.targets) if unique[target.address] is target]
    for place, target in enumerate(options.targets):
        if target.server_name and options.tls_server_name:
            raise directive.error(
                f"both forward ('{options.tls_server_name}') and proxy level ('{target.server_name}') TLS servernames "
                f"are set for upstream proxy '{target.scheme}://{target.address}'"
            )
        if target.scheme != "dns":
            if options.tls is None:
                options.tls = _context()
            name = target.server_name or options.tls_server_name
            try:
                name.encode("idna")
            except UnicodeError as error:
                raise directive.error(f"'{name}' is no name that a certificate can have: {error}") from error
            options.targets[place] = target._replace(server_name=name)


def _option(line: Directive, block: Block, options: Options) -> None:
    match line.name:
        case "except":
            options.excepted += tuple(_zones(line))
        case "force_tcp":
            line.arguments(0)
            options.force_tcp = True
        case "prefer_udp":
            line.arguments(0)
            options.prefer_udp = True
        case "max_fails":
            options.max_fails = line.integer(line.argument(), 0, _MANY)
        case "max_connect_attempts":
            options.attempts = line.integer(line.argument(), 0, _MANY)
        case "expire":
            options.expire = _not_negative(line)
        case "max_age":
            options.max_age = _not_negative(line)
        case "max_idle_conns":
            options.max_idle = line.integer(line.argument(), 0, _MANY)
        case "read_timeout":
            options.read_timeout = line.duration(line.argument())
            if options.read_timeout <= 0:
                raise line.error(f"read_timeout must be positive: {line.args[0]}")
        case "max_concurrent":
            # CoreDNS' 0 is no bound at all; memory needs one.
            options.max_concurrent = line.integer(line.argument(), 0, _MANY) or MOST_CONCURRENT
        case "policy":
            options.policy = line.argument()
            if options.policy not in _POLICIES:
                raise line.error(f"unknown policy '{options.policy}'; there are {', '.join(_POLICIES)}")
        case "health_check":
            _health_check(line, options)
        case "next":
            options.next |= _rcodes(line)
        case "next_on_nodata":
            line.arguments(0)
            options.next_on_nodata = True
        case "failover":
            options.failover |= _rcodes(line)
            if NOERROR in options.failover:
                raise line.error("NOERROR cannot be used in failover")
        case "failfast_all_unhealthy_upstreams":
            line.arguments(0)
            options.failfast = True
        case "tls":
            options.tls = _tls(line, block)
        case "tls_servername":
            options.tls_server_name = line.argument()
        case "doh_method":
            options.doh_method = line.argument()
            if options.doh_method not in ("GET", "POST"):
                raise line.error("doh_method must be either POST or GET")
        case "source_address":
            try:
                options.source_address = str(ip_address(line.argument()))
            except ValueError as error:
                raise line.error(f"invalid IP address: {line.args[0]}") from error
        case "resolver":
            options.resolvers = [_resolver(line, text) for text in line.arguments(1, MOST_UPSTREAMS)]
        case _:
            raise line.unknown_property()


def _zones(line: Directive) -> list[bytes]:
    try:
        return [zone for text in line.arguments(1, 1024) for zone in expand(text)[0]]
    except ValueError as error:
        raise line.error(str(error)) from error


def _not_negative(line: Directive) -> float:
    seconds = line.duration(line.argument())
    if seconds < 0:
        raise line.error(f"{line.name} can't be negative: {line.args[0]}")
    return seconds


def _rcodes(line: Directive) -> frozenset[int]:
    found = set()
    for text in line.arguments(1, 64):
        rcode = rcode_number(text)
        if rcode is None:
            raise line.error(f"{text} is not a valid rcode")
        found.add(rcode)
    return frozenset(found)


def _health_check(line: Directive, options: Options) -> None:
    seconds, *rest = line.arguments(1, 4)
    options.check_interval = line.duration(seconds)
    if options.check_interval < 0:
        raise line.error(f"health_check can't be negative: {seconds}")
    options.check_domain = names.ROOT
    while rest:
        word = rest.pop(0)
        if word == "no_rec":
            options.check_recursion = False
        elif word == "domain" and rest:
            try:
                options.check_domain = names.fold(names.from_text(rest[0]))
            except names.NameError_ as error:
                raise line.error(f"health_check: invalid domain name {rest[0]}") from error
            rest.pop(0)
        else:
            raise line.error(f"health_check: unknown option {word}")


def _resolver(line: Directive, text: str) -> Target:
    try:
        return targets.address(text)
    except ValueError as error:
        raise line.error(f'resolver must be an IP address or IP:port: "{text}"') from error


def _context(authority: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _tls(line: Directive, block: Block) -> ssl.SSLContext:
    """`tls [CERT KEY] [CA]`: what this server shows, and who must have signed what the upstream shows."""
    files = [str(block.config.path(text)) for text in line.arguments(0, 3)]
    authority = files.pop() if len(files) in (1, 3) else None
    try:
        context = _context(authority)
        if files:
            context.load_cert_chain(*files)
    except OSError as error:
        raise line.error(f"could not load TLS files {' '.join(line.args)}: {error}") from error
    return context
