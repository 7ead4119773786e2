"""Zones as Corefiles write them: `cluster.local`, `tls://example.org:853`, `10.0.0.0/22`.

A range of addresses stands for its reverse zones; one that does not end on a label (an octet in RFC 1035 3.5, a nibble
in RFC 3596) becomes all zones of the next label.
"""

import ipaddress
import re
from collections.abc import Iterable

from wherry.dns import names
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.corefile.model import Block, Directive, Key
from wherry.dns.errors import NameError_

_PORTS = {"dns": 53, "tls": 853}
_UNSERVED = ("https", "https3", "quic", "grpc")
_PORT = re.compile(r"(.*):([0-9]{1,5})", re.DOTALL)


def zones_of(directive: Directive, block: Block, args: Iterable[str] | None = None) -> list[bytes]:
    """The zones that arguments name (folded wire form), or the block's where there are none; raises CorefileError."""
    texts = list(directive.args if args is None else args)
    if not texts:
        return block.zones
    try:
        return list(dict.fromkeys(zone for text in texts for zone in expand(text.rpartition("://")[2])[0]))
    except ValueError as error:
        raise directive.error(str(error)) from error


def expand(text: str) -> tuple[list[bytes], int | None]:
    """The zones (folded wire form) and the port of `ZONE[:PORT]`; raises ValueError that says what is wrong."""
    if text.endswith(":"):
        raise ValueError(f'expecting data after last colon: "{text}"')
    port = None
    if match := _PORT.fullmatch(text):
        text, port = match[1], int(match[2])
        if port > 65535:
            raise ValueError(f"port {port} is above 65535")
    if "/" in text:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            network = None
        if network is not None:
            return _reverse(network), port
    try:
        return [names.fold(names.from_text(text or "."))], port
    except NameError_ as error:
        raise ValueError(f"zone is not a valid domain name: {text}") from error


def keys_of(texts: list[str], default_port: int, *, file: str, line: int) -> list[Key]:
    """The keys of a block, ranges spread over their zones; raises CorefileError."""
    keys = []
    for text in texts:
        scheme, mark, rest = text.partition("://")
        if not mark:
            scheme, rest = "dns", text
        scheme = scheme.lower()
        if scheme not in _PORTS:
            known = "dns:// and tls:// are served"
            what = (
                f"{scheme}:// of CoreDNS is not part of wherry"
                if scheme in _UNSERVED
                else f"unknown scheme {scheme}://"
            )
            raise CorefileError(f"{what}; {known}", file=file, line=line)
        try:
            zones, port = expand(rest)
        except ValueError as error:
            raise CorefileError(str(error), file=file, line=line) from error
        if port is None:
            port = default_port if scheme == "dns" else _PORTS[scheme]
        keys += [Key(scheme, zone, port, f"{scheme}://{names.to_text(zone)}:{port}") for zone in zones]
    return keys


def _reverse(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> list[bytes]:
    step = 8 if network.version == 4 else 4
    length = -(-network.prefixlen // step) * step
    zones = []
    for part in network.subnets(new_prefix=length):
        labels = names.labels(names.reverse_of(part.network_address))
        zones.append(names.join(labels[(network.max_prefixlen - length) // step :]))
    return zones
