"""Which kernel parameters a pod may set. Pure.

Source: Kubernetes documentation, "Using sysctls in a Kubernetes Cluster" (the safe set), with the kubelet's messages.
"""

from __future__ import annotations

from wherry.kube.objects import Pod

_NETWORK = "net.ipv4."
SAFE = frozenset(
    {
        "kernel.shm_rmid_forced",
        *(
            _NETWORK + name
            for name in (
                "ip_local_port_range",
                "ip_local_reserved_ports",
                "ip_unprivileged_port_start",
                "ping_group_range",
                "tcp_fin_timeout",
                "tcp_keepalive_intvl",
                "tcp_keepalive_probes",
                "tcp_keepalive_time",
                "tcp_rmem",
                "tcp_syncookies",
                "tcp_wmem",
            )
        ),
    }
)
"""What the kubelet lets every pod set."""

FORWARDING = frozenset({"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"})
"""What is let beyond that, as K3s' kubelet does (`--allowed-unsafe-sysctls`): load-balancer pods forward."""


def normalised(name: str) -> str:
    """Return a parameter's name with dots between its parts, as `net/ipv4/tcp_syncookies` is another spelling."""
    first = min((name.find(mark) for mark in "./" if mark in name), default=-1)
    return name.translate(str.maketrans("./", "/.")) if first >= 0 and name[first] == "/" else name


def forbidden(pod: Pod) -> str | None:
    """Say what the kubelet says of the first parameter that a pod may not set; None: it may set them all."""
    for name in pod_sysctls(pod):
        if name not in SAFE | FORWARDING:
            return f'forbidden sysctl: "{name}" not allowlisted'
        if name.startswith("net.") and pod.spec.host_network:
            return f'forbidden sysctl: "{name}" not allowed with host net enabled'
        if name.startswith("kernel.") and pod.spec.host_ipc:
            return f'forbidden sysctl: "{name}" not allowed with host ipc enabled'
    return None


def network_sysctls(pod: Pod) -> dict[str, str]:
    """Return the parameters that belong to the pod's network."""
    return {name: value for name, value in pod_sysctls(pod).items() if name.startswith("net.")}


def pod_sysctls(pod: Pod) -> dict[str, str]:
    """Return every parameter the pod sets, by its normalised name."""
    context = pod.spec.security_context
    return {} if context is None else {normalised(one.name): one.value for one in context.sysctls}
