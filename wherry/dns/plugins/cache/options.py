"""The options of `cache`, read from its directive."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wherry.dns.corefile.model import Block, Directive
from wherry.dns.corefile.zones import zones_of
from wherry.dns.plugins.cache.clamp import HIGHEST, LOWEST, Clamp

_CAPACITY = 10_000
_LONGEST_FAILURE = 300.0
"""Seconds: RFC 2308 §7.1 allows no more for a failure."""
_INT = 2**31 - 1


@dataclass(slots=True)
class Options:
    """Times are seconds."""

    clamp: Clamp
    success_capacity: int = _CAPACITY
    denial_capacity: int = _CAPACITY
    failure_ttl: int = LOWEST
    prefetch: int = 0
    """Hits from which an item is refreshed before it expires; 0: never."""
    prefetch_gap: float = 60.0
    """The longest pause between hits that count."""
    prefetch_percentage: int = 10
    stale: float = 0.0
    """How long after its end an item is still served."""
    verify: bool = False
    verify_timeout: float = 0.0
    """How long to wait for a refresh before the stale item is served; 0: as long as it takes."""
    stale_ttl: int = 0
    recheck: float = 0.0
    """How long after a failed refresh the next may start."""
    prefer_positive: bool = False
    no_success: tuple[bytes, ...] = ()
    """Zones whose answers are not kept."""
    no_denial: tuple[bytes, ...] = ()
    keep_ttl: bool = False


def read(directive: Directive, block: Block) -> Options:
    """Read `cache [TTL] [ZONES…] { … }`; raises CorefileError."""
    args = list(directive.args)
    success, denial = [LOWEST, HIGHEST], [LOWEST, HIGHEST // 2]
    if args and re.fullmatch(r"[+-]?[0-9]+", args[0]):
        success[1] = denial[1] = _ttl(directive, args.pop(0))
    options = Options(Clamp(tuple(zones_of(directive, block, args))))
    policy = None
    for line in directive.body:
        match line.name:
            case "success":
                options.success_capacity = _capacity(line, success)
            case "denial":
                options.denial_capacity = _capacity(line, denial)
            case "prefetch":
                _prefetch(line, options)
            case "serve_stale":
                _serve_stale(line, options)
            case "serve_stale_policy":
                if policy is not None:
                    raise line.error("serve_stale_policy can only be specified once")
                policy = line
                if line.argument().lower() != "prefer_positive":
                    raise line.error(f"invalid serve_stale_policy: {line.args[0]}; there is prefer_positive")
                options.prefer_positive = True
            case "servfail":
                seconds = line.duration(line.argument())
                if seconds < 0:
                    raise line.error("invalid negative ttl for servfail")
                if seconds > _LONGEST_FAILURE:
                    raise line.error("caching SERVFAIL responses over 5 minutes is not permitted")
                options.failure_ttl = int(seconds)
            case "disable":
                _disable(line, block, options)
            case "keepttl":
                line.arguments(0)
                options.keep_ttl = True
            case _:
                raise line.unknown_property()
    if policy is not None and not any(line.name == "serve_stale" for line in directive.body):
        raise policy.error("serve_stale_policy requires serve_stale")
    options.clamp = options.clamp._replace(success=(success[0], success[1]), denial=(denial[0], denial[1]))
    return options


def _ttl(line: Directive, text: str) -> int:
    ttl = line.integer(text, -_INT, _INT)
    if ttl <= 0:
        raise line.error(f"cache TTL can not be zero or negative: {ttl}")
    return ttl


def _capacity(line: Directive, bounds: list[int]) -> int:
    args = line.arguments(1, 3)
    if len(args) > 1:
        bounds[1] = _ttl(line, args[1])
    if len(args) > 2:
        bounds[0] = line.integer(args[2], 0, _INT)
    return line.integer(args[0], 0, _INT)


def _prefetch(line: Directive, options: Options) -> None:
    args = line.arguments(1, 3)
    options.prefetch = line.integer(args[0], 0, _INT)
    if len(args) > 1:
        options.prefetch_gap = line.duration(args[1])
    if len(args) > 2:
        if not args[2].endswith("%"):
            raise line.error(f"last character of percentage should be `%`, but is: '{args[2][-1:]}'")
        percentage = line.integer(args[2][:-1], -_INT, _INT)
        if not 10 <= percentage <= 90:
            raise line.error(f"percentage should fall in range [10, 90]: {percentage}")
        options.prefetch_percentage = percentage


def _serve_stale(line: Directive, options: Options) -> None:
    args = list(line.arguments(0, 5))
    options.stale = 3600.0
    if args:
        options.stale = _not_negative(line, args.pop(0), "duration for serve_stale")
    if args:
        mode = args.pop(0).lower()
        if mode not in ("immediate", "verify"):
            raise line.error(f"invalid value for serve_stale refresh mode: {mode}; there are immediate and verify")
        options.verify = mode == "verify"
    if args and options.verify:
        options.verify_timeout = _not_negative(line, args.pop(0), "timeout for serve_stale verify")
    if args:
        ttl = _not_negative(line, args.pop(0), "response TTL for serve_stale")
        if ttl != int(ttl):
            raise line.error("serve_stale response TTL must be a whole number of seconds")
        if ttl >= 2**32:
            raise line.error("serve_stale response TTL exceeds the DNS TTL range")
        options.stale_ttl = int(ttl)
    if args:
        options.recheck = _not_negative(line, args.pop(0), "failure recheck for serve_stale")
        if options.recheck > _LONGEST_FAILURE:
            raise line.error("serve_stale failure recheck cannot exceed 5 minutes")
    if args:
        raise line.wrong_arguments()


def _not_negative(line: Directive, text: str, what: str) -> float:
    seconds = line.duration(text)
    if seconds < 0:
        raise line.error(f"invalid negative {what}")
    return seconds


def _disable(line: Directive, block: Block, options: Options) -> None:
    which, *zones = line.arguments(1, 1024)
    excluded = tuple(zones_of(line, block, zones or ["."]))
    if which == "success":
        options.no_success = excluded
    elif which == "denial":
        options.no_denial = excluded
    else:
        raise line.error('cache type for disable must be "success" or "denial"')
