"""nftables objects as values that write themselves as nft(8) text. Pure.

An object knows its own name and body but not its table: a `Transaction` belongs to one table and adds that, so that
one owner never touches another's table by mistake. Names follow nft's own rule for identifiers and raise ValueError;
comments are cut down to what nft accepts, as they are for people.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Family = Literal["inet", "ip", "ip6", "arp", "bridge", "netdev"]
ChainType = Literal["filter", "nat", "route"]
HookName = Literal["ingress", "prerouting", "input", "forward", "output", "postrouting"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_NAME_BYTES: Final = 255
_COMMENT_BYTES: Final = 127
_UNPRINTABLE: Final = re.compile(r"[^ !#-\[\]-~]")


def name(value: str) -> str:
    """Return an identifier that nft accepts. Raises ValueError."""
    if len(value) > _NAME_BYTES or not _NAME.fullmatch(value):
        raise ValueError(f"not a name for nft: {value!r}")
    return value


def comment(value: str) -> str:
    """Return ` comment "…"` with what nft would not take replaced, or nothing for an empty comment."""
    return f' comment "{_UNPRINTABLE.sub("?", value)[:_COMMENT_BYTES]}"' if value else ""


class Hook(msgspec.Struct, frozen=True):
    """Where a base chain sits: `Hook("nat", "postrouting", "srcnat")`; priorities by name or number."""

    type: ChainType
    hook: HookName
    priority: str | int
    policy: Literal["accept", "drop"] = "accept"
    device: str = ""

    def __str__(self) -> str:
        device = f" device {name(self.device)}" if self.device else ""
        return f"type {self.type} hook {self.hook}{device} priority {self.priority}; policy {self.policy};"


class Chain(msgspec.Struct, frozen=True):
    """A chain; one without a hook is only jumped to."""

    name: str
    hook: Hook | None = None
    comment: str = ""

    word = "chain"

    def body(self) -> str:
        """Return the braces that `add chain` takes, or nothing."""
        note = comment(self.comment)
        parts = " ".join(filter(None, (str(self.hook) if self.hook else "", f"{note.strip()};" if note else "")))
        return f" {{ {parts} }}" if parts else ""


class Set(msgspec.Struct, frozen=True, kw_only=True):
    """A set of keys; `type` as nft writes it: "ipv4_addr", "ipv4_addr . inet_proto . inet_service"."""

    name: str
    type: str
    flags: tuple[str, ...] = ()
    timeout: int = 0
    """Seconds after which an element goes; 0: never."""
    size: int = 0
    auto_merge: bool = False
    comment: str = ""

    word = "set"

    def _types(self) -> str:
        return self.type

    def body(self) -> str:
        """Return the braces that `add set` or `add map` takes."""
        parts = [f"type {self._types()};"]
        if self.flags:
            parts.append(f"flags {','.join(self.flags)};")
        if self.timeout:
            parts.append(f"timeout {self.timeout}s;")
        if self.size:
            parts.append(f"size {self.size};")
        if self.auto_merge:
            parts.append("auto-merge;")
        if self.comment:
            parts.append(f"{comment(self.comment).strip()};")
        return f" {{ {' '.join(parts)} }}"


class Map(Set, frozen=True, kw_only=True):
    """A map from keys to values; `value` is a type as in `Set`, or "verdict"."""

    value: str

    word = "map"

    def _types(self) -> str:
        return f"{self.type} : {self.value}"


class Element(msgspec.Struct, frozen=True):
    """A member of a set, or of a map when it has a value: `Element(("10.43.0.1", "tcp", "80"), "goto svc-web")`."""

    key: tuple[str, ...]
    value: str = ""
    comment: str = ""

    def __str__(self) -> str:
        return f"{' . '.join(self.key)}{comment(self.comment)}{f' : {self.value}' if self.value else ''}"

    def key_text(self) -> str:
        """Return what `delete element` takes."""
        return " . ".join(self.key)


class Rule(msgspec.Struct, frozen=True):
    """A rule at the end of a chain; `text` as nft writes it."""

    chain: str
    text: str
    comment: str = ""

    def __str__(self) -> str:
        return f"{name(self.chain)} {self.text}{comment(self.comment)}"


def elements(members: Iterable[Element]) -> str:
    """Return the braces that `add element` takes."""
    return f"{{ {', '.join(map(str, members))} }}"
