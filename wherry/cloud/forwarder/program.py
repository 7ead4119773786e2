"""Puts the rules of one forwarded port into this network namespace, with nft(8).

Run by itself, so it needs the standard library only. Environment, as of `rancher/klipper-lb`:

* ``SRC_PORT``, ``DEST_PROTO``: the port to forward, and its protocol (TCP, UDP or SCTP).
* ``DEST_IPS``, ``DEST_PORT``: where to; of several addresses of a family the last counts.
* ``SRC_RANGES``: who may come in; of a family that has no range nobody may.

and one that image does not know: ``PROXY_PROTOCOL``, ``v2`` for a TCP port whose connections are to begin with a PROXY
header. Rules cannot write one, so those only guard the port, and this program becomes `relay.py`, which serves it.

One table holds all rules of a port and is replaced as a whole, so that a restart changes nothing.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

READY_FILE = "/run/klipper-lb.ready"
_FORWARDING = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_RELAY = Path(__file__).with_name("relay.py")


class BadInput(ValueError):
    """The environment makes no sense; the text says which variable."""


def ruleset(env: Mapping[str, str], forwarding: Mapping[int, bool]) -> str:
    """What nft is to be told, for the families that this namespace forwards. Raises `BadInput`."""
    if relayed(env):
        return _guard(env)
    port, dest_port = _number(env, "SRC_PORT"), _number(env, "DEST_PORT")
    name = env.get("DEST_PROTO", "")
    if name.upper() not in _PROTOCOLS:
        raise BadInput(f"DEST_PROTO is {name!r}, not one of {', '.join(_PROTOCOLS)}")
    protocol = name.lower()
    addresses = _addresses(env.get("DEST_IPS", ""))
    usable = {version: address for version, address in addresses.items() if forwarding.get(version)}
    if not usable:
        wanted = ", ".join(f"IPv{version}" for version in addresses)
        raise BadInput(f"DEST_IPS: this pod does not forward {wanted}: set its sysctls")
    ranges = _ranges(env.get("SRC_RANGES", ""))
    nat: list[str] = []
    masked: list[str] = []
    filtered: list[str] = []
    for version, address in sorted(usable.items()):
        ip, family = ("ip", "ipv4") if version == 4 else ("ip6", "ipv6")
        target = f"{address}:{dest_port}" if version == 4 else f"[{address}]:{dest_port}"
        nat.append(f"meta nfproto {family} {protocol} dport {port} dnat {ip} to {target}")
        to = f"{ip} daddr {address} {protocol} dport {dest_port}"
        masked.append(f"ct status dnat {to} masquerade")
        filtered += (f"{ip} saddr {one} {to} accept" for one in ranges if one.version == version)
        filtered.append(f"{to} drop")
    return _table(
        f"inet wherry-lb-{name}-{port}",
        ("prerouting", "nat hook prerouting priority dstnat", nat),
        ("forward", "filter hook forward priority filter", filtered),
        ("postrouting", "nat hook postrouting priority srcnat", masked),
    )


def relayed(env: Mapping[str, str]) -> bool:
    """Whether connections are to begin with a PROXY header. Raises `BadInput`."""
    version = env.get("PROXY_PROTOCOL", "")
    if version and (version, env.get("DEST_PROTO", "").upper()) != ("v2", "TCP"):
        raise BadInput(f"PROXY_PROTOCOL is {version!r}: there is v2 alone, for TCP")
    return bool(version)


def relay_arguments(env: Mapping[str, str]) -> list[str]:
    """The command line of `relay.py` behind its name. Raises `BadInput`."""
    addresses = _addresses(env.get("DEST_IPS", ""))
    ports = (str(_number(env, name)) for name in ("SRC_PORT", "DEST_PORT"))
    return [*ports, *(str(address) for _, address in sorted(addresses.items()))]


def _guard(env: Mapping[str, str]) -> str:
    port = _number(env, "SRC_PORT")
    mine = f"tcp dport {port}"
    own = ['iif "lo" accept']
    for one in _ranges(env.get("SRC_RANGES", "")):
        own.append(f"{'ip' if one.version == 4 else 'ip6'} saddr {one} {mine} accept")
    return _table(f"inet wherry-lb-TCP-{port}", ("input", "filter hook input priority filter", [*own, f"{mine} drop"]))


def _table(table: str, *chains: tuple[str, str, list[str]]) -> str:
    lines = [f"add table {table}", f"delete table {table}", f"table {table} {{"]
    for chain, hook, rules in chains:
        lines += [f"  chain {chain} {{", f"    type {hook}; policy accept;", *(f"    {one}" for one in rules), "  }"]
    return "\n".join([*lines, "}", ""])


def _number(env: Mapping[str, str], name: str) -> int:
    text = env.get(name, "")
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise BadInput(f"{name} is {text!r}, not a port")
    return int(text)


def _addresses(text: str) -> dict[int, IPv4Address | IPv6Address]:
    try:
        found = [ip_address(one.strip()) for one in text.split(",") if one.strip()]
    except ValueError as error:
        raise BadInput(f"DEST_IPS is {text!r}: {error}") from error
    if not found:
        raise BadInput("DEST_IPS is empty: there is nowhere to forward to")
    return {address.version: address for address in found}


def _ranges(text: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(one.strip(), strict=False) for one in text.split(",") if one.strip()]
    except ValueError as error:
        raise BadInput(f"SRC_RANGES is {text!r}: {error}") from error


def forwarding() -> dict[int, bool]:
    """Which families this namespace forwards; one that the kernel does not have is not."""
    found = {}
    for version, path in _FORWARDING.items():
        try:
            with open(path, encoding="ascii") as file:
                found[version] = file.read().strip() == "1"
        except FileNotFoundError:
            found[version] = False
    return found


def forget_connections() -> None:
    """Empty this namespace's table of connections: datagrams that came before the rules would never be forwarded.

    Linux' nfnetlink: a message of ctnetlink's type DELETE without a tuple. Raises OSError.
    """
    netfilter, request_and_ack, delete = 12, 5, (1 << 8) | 2
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netfilter) as link:
        link.send(struct.pack("=IHHIIBBH", 20, delete, request_and_ack, 1, 0, 0, 0, 0))
        code = struct.unpack_from("=i", link.recv(4096), 16)[0]
    if code:
        raise OSError(-code, f"cannot forget connections: {os.strerror(-code)}")


def main() -> int:
    """Apply the rules and say so, or become the relay, which says so; the exit code."""
    try:
        rules = ruleset(os.environ, forwarding())
        relay = [str(_RELAY), *relay_arguments(os.environ)] if relayed(os.environ) else []
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        if relay:
            print(rules, end="", flush=True)
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", *relay])
        if os.environ["DEST_PROTO"].upper() == "UDP":
            forget_connections()
        with open(READY_FILE, "w", encoding="ascii"):
            pass
    except (BadInput, OSError) as error:
        print(f"klipper-lb: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"klipper-lb: nft ended with exit code {error.returncode}", file=sys.stderr)
        return 1
    print(rules, end="", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
