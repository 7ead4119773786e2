"""The name servers and search domains of a pod, and its names. Pure.

Sources: Kubernetes documentation, "DNS for Services and Pods" (dnsPolicy, dnsConfig, hostname and subdomain).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from wherry.kube.objects import Pod, PodDNSConfig
from wherry.pods.sandbox.model import Dns

_MOST_SERVERS = 3
_MOST_SEARCHES = 32
_LONGEST_SEARCH = 2048
_LONGEST_NAME = 63
_LONGEST_KERNEL_NAME = 64


class NameTooLong(ValueError):
    """The kernel has no room for the pod's full name."""


class PodNames(NamedTuple):
    """What a pod is called."""

    hostname: str
    """What its kernel reports."""
    fqdn: str
    """Empty without a subdomain."""
    short: str
    """The name without a domain."""


class ClusterDns(msgspec.Struct, frozen=True):
    """Where the cluster's own DNS answers and what it is called, and the node's own settings."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"
    node: Dns = Dns()


def pod_dns(pod: Pod, cluster: ClusterDns) -> Dns:
    """Return the contents of the pod's resolv.conf."""
    policy = pod.spec.dns_policy
    if policy == "None":
        base = Dns()
    elif policy == "Default" or (policy == "ClusterFirst" and pod.spec.host_network) or not cluster.servers:
        base = cluster.node
    else:
        domain = cluster.domain
        own = (f"{pod.namespace}.svc.{domain}", f"svc.{domain}", domain)
        base = Dns(cluster.servers, _unique(own, cluster.node.searches), ("ndots:5",))
    config = pod.spec.dns_config
    return base if config is None else _merged(base, config)


def _merged(base: Dns, config: PodDNSConfig) -> Dns:
    servers = _unique(base.servers, config.nameservers)
    searches = _unique(base.searches, config.searches)
    options = {option.partition(":")[0]: option for option in base.options}
    for option in config.options:
        options[option.name] = option.name if option.value is None else f"{option.name}:{option.value}"
    return Dns(servers, searches, tuple(options.values()))


def fitted(dns: Dns) -> tuple[Dns, tuple[str, ...]]:
    """Return what of it resolvers take, and for each part that was cut what the kubelet says of that."""
    searches = dns.searches[:_MOST_SEARCHES]
    while len(" ".join(searches)) > _LONGEST_SEARCH:
        searches = searches[:-1]
    servers = dns.servers[:_MOST_SERVERS]
    said: list[str] = []
    if searches != dns.searches:
        said.append(
            "Search Line limits were exceeded, some search paths have been omitted, "
            f"the applied search line is: {' '.join(searches)}"
        )
    if servers != dns.servers:
        said.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {' '.join(servers)}"
        )
    return Dns(servers, searches, dns.options), tuple(said)


def _unique(first: tuple[str, ...], then: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *then)))


def read_resolv_conf(text: str) -> Dns:
    """Read a node's resolv.conf; lines of other kinds are passed over, as resolvers do."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(words[1:])
        elif words[0] == "options":
            options.extend(words[1:])
    return Dns(tuple(servers[:_MOST_SERVERS]), searches, tuple(options))


def pod_names(pod: Pod, domain: str) -> PodNames:
    """Return the pod's names. Raises `NameTooLong` for a full name that is to be the hostname and does not fit."""
    if pod.spec.hostname_override is not None:
        name = pod.spec.hostname_override
        return PodNames(name, "", name)
    name = (pod.spec.hostname or pod.name)[:_LONGEST_NAME].rstrip("-.")
    if not pod.spec.subdomain:
        return PodNames(name, "", name)
    full = f"{name}.{pod.spec.subdomain}.{pod.namespace}.svc.{domain}"
    if not pod.spec.set_hostname_as_fqdn:
        return PodNames(name, full, name)
    if len(full) > _LONGEST_KERNEL_NAME:
        raise NameTooLong(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({_LONGEST_KERNEL_NAME} characters is the max, {len(full)} characters requested)"
        )
    return PodNames(full, full, name)
