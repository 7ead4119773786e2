"""Which resolv.conf(5) a node goes by, and what is in one.

K3s' rule (https://docs.k3s.io/networking/networking-services): pods reach name servers over the network, so a file
that names one of the machine's own (127.0.0.53 of systemd-resolved) or one that cannot be routed to is of no use.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

CANDIDATES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""Where a node looks, in this order; the second is systemd-resolved's own list of servers."""

PUBLIC = ("8.8.8.8", "2001:4860:4860::8888")
"""What a node falls back to."""


def nameservers(text: str) -> tuple[str, ...]:
    """The values of its `nameserver` lines, as they stand."""
    lines = (line.split() for line in text.splitlines())
    return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")


def unusable(text: str) -> str:
    """Why pods could not use the file, empty where they can."""
    found = nameservers(text)
    if not found:
        return "it names no name server"
    for server in found:
        try:
            address = ip_address(server)
        except ValueError:
            return f"{server} is no address"
        if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
            return f"pods cannot reach {address}"
        if address == IPv4Address("255.255.255.255"):
            return f"pods cannot reach {address}"
    return ""


def choose(given: Path | None, fallback: Path, *, candidates: Sequence[Path] = CANDIDATES) -> tuple[Path, str]:
    """The file a node's pods go by, and a warning where it is a makeshift (else empty).

    ``given`` is taken whatever it says. Where no file is usable, ``fallback`` is written with public servers.
    Raises OSError.
    """
    if given is not None:
        wrong = unusable(given.read_text(errors="replace"))
        return given, f"--resolv-conf {given}: {wrong}; names beyond the cluster are not found" if wrong else ""
    reasons: list[str] = []
    for path in candidates:
        try:
            wrong = unusable(path.read_text(errors="replace"))
        except OSError as error:
            wrong = error.strerror or str(error)
        if not wrong:
            return path, ""
        reasons.append(f"{path}: {wrong}")
    fallback.parent.mkdir(parents=True, exist_ok=True)
    fallback.write_text("".join(f"nameserver {server}\n" for server in PUBLIC))
    return fallback, (
        f"{'; '.join(reasons)}: asking {' and '.join(PUBLIC)} for names beyond the cluster; "
        "name a better file by --resolv-conf"
    )


def relayed(text: str, servers: Sequence[IPv4Address | IPv6Address]) -> str:
    """The file with other name servers in it."""
    kept = [line for line in text.splitlines() if line.split()[:1] not in (["nameserver"], [])]
    return "".join(f"{line}\n" for line in (*(f"nameserver {server}" for server in servers), *kept))
