"""Reading the table back from the kernel, as :meth:`wherry.kernel.nft.Nft.list_table` gives it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from wherry.services import names
from wherry.services.content import Content, Place, digest

_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}  # IANA's protocol numbers

_FRONTENDS = frozenset(
    name for group in (names.SERVICES, names.INSIDE, names.OUTSIDE, names.REFUSED) for name in group.values()
)
"""Containers whose keys are frontends."""
_OWN_CHAINS = (names.PICK, names.STICKY, names.KEEP, names.SOURCES)

UNKNOWN = ("unknown",)
"""The rules of a chain whose digest is not that of any chain wanted."""


def version_of(objects: list[dict[str, Any]]) -> str:
    """The digest of the fixed part that the table was made with, empty when it is not there."""
    return next((comment for chain, comment in _comments(objects) if chain == names.VERSION), "")


def has_fixed(objects: list[dict[str, Any]], fixed: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the chains of the fixed part have the first rule and the number of rules that they were given."""
    signed = dict(_comments(objects))
    counts = Counter(rule["chain"] for entry in objects if (rule := entry.get("rule")))
    return all(
        not rules or (signed.get(chain) == digest(rules) and counts[chain] == len(rules))
        for chain, rules in fixed.items()
    )


def content_of(objects: list[dict[str, Any]], wanted: Content) -> Content:
    """What the table holds for services.

    Rules cannot be compared as text; a chain signed with the digest of the rules wanted in it is taken to have them.
    """
    signed = dict(_comments(objects))
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, int] = {}
    elements: dict[Place, str] = {}
    for entry in objects:
        if (chain := entry.get("chain")) and chain["name"].startswith(_OWN_CHAINS):
            rules = wanted.chains.get(chain["name"])
            chains[chain["name"]] = rules if rules and signed.get(chain["name"]) == digest(rules) else UNKNOWN
        holder = entry.get("set") or entry.get("map")
        if holder and holder["name"].startswith(names.CLIENTS):
            sets[holder["name"]] = 6 if holder["type"] == names.ADDRESS_TYPE[6] else 4
        elif holder:
            for element in holder.get("elem", ()):
                # of a set the element is its key; of a map it is a pair
                key, value = element if isinstance(element, list) else (element, None)
                elements[holder["name"], _named(holder["name"], _words(key))] = _value(value)
    return Content(elements=elements, chains=chains, sets=sets)


def _comments(objects: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Chain and comment of every rule that has one."""
    for entry in objects:
        if (rule := entry.get("rule")) and "comment" in rule:
            yield rule["chain"], rule["comment"]


def _named(container: str, key: tuple[str, ...]) -> tuple[str, ...]:
    """A frontend's key with its protocol's name: nft says the number on a machine without /etc/protocols."""
    if container not in _FRONTENDS:
        return key
    *address, protocol, port = key
    return *address, _PROTOCOLS.get(protocol, protocol), port


def _words(data: Any) -> tuple[str, ...]:
    if isinstance(data, dict) and "concat" in data:
        return tuple(word for part in data["concat"] for word in _words(part))
    text = str(data)
    return (str(ip_address(text)),) if ":" in text else (text,)


def _value(data: Any) -> str:
    match data:
        case None:
            return ""
        case {"goto": {"target": str(target)}}:
            return f"goto {target}"
        case {"drop": _}:
            return "drop"
    return " . ".join(_words(data))
