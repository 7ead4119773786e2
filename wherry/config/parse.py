"""Reading single flag values: each function takes a flag's name and its text and raises ConfigError with both."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import msgspec

from wherry.config.errors import ConfigError
from wherry.config.flags import PACKAGED

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Values = Mapping[str, Sequence[str]]

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
TAINT = re.compile(r"(?P<key>[^=:]+)(=(?P<value>[^:]*))?:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute)")
#: How many service addresses a range may have, as a power of two (K3s' limit: /12 for IPv4, /112 for IPv6).
LARGEST_SERVICE_RANGE = {4: 20, 6: 16}


class Taint(msgspec.Struct, frozen=True):
    """A taint a node registers with."""

    key: str
    value: str
    effect: str


def one(values: Values) -> Callable[[str], str]:
    """Return a function that gives a flag's last value, empty where it is unset."""

    def one(name: str) -> str:
        texts = values.get(name, ())
        return texts[-1] if texts else ""

    return one


def many(values: Values) -> Callable[[str], list[str]]:
    """Return a function that gives all values of a flag."""

    def many(name: str) -> list[str]:
        return list(values.get(name, ()))

    return many


def join(items: Sequence[object]) -> str:
    """Write several values as one text."""
    return ", ".join(str(item) for item in items)


def networks(flag: str, texts: Sequence[str]) -> tuple[Network, ...]:
    """Read one range, or one of each address family."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigError(f"--{flag}: {text!r} is no address range ({error})") from error
    if len(found) > 2 or len({net.version for net in found}) != len(found):
        raise ConfigError(f"--{flag}: give one range, or one IPv4 and one IPv6 range; given: {join(found)}")
    return tuple(found)


def check_ranges(cluster: tuple[Network, ...], services: tuple[Network, ...]) -> None:
    """Check that pod and service ranges fit each other and are of a usable size."""
    if cluster and services and {n.version for n in cluster} != {n.version for n in services}:
        raise ConfigError(
            f"--cluster-cidr {join(cluster)} and --service-cidr {join(services)} must have the same address families"
        )
    for net in services:
        largest = LARGEST_SERVICE_RANGE[net.version]
        if net.max_prefixlen - net.prefixlen > largest:
            raise ConfigError(f"--service-cidr: {net} is too large; the largest is /{net.max_prefixlen - largest}")
        if net.max_prefixlen - net.prefixlen < 4:
            raise ConfigError(f"--service-cidr: {net} is too small; it must hold at least 16 addresses")
    for a in cluster:
        for b in services:
            if a.version == b.version and a.overlaps(b):
                raise ConfigError(f"--cluster-cidr {a} and --service-cidr {b} overlap")


def addresses(flag: str, texts: Sequence[str]) -> tuple[Address, ...]:
    """Read addresses."""
    return tuple(address(flag, text) for text in texts)


def cluster_dns(texts: Sequence[str], services: Sequence[Network], *, own: bool) -> tuple[Address, ...]:
    """Read where cluster DNS answers; ``own`` when the cluster brings its DNS along, as a Service with that address."""
    found = addresses("cluster-dns", texts) or tuple(net[10] for net in services)
    if not own:
        return found
    if len({one.version for one in found}) != len(found):
        raise ConfigError(f"--cluster-dns: give one address, or one IPv4 and one IPv6 address; given: {join(found)}")
    for one in found:
        if not any(one in net for net in services if net.version == one.version):
            raise ConfigError(f"--cluster-dns: {one} is in none of the service ranges {join(services)}")
    return found


def registry(text: str) -> str:
    """Read the host, maybe with a port, of an image registry."""
    if text and not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:\d{1,5})?", text):
        raise ConfigError(f"--system-default-registry: {text!r} is no host name such as registry.example:5000")
    return text


def node_ips(texts: Sequence[str]) -> tuple[Address, ...]:
    """Read a node's own addresses: one, or one of each family."""
    found = addresses("node-ip", texts)
    if len({one.version for one in found}) != len(found):
        raise ConfigError(f"--node-ip: give one address, or one IPv4 and one IPv6 address; given: {join(found)}")
    for one in found:
        if one.is_unspecified or one.is_loopback or one.is_multicast or one.is_link_local:
            raise ConfigError(f"--node-ip: {one} is no address by which other nodes reach this one")
    return found


def dns_names(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Read DNS names, in whatever case they are written."""
    for text in texts:
        if not is_dns_name(text.lower()):
            raise ConfigError(f"--{flag}: {text!r} is no DNS name")
    return tuple(dict.fromkeys(texts))


def is_dns_name(text: str) -> bool:
    """Whether a text is a lower-case DNS name (RFC 1123): labels of at most 63 characters, at most 253 in all."""
    return len(text) <= 253 and all(LABEL.fullmatch(part) for part in text.split("."))


def address(flag: str, text: str) -> Address:
    """Read one address."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise ConfigError(f"--{flag}: {text!r} is no IP address") from error


def address_text(flag: str, text: str) -> str:
    """Check one address and return it in its shortest form; empty stays empty."""
    return str(address(flag, text)) if text else ""


def port(flag: str, text: str, default: int) -> int:
    """Read a port, the default where it is unset."""
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigError(f"--{flag}: {text!r} is no port (1 to 65535)")
    return int(text)


def node_ports(text: str) -> tuple[int, int]:
    """Read LOW-HIGH."""
    match = re.fullmatch(r"(\d+)-(\d+)", text or "30000-32767")
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ConfigError(f"--service-node-port-range: {text!r} is no range of ports such as 30000-32767")
    return int(match[1]), int(match[2])


def domain(text: str) -> str:
    """Read a DNS domain."""
    name = (text or "cluster.local").rstrip(".").lower()
    if not is_dns_name(name):
        raise ConfigError(f"--cluster-domain: {text!r} is no DNS name")
    return name


def disable(names: Sequence[str]) -> tuple[str, ...]:
    """Read the names of components to leave out."""
    # Any user manifest's name is allowed too, so that only a name that could never be one is refused.
    for name in names:
        if "/" not in name and name not in PACKAGED and not LABEL.fullmatch(name.split(".")[0]):
            raise ConfigError(f"--disable: {name!r} names no component; packaged ones are {', '.join(PACKAGED)}")
    return tuple(dict.fromkeys(names))


def namespace(flag: str, text: str) -> str:
    """Read the name of a namespace."""
    if not LABEL.fullmatch(text):
        raise ConfigError(f"--{flag}: {text!r} names no namespace (lower-case letters, digits, '-')")
    return text


def labels(texts: Sequence[str]) -> dict[str, str]:
    """Read key=value labels."""
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ConfigError(f"--node-label: {text!r} is not key=value")
        labels[key] = value
    return labels


def taints(texts: Sequence[str]) -> tuple[Taint, ...]:
    """Read key=value:effect taints."""
    taints = []
    for text in texts:
        match = TAINT.fullmatch(text)
        if not match:
            raise ConfigError(
                f"--node-taint: {text!r} is not key=value:effect with effect NoSchedule, PreferNoSchedule or NoExecute"
            )
        taints.append(Taint(match["key"], match["value"] or "", match["effect"]))
    return tuple(taints)


def token(token: str, file: str) -> str:
    """Read the join token from its flag or its file."""
    if token and file:
        raise ConfigError("--token and --token-file are both given; give one")
    if not file:
        return token
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"--token-file: {file}: {error.strerror}") from error


def server(url: str) -> str:
    """Check the URL of the server to join."""
    if url and not re.fullmatch(r"https://[^/\s]+/?", url):
        raise ConfigError(f"--server: {url!r} is no https://HOST:PORT")
    return url.rstrip("/")


def mode(text: str) -> int:
    """Read a file mode."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ConfigError(f"--write-kubeconfig-mode: {text!r} is no file mode such as 600")
    return int(text, 8)


def file(flag: str, text: str) -> Path | None:
    """Check that a file can be read."""
    if not text:
        return None
    path = Path(text).absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"--{flag}: {text}: no file that can be read")
    return path


def seconds(text: str) -> float:
    """Read a Go duration such as 1m30s, in seconds. Raises ValueError."""
    units = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("no duration such as 40s")
    return sum(float(number) * units[unit] for number, unit in parts)


def whole(text: str) -> float:
    """Read a whole number. Raises ValueError."""
    if not text.isascii() or not text.isdigit():
        raise ValueError("no whole number")
    return float(text)


def rate(text: str) -> float:
    """Read a number of things a second, above 0. Raises ValueError."""
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise ValueError("no rate such as 0.1")
    return float(text)


def external_provider(text: str) -> float:
    """Read a kubelet's cloud-provider: 1 for external, 0 for none. Raises ValueError."""
    if text not in ("external", ""):
        raise ValueError("neither external nor empty")
    return float(text == "external")


#: Arguments of the components K3s is made of that mean something here.
API_ARGUMENTS: dict[str, Callable[[str], float]] = {
    "default-not-ready-toleration-seconds": whole,
    "default-unreachable-toleration-seconds": whole,
}
CONTROLLER_ARGUMENTS: dict[str, Callable[[str], float]] = {
    "node-monitor-grace-period": seconds,
    "node-eviction-rate": rate,
    "secondary-node-eviction-rate": rate,
    "large-cluster-size-threshold": whole,
    "node-cidr-mask-size": whole,
    "node-cidr-mask-size-ipv4": whole,
    "node-cidr-mask-size-ipv6": whole,
}
KUBELET_ARGUMENTS: dict[str, Callable[[str], float]] = {
    "max-pods": whole,
    "node-lease-renew-interval": seconds,
    "cloud-provider": external_provider,
}


def arguments(flag: str, texts: Sequence[str], known: Mapping[str, Callable[[str], float]]) -> dict[str, float]:
    """Read key=value arguments of a component; only known keys are accepted."""
    found: dict[str, float] = {}
    for text in texts:
        key, _, value = text.lstrip("-").partition("=")
        if key not in known:
            raise ConfigError(f"--{flag}: {key!r} has no meaning here; known: {', '.join(known) or 'none'}")
        try:
            found[key] = known[key](value)
        except ValueError as error:
            raise ConfigError(f"--{flag}: {key}: {value!r} is {error}") from error
    return found


def node_masks(arguments: Mapping[str, float], cluster: Sequence[Network]) -> tuple[int, int]:
    """Return the prefix lengths of a node's IPv4 and IPv6 range."""
    common = arguments.get("node-cidr-mask-size")
    sizes = {
        4: int(arguments.get("node-cidr-mask-size-ipv4", common if common is not None else 24)),
        6: int(arguments.get("node-cidr-mask-size-ipv6", common if common is not None and len(cluster) == 1 else 64)),
    }
    for net in cluster:
        size = sizes[net.version]
        if not net.prefixlen <= size <= net.max_prefixlen - 2:
            raise ConfigError(
                f"a node's range of /{size} does not fit into --cluster-cidr {net}; "
                f"set node-cidr-mask-size-ipv{net.version} by --kube-controller-manager-arg"
            )
        if size - net.prefixlen > 16:
            raise ConfigError(
                f"--cluster-cidr {net} holds more than 65536 node ranges of /{size}; "
                "use a smaller range or larger node ranges"
            )
    return sizes[4], sizes[6]
