"""The files under /etc that a pod gets: hosts, hostname, resolv.conf. Pure.

Worded as the kubelet words them (kubelet: managed hosts file), because people look for its first line.
"""

from __future__ import annotations

from collections.abc import Sequence

from wherry.pods.sandbox.model import Dns, SandboxSpec

_HOSTS = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hosts(spec: SandboxSpec, *, addresses: Sequence[str], node_hosts: str) -> str:
    """/etc/hosts; a hostNetwork pod gets the node's (``node_hosts``) with its aliases added."""
    if spec.host_network:
        end = "" if not node_hosts or node_hosts.endswith("\n") else "\n"
        text = f"# Kubernetes-managed hosts file (host network).\n{node_hosts}{end}"
    else:
        names = "\t".join(name for name in (spec.fqdn, spec.short or spec.hostname) if name)
        text = _HOSTS + "".join(f"{address}\t{names}\n" for address in addresses)
    if spec.host_aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias.ip}\t{chr(9).join(alias.hostnames)}\n" for alias in spec.host_aliases)
    return text


def resolv_conf(dns: Dns) -> str:
    """/etc/resolv.conf."""
    lines = []
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "".join(line + "\n" for line in lines)


def hostname(spec: SandboxSpec) -> str:
    """/etc/hostname."""
    return spec.hostname + "\n"
