"""Which addresses the status of a Service shows: `wherry.dev/lb-addresses`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from wherry.cloud.servicelb.model import ADVERTISE, Unusable
from wherry.kube.objects import Service
from wherry.net.types import IPNetwork

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"({_LABEL}\.)+[a-z]([-a-z0-9]{{0,61}}[a-z0-9])?")


@dataclass(frozen=True)
class Advertise:
    """What `wherry.dev/lb-addresses` asks for; nothing at all is K3s' rule."""

    external: bool = False
    internal: bool = False
    within: tuple[IPNetwork, ...] = ()
    fixed: tuple[str, ...] = ()
    """Addresses and host names to be shown as they are, as soon as any node serves."""

    @property
    def usual(self) -> bool:
        """Whether external addresses go before internal ones, and all nodes' are shown."""
        return not (self.external or self.internal or self.within or self.fixed)

    def of_nodes(self, external: Iterable[str], internal: Iterable[str], bound: Iterable[str] = ()) -> set[str]:
        """Choose among the addresses of the nodes that serve; ranges also among those that the ports are bound to."""
        outer, inner = set(external), set(internal)
        if self.usual:
            return outer or inner
        found = (outer if self.external else set()) | (inner if self.internal else set())
        for text in outer | inner | {*bound}:
            address = ip_address(text)
            if any(address.version == net.version and address in net for net in self.within):
                found.add(text)
        return found


def parse(service: Service) -> Advertise:
    """Read `wherry.dev/lb-addresses`: a comma-separated list of what is to be shown.

    ``external`` and ``internal`` are the nodes' addresses of that type, a range such as ``192.0.2.0/24`` those of the
    nodes' addresses, and of those that `wherry.dev/lb-bind` binds to, that lie in it; an address or a host name is
    shown as it is. Raises `Unusable`.
    """
    text = service.metadata.annotations.get(ADVERTISE, "")
    words = [word.strip() for word in text.split(",") if word.strip()]
    within: list[IPNetwork] = []
    fixed: list[str] = []
    for word in words:
        if word in ("external", "internal"):
            continue
        if "/" in word:
            try:
                within.append(ip_network(word, strict=False))
            except ValueError as error:
                raise Unusable(f"annotation {ADVERTISE}: {word!r} is no range of addresses") from error
        else:
            fixed.append(_fixed(word))
    return Advertise("external" in words, "internal" in words, tuple(within), tuple(fixed))


def _fixed(word: str) -> str:
    try:
        return str(ip_address(word))
    except ValueError:
        if _HOST_NAME.fullmatch(word.lower()):
            return word.lower()
    raise Unusable(
        f"annotation {ADVERTISE}: {word!r} is none of `external`, `internal`, a range, an address and a host name"
    )
