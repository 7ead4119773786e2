"""The node annotations by which flannel's nodes tell each other where to send pod traffic. Pure.

They are flannel's own (its "kube subnet manager"), so that a node of ours and a node that runs flannel (as K3s does)
reach each other's pods. What each holds: backend-type the backend's name; backend-data and backend-v6-data, for
vxlan, ``{"VNI":1,"VtepMAC":"…"}``; public-ip and public-ipv6 the tunnel's end; public-ip-overwrite and
public-ipv6-overwrite, set by people, an address to publish instead.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

import msgspec

from wherry.net.types import IPAddress

_PREFIX: Final = "flannel.alpha.coreos.com/"
BACKEND_TYPE: Final = _PREFIX + "backend-type"
MANAGED: Final = _PREFIX + "kube-subnet-manager"
BACKEND_DATA: Final = {4: _PREFIX + "backend-data", 6: _PREFIX + "backend-v6-data"}
PUBLIC_ADDRESS: Final = {4: _PREFIX + "public-ip", 6: _PREFIX + "public-ipv6"}
OVERWRITE: Final = {4: _PREFIX + "public-ip-overwrite", 6: _PREFIX + "public-ipv6-overwrite"}
ALL: Final = (BACKEND_TYPE, MANAGED, *BACKEND_DATA.values(), *PUBLIC_ADDRESS.values())
"""Those that a node writes about itself."""


class _Data(msgspec.Struct, frozen=True):
    """The JSON in backend-data."""

    vni: int = msgspec.field(default=0, name="VNI")
    mac: str = msgspec.field(default="", name="VtepMAC")


def vtep(annotations: Mapping[str, str], version: int, *, vni: int) -> str | None:
    """Return the link address of a node's tunnel end of an IP version, in lower case; None where it has none for us."""
    try:
        data = msgspec.json.decode(annotations.get(BACKEND_DATA[version], "null"), type=_Data | None)
    except msgspec.MsgspecError:
        return None
    if data is None or data.vni != vni:
        return None
    mac = data.mac.lower()
    parts = mac.split(":")
    return mac if len(parts) == 6 and all(len(part) == 2 and _is_hex(part) for part in parts) else None


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


def address(annotations: Mapping[str, str], version: int) -> IPAddress | None:
    """Return the address that a node publishes for an IP version; None where it is missing or nonsense."""
    return _parse(annotations.get(PUBLIC_ADDRESS[version], ""), version)


def overwritten(annotations: Mapping[str, str], version: int) -> IPAddress | None:
    """Return the address that somebody asked the node to publish instead of its own."""
    return _parse(annotations.get(OVERWRITE[version], ""), version)


def parse_all(texts: Iterable[str]) -> list[IPAddress]:
    """Return the addresses among these texts, as a node's status lists them."""
    parsed = (_parse(text, version) for text in texts for version in (4, 6))
    return [one for one in parsed if one is not None]


def _parse(text: str, version: int) -> IPAddress | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found if found.version == version else None


def write(backend: str, *, addresses: Mapping[int, IPAddress], macs: Mapping[int, str], vni: int) -> dict[str, str]:
    """Return the annotations of a node with these addresses and, for vxlan, link addresses by IP version."""
    written = {BACKEND_TYPE: backend, MANAGED: "true"}
    for version, published in addresses.items():
        written[PUBLIC_ADDRESS[version]] = str(published)
        # As Go prints the struct, and "null" for a backend without data: flannel compares the text.
        written[BACKEND_DATA[version]] = f'{{"VNI":{vni},"VtepMAC":"{macs[version]}"}}' if version in macs else "null"
    return written
