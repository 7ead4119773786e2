"""The names that a resolver tries for one that a program asks for, as resolv.conf(5) says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_MOST_DOTS = 15
"""The largest `ndots` that resolvers heed."""


class Resolver(NamedTuple):
    """What resolv.conf says."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    ndots: int = 1


def read(text: str) -> Resolver:
    """Read a resolv.conf; lines of other kinds are passed over, and of several search lists the last counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        words = line.split()
        match words[:1]:
            case ["nameserver"] if len(words) > 1:
                servers.append(words[1])
            case ["search" | "domain"]:
                searches = tuple(words[1:])
            case ["options"]:
                for word in words[1:]:
                    key, _, value = word.partition(":")
                    if key == "ndots" and value.isdecimal():
                        ndots = min(int(value), _MOST_DOTS)
    return Resolver(tuple(servers[:3]), searches, ndots)


def tried(name: str, resolver: Resolver) -> list[str]:
    """The absolute names that are asked for one after the other until one exists."""
    if name.endswith("."):
        return [name]
    absolute = f"{name}."
    searched = _searched(name, resolver.searches)
    if name.count(".") >= resolver.ndots:
        return [absolute, *searched]
    return [*searched, absolute]


def _searched(name: str, searches: Sequence[str]) -> list[str]:
    return [f"{name}.{domain.rstrip('.')}." if domain.rstrip(".") else f"{name}." for domain in searches]
