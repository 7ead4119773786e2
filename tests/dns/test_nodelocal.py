"""A node's own DNS: the Corefile it gets, and where packets go while it answers, and while it does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest

from tests.services.machines import NODE_ADDRESS, PORT, WITH_SERVICES, Cluster, ask, serving
from wherry.dns.nodelocal import probe
from wherry.dns.nodelocal.apply import Redirect
from wherry.dns.nodelocal.corefile import for_node
from wherry.dns.nodelocal.files import Folder
from wherry.dns.nodelocal.rules import TABLE
from wherry.kernel import netns
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft, NftError
from wherry.kernel.testing import *  # noqa: F403
from wherry.kernel.testing import Lan
from wherry.kube.keys import Key
from wherry.kube.objects import (
    ConfigMap,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
)
from wherry.services.apply import ServiceTable
from wherry.services.compile import compile_service
from wherry.services.topology import Place

PATHS = {"/etc/coredns/": "/run/w/dns/", "/etc/resolv.conf": "/run/w/dns/resolv.conf"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            ".:53 {\n errors\n health {\n  lameduck 5s\n }\n ready\n prometheus :9153\n}\n",
            ".:53 {\n errors\n\n\n\n\n\n}\n",
        ),
        (".:53,\nexample.:53 {\n ready\n}\n", ".:53,\nexample.:53 {\n\n}\n"),
        ("# none\n.\nready\nlog\n", "# none\n.\n\nlog\n"),
        ('. {\n log . "health {" # {\n ready # :8181 {\n}\n', '. {\n log . "health {" # {\n\n}\n'),
        (
            "import x\n. {\n ready\n hosts {\n  ready 10.0.0.1\n }\n}\n",
            "import x\n. {\n\n hosts {\n  ready 10.0.0.1\n }\n}\n",
        ),
        (
            ". {\n forward . /etc/resolv.conf\n import /etc/coredns/custom/*.override\n}\n",
            ". {\n forward . /run/w/dns/resolv.conf\n import /run/w/dns/custom/*.override\n}\n",
        ),
        (". {\n file /srv/etc/coredns/x\n}\n", ". {\n file /srv/etc/coredns/x\n}\n"),
        (". /etc/resolv.conf.d/x", ". /etc/resolv.conf.d/x\n"),
        ("", ""),
    ],
)
def test_the_corefile_of_a_node(given: str, wanted: str) -> None:
    assert for_node(given, PATHS) == wanted


def test_a_part_of_a_block_on_a_node() -> None:
    given = "health\nhosts {\n  ready 10.0.0.1\n}\nprometheus {\n}\nlog\n"
    assert for_node(given, PATHS, part=True) == "\nhosts {\n  ready 10.0.0.1\n}\n\n\nlog\n"


def test_the_folder_holds_what_a_pod_would_see(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "dns", tmp_path / "resolv.conf")
    corefile = ". {\n health\n import /etc/coredns/custom/*.override\n}\n"
    config = ConfigMap(data={"Corefile": corefile, "NodeHosts": "10.0.0.1 a\n"}, binary_data={"zone": b"\xff"})
    folder.write(config, ConfigMap(data={"a.override": "ready\nlog", "notes": "health"}))
    root = tmp_path / "dns"
    assert folder.corefile.read_text() == f". {{\n\n import {root}/custom/*.override\n}}\n"
    assert (root / "NodeHosts").read_text() == "10.0.0.1 a\n"
    assert (root / "zone").read_bytes() == b"\xff"
    assert (root / "custom" / "a.override").read_text() == "\nlog\n"
    assert (root / "custom" / "notes").read_text() == "health"
    assert (root / "resolv.conf").readlink() == tmp_path / "resolv.conf"
    before = folder.corefile.stat()
    folder.write(ConfigMap(data={"Corefile": corefile}), None)
    assert folder.corefile.stat() == before
    assert sorted(path.name for path in root.iterdir()) == ["Corefile", "custom", "resolv.conf"]
    assert not list((root / "custom").iterdir())


VIP = {4: "10.43.0.10", 6: "fd43::a"}


@contextmanager
def answering(where: str, address: str) -> Iterator[None]:
    """A program at port 53 of one address that says `local` and the client's address, over UDP and TCP."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.entered(where):
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        stream = socket.socket(family)
    for one in (datagrams, stream):
        one.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
        one.bind((address, 53))
    stream.listen()

    def serve_datagrams() -> None:
        while True:
            data, client = datagrams.recvfrom(100)
            if data == b"stop":
                return
            datagrams.sendto(f"local {client[0]}".encode(), client)

    def serve_streams() -> None:
        while True:
            connection, client = stream.accept()
            with connection:
                if connection.recv(10) == b"stop":
                    return
                connection.sendall(f"local {client[0]}".encode())

    threads = [Thread(target=serve_datagrams), Thread(target=serve_streams)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with netns.entered(where):
                end = socket.socket(family, kind)
            with end:
                end.setsockopt(socket.SOL_IP, 15, 1)
                end.bind((address, 0))  # its own address: past translation, whatever the rules are
                end.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x2053)
                end.connect((address, 53))
                end.send(b"stop")
        for thread in threads:
            thread.join()
        datagrams.close()
        stream.close()


def dns_of(pod: object) -> dict[Key, object]:
    """The Service of cluster DNS, whose only pod is elsewhere."""
    ports = (ServicePort(name="dns", port=53, protocol="UDP"), ServicePort(name="tcp", port=53))
    service = Service(
        metadata=ObjectMeta(namespace="kube-system", name="kube-dns"),
        spec=ServiceSpec(cluster_ips=tuple(VIP.values()), ports=ports),
    )
    slices = [
        EndpointSlice(
            address_type=f"IPv{family}",
            ports=(EndpointPort(name="dns", port=PORT, protocol="UDP"), EndpointPort(name="tcp", port=PORT)),
            endpoints=(Endpoint(addresses=(pod.address(family),), node_name=pod.node),),  # type: ignore[attr-defined]
        )
        for family in (4, 6)
    ]
    return {Key("kube-system", "kube-dns"): compile_service(service, slices, place=Place("node-1"))}


def who(where: str, family: int, kind: socket.SocketKind) -> object:
    answer = ask(where, VIP[family], 53, kind=kind)
    return getattr(answer, "server", answer)


@pytest.mark.netns
@pytest.mark.parametrize("family", [4, 6])
async def test_queries_stay_on_the_node_while_its_server_answers(lan: Lan, make_netns: object, family: int) -> None:
    cluster = Cluster(lan, make_netns)
    table = ServiceTable(cluster.node, ranges=WITH_SERVICES)
    await table.sync(dns_of(cluster.far))
    nft = Nft(cluster.node)
    address = ip_address(VIP[family])
    redirect = Redirect(nft, [address], [ip_address(NODE_ADDRESS[family])], netns_path=cluster.node)
    clients = (cluster.one.netns, cluster.two.netns, cluster.node)
    kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)

    def everybody() -> set[object]:
        return {who(client, family, kind) for client in clients for kind in kinds}

    with serving(cluster.far):
        assert everybody() == {"far"}
        await redirect.start()
        assert everybody() == {"far"}
        with answering(cluster.node, VIP[family]):
            assert everybody() == {"far"}, "nobody has said yet that it answers"
            await redirect.answer([address])
            assert everybody() == {"local"}
            for client, own in ((cluster.one.netns, cluster.one.address(family)), (cluster.node, NODE_ADDRESS[family])):
                assert ask(client, VIP[family], 53, kind=socket.SOCK_DGRAM).client == own
        # It is gone and nobody has noticed: pods' queries go on at once.
        assert who(cluster.one.netns, family, socket.SOCK_DGRAM) == "far"
        await redirect.answer([])
        assert everybody() == {"far"}
        await redirect.remove()
        assert everybody() == {"far"}
    with Netlink(cluster.node) as link:
        assert not [route for route in link.route_list(table=255) if route.dst.network_address == address]
    with pytest.raises(NftError):
        await nft.list_table("inet", TABLE)
    await nft.close()
    await table.close()


@pytest.mark.netns
async def test_starting_over_after_a_crash(lan: Lan) -> None:
    node = lan.join("node", "172.30.0.11/24")
    nft = Nft(node)
    address = ip_address("10.43.0.10")
    redirect = Redirect(nft, [address], [], netns_path=node)
    assert not await redirect.stands()
    await redirect.start()
    await redirect.answer([address])
    again = Redirect(nft, [address], [], netns_path=node)
    assert await again.stands()
    await again.start([address])
    assert again.answered == {address}
    await again.answer([])
    await again.start()
    assert again.answered == frozenset()
    await redirect.remove()
    await redirect.remove()
    await nft.close()


@pytest.mark.netns
async def test_nobody_and_silence_are_no_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 0.05)
    address = ip_address("127.0.0.1")
    assert not await probe.answers(address, "cluster.local")
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        assert not await probe.answers(address, "cluster.local")
        assert len({server.recv(512, socket.MSG_DONTWAIT)[:2] for _ in range(probe.TRIES)}) > 1


@pytest.mark.netns
@pytest.mark.parametrize(("rcode", "well"), [(0, True), (3, True), (2, False)])
async def test_a_failure_is_no_answer(rcode: int, well: bool) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))

        def reply() -> None:
            query, client = server.recvfrom(512)
            server.sendto(bytes(2) + query[2:], client)  # somebody else's
            server.sendto(query[:2] + bytes((0x84, rcode)) + query[4:], client)

        thread = Thread(target=reply)
        thread.start()
        assert await probe.answers(ip_address("127.0.0.1"), "cluster.local") is well
        thread.join()
