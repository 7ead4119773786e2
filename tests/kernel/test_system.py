"""sysctl, connection tracking and the feature check."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from wherry.kernel import features, sysctl
from wherry.kernel.conntrack import UDP, Conntrack
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft
from wherry.kernel.testing import Lan, udp_ask, udp_echo


@pytest.mark.netns
def test_sysctl_belongs_to_the_namespace(lan: Lan) -> None:
    a, b = lan.join("a"), lan.join("b")
    assert sysctl.set("net.ipv4.ip_forward", 1, netns_path=a) is True
    assert sysctl.set("net.ipv4.ip_forward", 1, netns_path=a) is False
    assert sysctl.get("net/ipv4/ip_forward", netns_path=a) == "1"
    assert sysctl.get("net.ipv4.ip_forward", netns_path=b) == "0"
    assert sysctl.path("net/ipv4/conf/flannel.1/rp_filter") == Path("/proc/sys/net/ipv4/conf/flannel.1/rp_filter")
    with pytest.raises(FileNotFoundError):
        sysctl.get("net.ipv4.none")


@pytest.mark.netns
async def test_deleted_connections_are_judged_anew(lan: Lan) -> None:
    """A UDP flow follows its entry to the old endpoint until that is deleted."""
    client = lan.join("client", "192.0.2.1/24", "fd00::1/64")
    lan.join("old", "192.0.2.2/24", "fd00::2/64")
    lan.join("new", "192.0.2.3/24", "fd00::3/64")
    nft = Nft(client)

    def rules(last: int) -> str:
        return (
            "add table inet t; delete table inet t; add table inet t; "
            "add chain inet t out { type nat hook output priority -100; }; "
            f"add rule inet t out ip daddr 198.51.100.1 udp dport 53 dnat ip to 192.0.2.{last}:7007; "
            f"add rule inet t out ip6 daddr fd99::1 udp dport 53 dnat ip6 to [fd00::{last}]:7007"
        )

    with Netlink(client) as link:
        link.route_replace("0.0.0.0/0", dev="eth0")
        link.route_replace("::/0", dev="eth0")
    with udp_echo("/run/netns/old"), udp_echo("/run/netns/new"), Conntrack(client) as table:
        await nft.commit(rules(2))
        for service, source, old, new in (
            ("198.51.100.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"), ("fd99::1", "fd00::1", "fd00::2", "fd00::3"),
        ):  # fmt: skip
            await nft.commit(rules(2))
            assert udp_ask(service, netns_path=client, port=53).answered
            (entry,) = [one for one in table.entries() if one.original.dst == ip_address(service)]
            assert (str(entry.reply.src), entry.original.dport, str(entry.original.src)) == (old, 53, source)
            await nft.commit(rules(3))
            assert table.delete_to(ip_address(service), 54, protocol=UDP) == 0
            assert table.delete_to(ip_address(service), 53, protocol=UDP) == 1
            assert [one for one in table.entries() if one.original.dst == ip_address(service)] == []
            assert udp_ask(service, netns_path=client, port=53).answered
            (entry,) = [one for one in table.entries() if one.original.dst == ip_address(service)]
            assert str(entry.reply.src) == new
        assert table.delete(lambda entry: entry.original.protocol == socket.IPPROTO_TCP) == 0
    await nft.close()


def test_this_machine_has_what_the_tests_need() -> None:
    assert features.check() == []


def test_a_missing_feature_gives_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.kernel.nft._SEARCH_PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    (missing,) = features.check()
    assert (missing.feature, missing.line.count("\n")) == ("nft", 0)


@pytest.mark.netns
def test_a_refused_kernel_feature_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(95, "Operation not supported")

    table = (("wormhole", refuse, "buy one"), *features.FEATURES[:1])
    monkeypatch.setattr(features, "FEATURES", table)
    assert [one.line for one in features.attempt_all(["wormhole", "veth"])] == [
        "the kernel lacks wormhole ([Errno 95] Operation not supported); buy one"
    ]
