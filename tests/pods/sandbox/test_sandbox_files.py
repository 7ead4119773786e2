from wherry.pods.sandbox.files import hostname, hosts, resolv_conf
from wherry.pods.sandbox.model import Dns, HostAlias, SandboxSpec
from wherry.pods.sandbox.names import host_interface, is_host_interface, pod_mac, valid_uid


def spec(**changes):
    return SandboxSpec(**{"uid": "u", "namespace": "shop", "name": "web", "hostname": "web", **changes})


def test_hosts_names_the_pod_for_each_of_its_addresses():
    text = hosts(spec(fqdn="web.db.shop.svc.cluster.local"), addresses=["10.42.0.5", "fd00::5"], node_hosts="never")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert text.endswith("10.42.0.5\tweb.db.shop.svc.cluster.local\tweb\nfd00::5\tweb.db.shop.svc.cluster.local\tweb\n")


def test_hosts_ends_with_the_aliases():
    aliases = (HostAlias(ip="192.0.2.1", hostnames=("a", "b")),)
    text = hosts(spec(host_aliases=aliases), addresses=["10.42.0.5"], node_hosts="")
    assert text.endswith("10.42.0.5\tweb\n\n# Entries added by HostAliases.\n192.0.2.1\ta\tb\n")


def test_a_host_network_pod_sees_the_nodes_hosts():
    text = hosts(spec(host_network=True), addresses=[], node_hosts="127.0.0.1 here")
    assert text == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 here\n"


def test_resolv_conf():
    dns = Dns(servers=("10.43.0.10", "192.0.2.2"), searches=("a.svc", "svc"), options=("ndots:5", "edns0"))
    expected = "search a.svc svc\nnameserver 10.43.0.10\nnameserver 192.0.2.2\noptions ndots:5 edns0\n"
    assert resolv_conf(dns) == expected
    assert resolv_conf(Dns()) == ""


def test_hostname():
    assert hostname(spec(hostname="x")) == "x\n"


def test_interface_names_fit_the_kernel_and_are_told_apart():
    seen = {host_interface(f"uid-{number}") for number in range(500)}
    assert len(seen) == 500
    assert all(len(name) == 15 and is_host_interface(name) for name in seen)
    assert not is_host_interface("pod0")
    assert not is_host_interface("eth0")


def test_hardware_addresses_are_local_unicast_and_stable():
    assert pod_mac("a").startswith("02:")
    assert len(pod_mac("a")) == 17
    assert pod_mac("a") == pod_mac("a") != pod_mac("b")


def test_uids_that_could_leave_the_directory_are_refused():
    assert valid_uid("0b9a5f2e-0f6f-4d5c-9a4e-1c6a7a1e2b3c")
    assert not any(valid_uid(uid) for uid in ("", "..", "../x", "a/b", "a\n", ".hidden", "x" * 200))
