"""What a pod sandbox is made from and what it consists of."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from msgspec import Struct

from wherry.pods.model import Mount, Protocol

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Dns(Struct, frozen=True):
    """Contents of the pod's /etc/resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class HostAlias(Struct, frozen=True):
    """One entry of ``spec.hostAliases``."""

    ip: str
    hostnames: tuple[str, ...]


class HostPort(Struct, frozen=True):
    """A port of the node that leads to one of the pod's; ``host_ip`` is empty for every address of the node.

    With ``interface`` it is a port of that interface's addresses, whichever they are; ``host_ip`` says nothing then.
    """

    protocol: Protocol
    host_port: int
    container_port: int
    host_ip: str = ""
    interface: str = ""


class SandboxSpec(Struct, frozen=True, omit_defaults=True):
    """The pod's part in its sandbox.

    ``hostname`` is what the container's kernel reports (the kubelet's rule: spec.hostname or the pod's name, at most
    63 characters); ``fqdn`` is the fully qualified name for /etc/hosts, empty when the pod has no subdomain.
    """

    uid: str
    namespace: str
    name: str
    hostname: str
    fqdn: str = ""
    short: str = ""
    """The name in /etc/hosts beside ``fqdn``, where ``hostname`` is the full name; empty: ``hostname``."""
    host_network: bool = False
    dns: Dns = Dns()
    host_aliases: tuple[HostAlias, ...] = ()
    sysctls: dict[str, str] = {}
    """``spec.securityContext.sysctls`` (net.* only), written into the pod's namespace."""
    ports: tuple[HostPort, ...] = ()
    """None of a hostNetwork pod: its programs listen on the node themselves."""


class Sandbox(Struct, frozen=True, omit_defaults=True):
    """A complete sandbox: every packet path works before its first container starts."""

    uid: str
    namespace: str
    name: str
    hostname: str
    netns: str | None
    """Path of the network namespace; None for hostNetwork (the node's own)."""
    addresses: tuple[str, ...] = ()
    """Pod addresses, in the order of the node's ranges (the first is status.podIP); empty for hostNetwork."""
    host_interface: str = ""
    """Name of the node's end of the veth pair; empty for hostNetwork."""
    files: tuple[Mount, ...] = ()
    """/etc/hosts, /etc/hostname and /etc/resolv.conf, ready to be put into every ContainerSpec.mounts."""
    ports: tuple[HostPort, ...] = ()
    """Its host ports."""
