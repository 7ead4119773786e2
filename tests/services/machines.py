"""Machines of a small cluster, with programs that say who they are, for tests that send real packets."""

import socket
from contextlib import contextmanager
from threading import Thread
from typing import NamedTuple

from msgspec import structs

from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Netlink
from wherry.services.names import Ranges

RANGES = Ranges(cluster=("10.42.0.0/16", "fd42::/16"), own=("10.42.0.0/24", "fd42::/64"))
WITH_SERVICES = structs.replace(RANGES, services=("10.43.0.0/16", "fd43::/112"))
PORT = 8080
NODE_ADDRESS = {4: "172.30.0.11", 6: "fd00:30::11"}
VISITOR = {4: "10.42.1.9", 6: "fd42:1::9"}
"""Of a pod on the machine ``far`` that serves nothing."""


class Pod(NamedTuple):
    name: str
    netns: str
    v4: str
    v6: str
    node: str

    def address(self, family):
        return self.v4 if family == 4 else self.v6


class Cluster:
    """``node`` with two pods, machines with the addresses of a pod each, and ``outside`` on the same LAN.

    All of them send what is for load balancers (192.0.2.0/24, 2001:db8::/64) to ``node``.
    """

    def __init__(self, lan, make_netns):
        self.make_netns = make_netns
        self.node = lan.join("node", "172.30.0.11/24", "fd00:30::11/64")
        self.outside = lan.join("outside", "172.30.0.1/24", "fd00:30::1/64")
        far = lan.join(
            "far", "172.30.0.12/24", "fd00:30::12/64", "10.42.1.2/32", "fd42:1::2/128", "10.42.1.9/32", "fd42:1::9/128"
        )
        self.far = Pod("far", far, "10.42.1.2", "fd42:1::2", "node-2")
        further = lan.join("further", "172.30.0.13/24", "fd00:30::13/64", "10.42.2.2/32", "fd42:2::2/128")
        self.further = Pod("further", further, "10.42.2.2", "fd42:2::2", "node-3")
        self.route(self.node, "172.30.0.1", "fd00:30::1", "0.0.0.0/0", "::/0")
        self.route(self.node, "172.30.0.12", "fd00:30::12", "10.42.1.0/24", "fd42:1::/64")
        self.route(self.node, "172.30.0.13", "fd00:30::13", "10.42.2.0/24", "fd42:2::/64")
        for machine in (far, further):
            self.route(machine, "172.30.0.11", "fd00:30::11", "10.42.0.0/24", "fd42::/64")
        for machine in (far, self.outside):
            self.route(machine, "172.30.0.11", "fd00:30::11", "192.0.2.0/24", "2001:db8::/64")
        self.route(self.outside, "172.30.0.11", "fd00:30::11", "10.43.0.0/16", "fd43::/112")
        self.introduce({self.node: "11", far: "12", further: "13", self.outside: "1"})
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            sysctl.set(name, 1, netns_path=self.node)
        self.one, self.two = self.pod("one", 2), self.pod("two", 3)

    @staticmethod
    def introduce(hosts):
        """Neighbours know each other: IPv6 address resolution takes two seconds on a new device."""
        macs = {}
        for path, host in hosts.items():
            with Netlink(path) as link:
                macs[host] = link.link_get("eth0").mac
        for path, own in hosts.items():
            with Netlink(path) as link:
                for host, mac in macs.items():
                    if host != own:
                        link.neigh_replace("eth0", f"172.30.0.{host}", mac)
                        link.neigh_replace("eth0", f"fd00:30::{host}", mac)

    @staticmethod
    def route(where, v4, v6, dst4, dst6):
        with Netlink(where) as link:
            link.route_replace(dst4, via=v4)
            link.route_replace(dst6, via=v6)

    def pod(self, name, number):
        path = self.make_netns(name)
        pod = Pod(name, path, f"10.42.0.{number}", f"fd42::{number}", "node-1")
        near, inner = f"02:00:00:00:00:0{number}", f"02:00:00:00:01:0{number}"
        with Netlink(self.node) as link, Netlink(path) as inside:
            link.link_add_veth(f"v{name}", "eth0", path, mac=near, peer_mac=inner, up=True)
            inside.link_set("eth0", up=True)
            for address, prefix, gateway in ((pod.v4, 32, "169.254.1.1"), (pod.v6, 128, "fe80::1")):
                inside.addr_add("eth0", address, prefix)
                inside.neigh_replace("eth0", gateway, near)
                link.route_replace(f"{address}/{prefix}", dev=f"v{name}")
                link.neigh_replace(f"v{name}", address, inner)
            inside.route_replace("0.0.0.0/0", via="169.254.1.1", dev="eth0", onlink=True)
            inside.route_replace("::/0", via="fe80::1", dev="eth0")
        return pod


class Answer(NamedTuple):
    server: str
    client: str


def connection(where, address, kind=socket.SOCK_STREAM, *, timeout=3.0, source=""):
    with netns.entered(where):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.settimeout(timeout)
    if source:
        made.bind((source, 0))
    return made


def ask(where, address, port=80, *, kind=socket.SOCK_STREAM, timeout=3.0):
    """Who answers at an address, and whom it takes us for; or the error."""
    with connection(where, address, kind, timeout=timeout) as client:
        try:
            client.connect((address, port))
            client.send(b"?")
            return Answer(*client.recv(200).decode().split())
        except OSError as error:
            return type(error)


@contextmanager
def serving(pod):
    """A program in a pod that says its name and the client's address, over TCP and UDP and in both families."""
    with netns.entered(pod.netns):
        stream = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000)
        datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # of several addresses the answer must come from the one that was asked
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    datagrams.bind(("::", PORT))

    def text(sender):
        return f"{pod.name} {sender[0].removeprefix('::ffff:')}".encode()

    def serve_streams():
        while True:
            client, sender = stream.accept()
            with client:
                if client.recv(10) == b"stop":
                    return
                client.sendall(text(sender))

    def serve_datagrams():
        while True:
            data, control, _, sender = datagrams.recvmsg(10, 256)
            if data == b"stop":
                return
            datagrams.sendmsg([text(sender)], control, 0, sender)

    threads = [Thread(target=serve_streams), Thread(target=serve_datagrams)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with connection(pod.netns, "::1", kind) as end:
                end.connect(("::1", PORT))
                end.send(b"stop")
        for thread in threads:
            thread.join()
        stream.close()
        datagrams.close()
