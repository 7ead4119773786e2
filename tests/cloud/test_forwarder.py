"""The program of a load balancer's pod: its rules as text, and with packets in namespaces."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cloud.forwarders import forwarding, pod
from wherry.cloud.forwarder.program import READY_FILE, BadInput, relay_arguments, ruleset
from wherry.cloud.servicelb import daemonset
from wherry.kernel import netns, sysctl
from wherry.kernel.testing import udp_ask, udp_echo, wait_for

__all__ = ["pod"]

ENV = {"SRC_PORT": "7007", "DEST_PROTO": "UDP", "DEST_PORT": "7008", "SRC_RANGES": "0.0.0.0/0,::/0"}
DUAL = {**ENV, "DEST_IPS": "192.0.2.3,fd00::3"}
BOTH = {4: True, 6: True}


def rules(env: dict[str, str], forwarding: dict[int, bool]) -> list[str]:
    return [line.strip() for line in ruleset(env, forwarding).splitlines()]


def test_rules_of_both_families() -> None:
    found = rules(DUAL, BOTH)
    assert found[:2] == ["add table inet wherry-lb-UDP-7007", "delete table inet wherry-lb-UDP-7007"]
    assert "meta nfproto ipv4 udp dport 7007 dnat ip to 192.0.2.3:7008" in found
    assert "meta nfproto ipv6 udp dport 7007 dnat ip6 to [fd00::3]:7008" in found
    assert "ct status dnat ip daddr 192.0.2.3 udp dport 7008 masquerade" in found


def test_a_family_that_the_pod_does_not_forward_is_left_out() -> None:
    assert not any("ip6" in line for line in rules(DUAL, {4: True, 6: False}))
    with pytest.raises(BadInput, match="does not forward IPv4, IPv6: set its sysctls"):
        ruleset(DUAL, {4: False, 6: False})


def test_of_several_addresses_of_a_family_the_last_counts() -> None:
    found = rules({**ENV, "DEST_IPS": "192.0.2.3,192.0.2.4"}, BOTH)
    assert [line for line in found if "dnat ip to" in line] == [
        "meta nfproto ipv4 udp dport 7007 dnat ip to 192.0.2.4:7008"
    ]


def test_a_family_without_a_source_range_lets_nobody_in() -> None:
    found = rules({**DUAL, "SRC_RANGES": "10.0.0.0/8"}, BOTH)
    assert "ip saddr 10.0.0.0/8 ip daddr 192.0.2.3 udp dport 7008 accept" in found
    assert [line for line in found if "ip6 daddr" in line and "masquerade" not in line] == [
        "ip6 daddr fd00::3 udp dport 7008 drop"
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"SRC_PORT": "70000"}, "SRC_PORT is '70000'"),
        ({"DEST_PORT": ""}, "DEST_PORT is ''"),
        ({"DEST_PROTO": "ICMP"}, "DEST_PROTO"),
        ({"DEST_IPS": ""}, "nowhere"),
        ({"DEST_IPS": "web"}, "DEST_IPS is 'web'"),
        ({"SRC_RANGES": "10.0.0.0/40"}, "SRC_RANGES"),
        ({"PROXY_PROTOCOL": "v2"}, "PROXY_PROTOCOL is 'v2': there is v2 alone, for TCP"),
        ({"PROXY_PROTOCOL": "v1", "DEST_PROTO": "TCP"}, "PROXY_PROTOCOL is 'v1'"),
    ],
)
def test_bad_input_names_the_variable(change: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        ruleset(DUAL | change, BOTH)


def test_a_port_with_proxy_headers_is_guarded_rather_than_forwarded() -> None:
    env = {**DUAL, "DEST_PROTO": "TCP", "PROXY_PROTOCOL": "v2", "SRC_RANGES": "192.0.2.0/24,fd00::/64"}
    found = rules(env, {4: False, 6: False})
    assert not any("dnat" in line for line in found)
    assert [line for line in found if line.endswith(("accept", "drop"))] == [
        'iif "lo" accept',
        "ip saddr 192.0.2.0/24 tcp dport 7007 accept",
        "ip6 saddr fd00::/64 tcp dport 7007 accept",
        "tcp dport 7007 drop",
    ]
    assert relay_arguments(env) == ["7007", "7008", "192.0.2.3", "fd00::3"]


def test_the_daemon_set_waits_for_what_the_program_makes() -> None:
    assert daemonset.READY_FILE == READY_FILE


def tables(place: str) -> str:
    done = netns.run_in(place, lambda: subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True))
    return done.stdout.decode()


@pytest.mark.netns
def test_promise_15_packets_reach_the_destination_masqueraded(pod: str) -> None:
    client, server = "/run/netns/client", "/run/netns/server"
    with udp_echo(server, port=7008), forwarding(pod, DUAL) as process:
        wait_for(Path(READY_FILE).exists)
        assert udp_ask("192.0.2.2", netns_path=client, port=7007).seen_from == "192.0.2.2"
        assert udp_ask("fd00::2", netns_path=client, port=7007).seen_from == "fd00::2"
        before = tables(pod)
        with forwarding(pod, DUAL):
            wait_for(Path(READY_FILE).exists)
            assert tables(pod) == before
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert tables(pod) == ""


@pytest.mark.netns
def test_source_ranges_hold(pod: str) -> None:
    client, server = "/run/netns/client", "/run/netns/server"
    with udp_echo(server, port=7008), forwarding(pod, {**DUAL, "SRC_RANGES": "192.0.2.1/32"}):
        wait_for(Path(READY_FILE).exists)
        assert udp_ask("192.0.2.2", netns_path=client, port=7007).answered
        assert not udp_ask("fd00::2", netns_path=client, port=7007, within=0.3).answered
        assert not udp_ask("192.0.2.2", netns_path=server, port=7007, within=0.3).answered


@pytest.mark.netns
def test_datagrams_that_came_before_the_rules_do_not_spoil_the_connection(pod: str) -> None:
    with netns.entered("/run/netns/client"):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other = {**ENV, "DEST_IPS": "192.0.2.3", "SRC_PORT": "7009"}
    with client, udp_echo("/run/netns/server", port=7008), forwarding(pod, other):
        # The rules of another port: from then on the kernel remembers connections.
        wait_for(Path(READY_FILE).exists)
        client.bind(("192.0.2.1", 5555))
        client.settimeout(0.1)
        client.sendto(b"early", ("192.0.2.2", 7007))
        with pytest.raises(TimeoutError):
            client.recv(64)
        with forwarding(pod, DUAL):
            wait_for(Path(READY_FILE).exists)
            client.settimeout(3)
            client.sendto(b"late", ("192.0.2.2", 7007))
            assert client.recv(64) == b"192.0.2.2"


@pytest.mark.netns
def test_what_cannot_be_forwarded_is_never_ready(pod: str) -> None:
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        sysctl.set(name, 0, netns_path=pod)
    with forwarding(pod, DUAL) as process:
        assert process.wait(5) == 1
    assert not Path(READY_FILE).exists()
