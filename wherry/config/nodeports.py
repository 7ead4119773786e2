"""Which addresses of a node answer node ports: ``--kube-proxy-arg=nodeport-addresses=…``, as kube-proxy takes it.

https://kubernetes.io/docs/concepts/services-networking/service/#service-nodeport-custom-listen-address
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import collapse_addresses, ip_network

from wherry.config.errors import ConfigError
from wherry.config.parse import Address

ARGUMENT = "nodeport-addresses"
PRIMARY = "primary"
"""Stands for the node's own addresses, those that others know it by."""


def node_port_addresses(texts: Sequence[str]) -> tuple[str, ...]:
    """Read the service proxy's arguments: ranges, or the word ``primary`` alone; none: all addresses of the node.

    What follows a comma continues the list. Raises ConfigError.
    """
    found: list[str] = []
    for number, text in enumerate(texts):
        key, equals, value = text.lstrip("-").partition("=")
        if not equals and number:
            key, value = ARGUMENT, text
        if key != ARGUMENT:
            raise ConfigError(f"--kube-proxy-arg: {key!r} has no meaning here; known: {ARGUMENT}")
        found += [part.strip() for part in value.split(",") if part.strip()]
    if PRIMARY in found:
        if len(found) > 1:
            raise ConfigError(f"--kube-proxy-arg: {ARGUMENT}: {PRIMARY!r} stands alone; given: {', '.join(found)}")
        return (PRIMARY,)
    ranges = []
    for text in found:
        try:
            ranges.append(ip_network(text))
        except ValueError as error:
            raise ConfigError(f"--kube-proxy-arg: {ARGUMENT}: {text!r} is no address range ({error})") from error
    own = [[one for one in ranges if one.version == version] for version in (4, 6)]
    return tuple(str(one) for family in own for one in collapse_addresses(family))  # type: ignore[type-var]


def node_port_ranges(chosen: Sequence[str], primary: Sequence[Address | str]) -> tuple[str, ...]:
    """The ranges that were chosen, for a node with these addresses."""
    return tuple(str(one) for one in primary) if list(chosen) == [PRIMARY] else tuple(chosen)
