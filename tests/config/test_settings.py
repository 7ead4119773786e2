"""Settings are checked as a whole; an error names the flag."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from wherry.config.errors import ConfigError
from wherry.config.resolve import resolve
from wherry.config.settings import Settings, settings_from


def settings(**flags: str | list[str]) -> Settings:
    given = {name.replace("_", "-"): [v] if isinstance(v, str) else v for name, v in flags.items()}
    return settings_from(resolve("server", given, {"WHERRY_CONFIG_FILE": "/dev/null"}), host_name="Host-1")


def test_defaults_are_those_of_k3s() -> None:
    s = settings()
    assert s.cluster_cidrs == (ip_network("10.42.0.0/16"),)
    assert s.service_cidrs == (ip_network("10.43.0.0/16"),)
    assert s.cluster_dns == (ip_address("10.43.0.10"),)
    assert (s.node_ports, s.cluster_domain, s.overlay_backend) == ((30000, 32767), "cluster.local", "vxlan")
    assert (s.node_name, s.https_listen_port, s.max_pods) == ("host-1", 6443, 110)
    assert (s.not_ready_toleration_seconds, s.node_monitor_grace_seconds) == (300, 40.0)


def test_dual_stack() -> None:
    s = settings(cluster_cidr="10.42.0.0/16,fd00:42::/56", service_cidr=["10.43.0.0/16", "fd00:43::/112"])
    assert [str(a) for a in s.cluster_dns] == ["10.43.0.10", "fd00:43::a"]
    assert s.node_mask_sizes == (24, 64)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"cluster_cidr": "10.42.0.0"}, "too small|does not fit"),
        ({"cluster_cidr": "10.42.0.1/16"}, "--cluster-cidr"),
        ({"cluster_cidr": "10.42.0.0/16,10.44.0.0/16"}, "one range, or one IPv4 and one IPv6"),
        ({"cluster_cidr": "fd00:42::/56"}, "same address families"),
        ({"cluster_cidr": "10.43.128.0/17"}, "overlap"),
        ({"service_cidr": "10.0.0.0/8"}, "too large"),
        ({"service_cidr": "10.43.0.0/30"}, "too small"),
        ({"cluster_dns": "10.42.0.10"}, "none of the service ranges"),
        ({"cluster_dns": "ten"}, "no IP address"),
        ({"https_listen_port": "70000"}, "no port"),
        ({"service_node_port_range": "32000-30000"}, "no range of ports"),
        ({"flannel_backend": "wireguard-native"}, "vxlan, host-gw, none"),
        ({"node_label": "a"}, "key=value"),
        ({"node_taint": "a=b:Sometimes"}, "NoExecute"),
        ({"node_ip": "10.0.0.1,10.0.0.2"}, "--node-ip: give one address, or one IPv4 and one IPv6"),
        ({"node_ip": "10.0.0.1,ten"}, "--node-ip: 'ten'"),
        ({"node_ip": "127.0.0.1"}, "by which other nodes reach"),
        ({"node_external_dns": "a_b.example"}, "--node-external-dns: 'a_b.example' is no DNS name"),
        ({"kubelet_arg": "cloud-provider=aws"}, "neither external nor empty"),
        ({"node_name": "Node_1"}, "no DNS name"),
        ({"cluster_domain": "a..b"}, "no DNS name"),
        ({"server": "http://x"}, "https://HOST:PORT"),
        ({"write_kubeconfig_mode": "rw"}, "no file mode"),
        ({"images": "/nonexistent"}, "no file that can be read"),
        ({"kubelet_arg": "max-pods=many"}, "no whole number"),
        ({"kubelet_arg": "colour=red"}, "max-pods"),
        ({"kube_controller_manager_arg": "node-monitor-grace-period=1y"}, "no duration"),
        ({"kube_controller_manager_arg": "node-cidr-mask-size=12"}, "does not fit"),
        ({"disable": "Trae fik"}, "names no component"),
    ],
)  # fmt: skip
def test_bad_values_are_named(flags: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**flags)


def test_arguments_of_components() -> None:
    s = settings(
        kube_controller_manager_arg=["node-monitor-grace-period=1m30s", "node-cidr-mask-size=26"],
        kube_apiserver_arg="default-unreachable-toleration-seconds=7",
        kubelet_arg="max-pods=250",
        disable="coredns,traefik",
    )
    assert (s.node_monitor_grace_seconds, s.node_mask_sizes[0], s.max_pods) == (90.0, 26, 250)
    assert (s.unreachable_toleration_seconds, s.disable) == (7, ("coredns", "traefik"))


def test_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("secret\n")
    assert settings(token_file=str(tmp_path / "t")).token == "secret"
    with pytest.raises(ConfigError, match="give one"):
        settings(token_file=str(tmp_path / "t"), token="x")
