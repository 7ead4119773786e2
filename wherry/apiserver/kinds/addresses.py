"""Checks of IP addresses and prefixes, and of the ranges in which endpoints and external addresses may lie."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from wherry.apiserver.kinds.model import FieldError, invalid

_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


@lru_cache(maxsize=4096)
def parse_ip(value: str) -> IPv4Address | IPv6Address | None:
    """The address, or None for what is none (zones are refused, IPv4-mapped ones taken as they are)."""
    if "%" in value:
        return None
    try:
        return ip_address(value)
    except ValueError:
        return None


def _leading_zeros(value: str) -> bool:
    parts = value.split(".")
    return (
        len(parts) == 4
        and all(part.isdigit() for part in parts)
        and any(len(part) > 1 and part[0] == "0" for part in parts)
    )


def check_ip(errors: list[FieldError], value: str, path: str) -> IPv4Address | IPv6Address | None:
    """An address in canonical enough form; returns it if it is one."""
    address = parse_ip(value)
    if address is None:
        errors.append(invalid(path, value, "must not have leading 0s" if _leading_zeros(value) else _IP_TEXT))
    elif isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        errors.append(invalid(path, value, "must not be an IPv4-mapped IPv6 address"))
    return address


@lru_cache(maxsize=4096)
def parse_cidr(value: str) -> IPv4Network | IPv6Network | None:
    """The prefix (bits beyond it are dropped), or None for what is none."""
    address, slash, length = value.partition("/")
    if not slash or not length.isdigit() or "%" in value:
        return None
    try:
        return ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        return None


def check_cidr(errors: list[FieldError], value: str, path: str) -> IPv4Network | IPv6Network | None:
    """A prefix; returns it if it is one."""
    network = parse_cidr(value)
    if network is None:
        address = value.partition("/")[0]
        errors.append(invalid(path, value, "must not have leading 0s" if _leading_zeros(address) else _CIDR_TEXT))
    return network


def check_special_ranges(errors: list[FieldError], address: IPv4Address | IPv6Address, value: str, path: str) -> None:
    """Ranges in which neither endpoints nor external addresses may lie."""
    if address.is_unspecified:
        errors.append(invalid(path, value, f"may not be unspecified ({value})"))
    if address.is_loopback:
        errors.append(invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        errors.append(invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if isinstance(address, IPv4Address):
        local = address in IPv4Network("224.0.0.0/24")
    else:
        local = address in IPv6Network("ff02::/16")
    if local:
        errors.append(invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))


def family_of(value: str) -> str:
    """`IPv6` for addresses with a colon, otherwise `IPv4`."""
    return "IPv6" if ":" in value else "IPv4"
