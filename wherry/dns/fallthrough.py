"""Which queries a plugin that has no answer passes on: `fallthrough [ZONES…]` of hosts, kubernetes, template, file."""

from __future__ import annotations

from wherry.dns import names
from wherry.dns.corefile.model import Directive
from wherry.dns.corefile.zones import expand


class Fallthrough:
    """The zones of a `fallthrough` line: all where it names none, nothing where there is no such line."""

    __slots__ = ("zones",)

    def __init__(self, zones: tuple[bytes, ...] = ()) -> None:
        """Let names within ``zones`` (folded) pass."""
        self.zones = zones

    @classmethod
    def of(cls, directive: Directive) -> Fallthrough:
        """Read a `fallthrough` line; raises CorefileError where an argument is no zone."""
        directive.no_body()
        zones = []
        for text in directive.args:
            try:
                zones += expand(text)[0]
            except ValueError as error:
                raise directive.error(str(error)) from error
        return cls(tuple(zones) or (names.ROOT,))

    def __bool__(self) -> bool:
        return bool(self.zones)

    def through(self, name: bytes) -> bool:
        """Whether a folded name may pass."""
        return any(names.is_within(name, zone) for zone in self.zones)


def closest(name: bytes, zones: tuple[bytes, ...]) -> bytes | None:
    """The longest of ``zones`` that a folded name is within, None where it is in none."""
    best = None
    for zone in zones:
        if (best is None or len(zone) > len(best)) and names.is_within(name, zone):
            best = zone
    return best
