"""The tables of the Kubernetes DNS specification 1.1.0, and what CoreDNS says beyond them.

https://github.com/kubernetes/dns/blob/master/docs/specification.md
"""

import pytest

from tests.dns.cluster import (
    OPTIONS,
    ask,
    endpoint,
    endpoint_slice,
    namespace,
    pod,
    service,
    zone_of,
)
from wherry.dns.kubernetes.lookup import Options
from wherry.dns.kubernetes.objects import (
    IMPORT_NAME_LABEL,
    SOURCE_CLUSTER_LABEL,
    ImportPort,
    ImportSpec,
    ServiceImport,
)
from wherry.kube import objects as o

ZONE = zone_of(
    namespace("empty"),
    service("kubernetes", "10.3.0.1", ports=["https:443/TCP"]),
    endpoint_slice("kubernetes", endpoint("192.168.1.5"), ports=["https:6443/TCP"]),
    service("dual", "10.3.0.2", "2001:db8::2", ports=["https:443/TCP", "dns:53/UDP", ":9/TCP"]),
    service("bare", "10.3.0.3", ports=[]),
    service("headless", "None", ports=["https:443/TCP"]),
    endpoint_slice(
        "headless",
        endpoint("10.3.0.100", hostname="my-pet"),
        endpoint("10.3.0.101", hostname="my-pet-2", ready=None),
        endpoint("10.3.0.102", hostname="sick", ready=False),
        ports=["https:443/TCP"],
    ),
    endpoint_slice("headless", endpoint("2001:db8::1", hostname="my-pet"), name="headless-6", ports=["https:443/TCP"]),
    service("plain", "None", ports=[]),
    endpoint_slice("plain", endpoint("10.3.0.110", pod="plain-0"), endpoint("2001:db8:1::", pod="x" * 64), ports=[]),
    service("nobody", "None"),
    service("outside", external="www.example.com"),
    service("inside", external="dual.default.svc.cluster.local"),
    service("address", external="10.9.9.9"),
    service("loop", external="loop.default.svc.cluster.local"),
    service("ping", external="pong.default.svc.cluster.local"),
    service("pong", external="ping.default.svc.cluster.local"),
    service("lost", external="nothing.default.svc.cluster.local"),
    service("web", "10.3.0.4", namespace="shop"),
    endpoint_slice("web", endpoint("10.3.0.100"), namespace="shop"),
    endpoint_slice("orphan", endpoint("10.3.0.150", hostname="o")),
    pod("a", "10.3.0.100", "2001:db8::1"),
    pod("b", "10.3.0.101", namespace="shop"),
)

# 2.2 to 2.5 of the specification: question, then what is said.
SPECIFIED = [
    ('dns-version.cluster.local TXT', 'dns-version.cluster.local. 28800 TXT "1.1.0"'),
    ("kubernetes.default.svc.cluster.local A", "kubernetes.default.svc.cluster.local. A 10.3.0.1"),
    ("kubernetes.default.svc.cluster.local AAAA", "SOA"),
    ("dual.default.svc.cluster.local A", "dual.default.svc.cluster.local. A 10.3.0.2"),
    ("dual.default.svc.cluster.local AAAA", "dual.default.svc.cluster.local. AAAA 2001:db8::2"),
    (
        "_https._tcp.kubernetes.default.svc.cluster.local SRV",
        "_https._tcp.kubernetes.default.svc.cluster.local. SRV 0 100 443 kubernetes.default.svc.cluster.local.",
        "+ kubernetes.default.svc.cluster.local. A 10.3.0.1",
    ),
    ("1.0.3.10.in-addr.arpa PTR", "1.0.3.10.in-addr.arpa. PTR kubernetes.default.svc.cluster.local."),
    (
        "headless.default.svc.cluster.local A",
        "headless.default.svc.cluster.local. A 10.3.0.100",
        "headless.default.svc.cluster.local. A 10.3.0.101",
    ),
    ("headless.default.svc.cluster.local AAAA", "headless.default.svc.cluster.local. AAAA 2001:db8::1"),
    ("my-pet.headless.default.svc.cluster.local A", "my-pet.headless.default.svc.cluster.local. A 10.3.0.100"),
    ("my-pet.headless.default.svc.cluster.local AAAA", "my-pet.headless.default.svc.cluster.local. AAAA 2001:db8::1"),
    ("nobody.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    ("sick.headless.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    (
        "_https._tcp.headless.default.svc.cluster.local SRV",
        "_https._tcp.headless.default.svc.cluster.local. SRV 0 33 443 my-pet.headless.default.svc.cluster.local.",
        "_https._tcp.headless.default.svc.cluster.local. SRV 0 33 443 my-pet-2.headless.default.svc.cluster.local.",
        "+ my-pet.headless.default.svc.cluster.local. A 10.3.0.100",
        "+ my-pet-2.headless.default.svc.cluster.local. A 10.3.0.101",
        "+ my-pet.headless.default.svc.cluster.local. AAAA 2001:db8::1",
    ),
    ("101.0.3.10.in-addr.arpa PTR", "101.0.3.10.in-addr.arpa. PTR my-pet-2.headless.default.svc.cluster.local."),
    ("outside.default.svc.cluster.local A",
     "outside.default.svc.cluster.local. CNAME www.example.com.", "> www.example.com."),
    ("outside.default.svc.cluster.local CNAME", "outside.default.svc.cluster.local. CNAME www.example.com."),
]  # fmt: skip

# What the specification leaves open or CoreDNS adds.
BEYOND = [
    ("cluster.local SOA",
     "cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1700000000 7200 1800 86400 5"),
    ("Cluster.LOCAL NS", "SOA"),
    ("cluster.local MX", "SOA"),
    ("svc.cluster.local A", "SOA"),
    ("pod.cluster.local SRV", "SOA"),
    ("svc.cluster.local TXT", "NXDOMAIN", "SOA"),
    ("empty.svc.cluster.local A", "SOA"),
    ("empty.svc.cluster.local TXT", "NXDOMAIN", "SOA"),
    ("none.svc.cluster.local A", "NXDOMAIN", "SOA"),
    ("none.svc.cluster.local SOA", "SOA"),
    ("foo.cluster.local A", "NXDOMAIN", "SOA"),
    ("dns-version.cluster.local A", "NXDOMAIN", "SOA"),
    ("web.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    ("*.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    ("dual.default.svc.cluster.local HTTPS", "SOA"),
    ("dual.default.svc.cluster.local TXT", "SOA"),
    ("dual.default.svc.cluster.local NS", "SOA"),
    ("DUAL.Default.svc.cluster.LOCAL A", "DUAL.Default.svc.cluster.LOCAL. A 10.3.0.2"),
    ("https.tcp.dual.default.svc.cluster.local A", "https.tcp.dual.default.svc.cluster.local. A 10.3.0.2"),
    ("_HTTPS._TCP.dual.default.svc.cluster.local A", "_HTTPS._TCP.dual.default.svc.cluster.local. A 10.3.0.2"),
    ("_https._udp.dual.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    ("_https._udp.dual.default.svc.cluster.local TYPE65535", "NXDOMAIN", "SOA"),
    ("a._https._tcp.dual.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    (
        "_https._tcp.dual.default.svc.cluster.local SRV",
        "_https._tcp.dual.default.svc.cluster.local. SRV 0 50 443 dual.default.svc.cluster.local.",
        "+ dual.default.svc.cluster.local. A 10.3.0.2",
        "+ dual.default.svc.cluster.local. AAAA 2001:db8::2",
    ),
    (
        "_._udp.Dual.default.svc.Cluster.local SRV",
        "_._udp.Dual.default.svc.Cluster.local. SRV 0 50 53 dual.default.svc.Cluster.local.",
        "+ dual.default.svc.Cluster.local. A 10.3.0.2",
        "+ dual.default.svc.Cluster.local. AAAA 2001:db8::2",
    ),
    (
        "dual.default.svc.cluster.local SRV",
        "dual.default.svc.cluster.local. SRV 0 16 443 dual.default.svc.cluster.local.",
        "dual.default.svc.cluster.local. SRV 0 16 53 dual.default.svc.cluster.local.",
        "dual.default.svc.cluster.local. SRV 0 16 9 dual.default.svc.cluster.local.",
        "+ dual.default.svc.cluster.local. A 10.3.0.2",
        "+ dual.default.svc.cluster.local. AAAA 2001:db8::2",
    ),
    ("bare.default.svc.cluster.local A", "bare.default.svc.cluster.local. A 10.3.0.3"),
    ("bare.default.svc.cluster.local SRV", "SOA"),
    ("192-168-1-5.kubernetes.default.svc.cluster.local A",
     "192-168-1-5.kubernetes.default.svc.cluster.local. A 192.168.1.5"),
    (
        "192-168-1-5.kubernetes.default.svc.cluster.local SRV",
        "192-168-1-5.kubernetes.default.svc.cluster.local. SRV 0 100 6443"
        " 192-168-1-5.kubernetes.default.svc.cluster.local.",
        "+ 192-168-1-5.kubernetes.default.svc.cluster.local. A 192.168.1.5",
    ),
    ("2001-db8-1--0.plain.default.svc.cluster.local AAAA",
     "2001-db8-1--0.plain.default.svc.cluster.local. AAAA 2001:db8:1::"),
    ("plain.default.svc.cluster.local SRV", "SOA"),
    # a pod of two services: the slices' order decides the records'
    ("100.0.3.10.in-addr.arpa PTR",
     "100.0.3.10.in-addr.arpa. PTR my-pet.headless.default.svc.cluster.local.",
     "100.0.3.10.in-addr.arpa. PTR 10-3-0-100.web.shop.svc.cluster.local."),
    ("150.0.3.10.in-addr.arpa PTR", "150.0.3.10.in-addr.arpa. PTR o.orphan.default.svc.cluster.local."),
    ("151.0.3.10.in-addr.arpa PTR", "NXDOMAIN", "SOA"),
    ("3.10.in-addr.arpa PTR", "NXDOMAIN", "SOA"),
    ("01.0.3.10.in-addr.arpa PTR", "NXDOMAIN", "SOA"),
    ("1.0.3.10.in-addr.arpa A", "NXDOMAIN", "SOA"),
    ("in-addr.arpa PTR", "SOA"),
    ("svc.in-addr.arpa A", "SOA"),
    ("default.svc.in-addr.arpa A", "NXDOMAIN", "SOA"),
    ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR",
     "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR"
     " my-pet.headless.default.svc.cluster.local."),
    ("outside.default.svc.cluster.local SRV", "SOA"),
    ("outside.default.svc.cluster.local TXT", "SOA"),
    ("_http._tcp.outside.default.svc.cluster.local SRV", "NXDOMAIN", "SOA"),
    ("x.outside.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    ("address.default.svc.cluster.local A", "NXDOMAIN", "SOA"),
    ("address.default.svc.cluster.local CNAME", "NXDOMAIN", "SOA"),
    (
        "inside.default.svc.cluster.local A",
        "inside.default.svc.cluster.local. CNAME dual.default.svc.cluster.local.",
        "dual.default.svc.cluster.local. A 10.3.0.2",
    ),
    ("lost.default.svc.cluster.local A", "SOA"),
    ("loop.default.svc.cluster.local A", "SOA"),
    ("ping.default.svc.cluster.local AAAA", "SOA"),
    ("ns.dns.cluster.local A", "SOA"),
    ("ns.dns.cluster.local TXT", "NXDOMAIN", "SOA"),
    ("10-3-0-100.default.pod.cluster.local A", "NXDOMAIN", "SOA"),
    ("default.pod.cluster.local A", "NXDOMAIN", "SOA"),
    ("cluster.local AXFR", "REFUSED"),
    ("example.com A", "not ours"),
    ("xcluster.local A", "not ours"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "said"), [(q, s) for q, *s in SPECIFIED + BEYOND])
def test_names(question: str, said: list[str]) -> None:
    assert ask(ZONE, question) == said


@pytest.mark.parametrize(
    ("mode", "question", "said"),
    [
        ("insecure", "10-3-0-9.default.pod.cluster.local A", ["10-3-0-9.default.pod.cluster.local. A 10.3.0.9"]),
        ("insecure", "10-3-0-9.default.pod.cluster.local AAAA", ["SOA"]),
        ("insecure", "10-3-0-9.empty.pod.cluster.local TXT", ["SOA"]),
        ("insecure", "10-3-0-9.none.pod.cluster.local A", ["NXDOMAIN", "SOA"]),
        ("insecure", "--1.default.pod.cluster.local AAAA", ["--1.default.pod.cluster.local. AAAA ::1"]),
        ("insecure", "1-2-3.default.pod.cluster.local A", ["NXDOMAIN", "SOA"]),
        ("insecure", "999-1-1-1.default.pod.cluster.local A", ["NXDOMAIN", "SOA"]),
        ("insecure", "01-1-1-1.default.pod.cluster.local A", ["NXDOMAIN", "SOA"]),
        ("insecure", "default.pod.cluster.local A", ["SOA"]),
        ("insecure", "x.10-3-0-9.default.pod.cluster.local A", ["x.10-3-0-9.default.pod.cluster.local. A 10.3.0.9"]),
        ("insecure", "x.y.z.10-3-0-9.default.pod.cluster.local A", ["NXDOMAIN", "SOA"]),
        (
            "insecure",
            "10-3-0-9.default.pod.cluster.local SRV",
            [
                "10-3-0-9.default.pod.cluster.local. SRV 0 100 0 10-3-0-9.default.pod.cluster.local.",
                "+ 10-3-0-9.default.pod.cluster.local. A 10.3.0.9",
            ],
        ),
        ("verified", "10-3-0-100.default.pod.cluster.local A", ["10-3-0-100.default.pod.cluster.local. A 10.3.0.100"]),
        ("verified", "2001-db8--1.default.pod.cluster.local AAAA",
         ["2001-db8--1.default.pod.cluster.local. AAAA 2001:db8::1"]),
        ("verified", "2001-db8-0--1.default.pod.cluster.local AAAA", ["NXDOMAIN", "SOA"]),
        ("verified", "10-3-0-100.shop.pod.cluster.local A", ["NXDOMAIN", "SOA"]),
        ("verified", "10-3-0-101.shop.pod.cluster.local A", ["10-3-0-101.shop.pod.cluster.local. A 10.3.0.101"]),
        ("verified", "10-3-0-9.default.pod.cluster.local A", ["NXDOMAIN", "SOA"]),
    ],
)  # fmt: skip
def test_pods(mode: str, question: str, said: list[str]) -> None:
    assert ask(ZONE, question, OPTIONS._replace(pods=mode)) == said


def test_namespaces_hide_the_others_also_in_reverse() -> None:
    only = OPTIONS._replace(namespaces=frozenset({b"\x04shop"}))
    assert ask(ZONE, "web.shop.svc.cluster.local A", only) == ["web.shop.svc.cluster.local. A 10.3.0.4"]
    assert ask(ZONE, "kubernetes.default.svc.cluster.local A", only) == ["NXDOMAIN", "SOA"]
    assert ask(ZONE, "default.svc.cluster.local A", only) == ["NXDOMAIN", "SOA"]
    assert ask(ZONE, "1.0.3.10.in-addr.arpa PTR", only) == ["NXDOMAIN", "SOA"]
    assert ask(ZONE, "100.0.3.10.in-addr.arpa PTR", only) == [
        "100.0.3.10.in-addr.arpa. PTR 10-3-0-100.web.shop.svc.cluster.local."
    ]


def test_services_without_endpoints_can_be_hidden() -> None:
    hidden = OPTIONS._replace(ignore_empty=True)
    assert ask(ZONE, "dual.default.svc.cluster.local A", hidden) == ["NXDOMAIN", "SOA"]
    assert ask(ZONE, "kubernetes.default.svc.cluster.local A", hidden)[0].endswith("A 10.3.0.1")
    assert ask(ZONE, "outside.default.svc.cluster.local CNAME", hidden)[0].endswith("CNAME www.example.com.")


def test_pod_names_name_endpoints_that_have_no_hostname() -> None:
    zone = zone_of(
        service("s", "None"),
        endpoint_slice("s", endpoint("10.0.0.1", pod="s-0"), endpoint("10.0.0.2", pod="x" * 64)),
        pod_names=True,
    )
    assert ask(zone, "s-0.s.default.svc.cluster.local A") == ["s-0.s.default.svc.cluster.local. A 10.0.0.1"]
    assert ask(zone, "10-0-0-1.s.default.svc.cluster.local A") == ["NXDOMAIN", "SOA"]
    assert ask(zone, "10-0-0-2.s.default.svc.cluster.local A") == ["10-0-0-2.s.default.svc.cluster.local. A 10.0.0.2"]


def test_ttl_is_that_of_all_records_but_the_soa_has_five_minutes_at_most() -> None:
    long = OPTIONS._replace(ttl=3600)
    assert ask(ZONE, "cluster.local SOA", long) == [
        "cluster.local. 300 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1700000000 7200 1800 86400 3600"
    ]
    assert ask(ZONE, "dual.default.svc.cluster.local A", long) == ["dual.default.svc.cluster.local. 3600 A 10.3.0.2"]


def test_what_is_not_known_yet_is_no_denial() -> None:
    zone = zone_of(service("a", "10.0.0.1"))
    zone.synced = False
    passing = OPTIONS._replace(passing=(b"\x00",))
    assert ask(zone, "b.default.svc.cluster.local A", passing) == ["SERVFAIL", "SOA"]
    assert ask(zone, "1.0.0.9.in-addr.arpa PTR", passing) == ["SERVFAIL", "SOA"]
    assert ask(zone, "a.default.svc.cluster.local A", passing) == ["a.default.svc.cluster.local. A 10.0.0.1"]


def test_only_what_does_not_exist_falls_through_and_only_in_its_zones() -> None:
    passing = OPTIONS._replace(passing=(OPTIONS.zones[1],))
    assert ask(ZONE, "9.9.9.9.in-addr.arpa PTR", passing) == ["NXDOMAIN", "SOA", "passes"]
    assert ask(ZONE, "in-addr.arpa A", passing) == ["SOA"]
    assert ask(ZONE, "b.default.svc.cluster.local A", passing) == ["NXDOMAIN", "SOA"]


def test_own_addresses_are_those_of_the_services_we_are_endpoints_of() -> None:
    alone = OPTIONS._replace(addresses=(bytes([10, 1, 1, 1]), bytes(15) + b"\x09"))
    assert ask(ZONE, "cluster.local NS", alone) == [
        "cluster.local. NS ns.dns.cluster.local.",
        "+ ns.dns.cluster.local. A 10.1.1.1",
        "+ ns.dns.cluster.local. AAAA ::9",
    ]
    assert ask(ZONE, "ns.dns.cluster.local AAAA", alone) == ["ns.dns.cluster.local. AAAA ::9"]
    assert ask(ZONE, "NS.Dns.cluster.local AAAA", alone) == ["NS.Dns.cluster.local. AAAA ::9"]
    assert ask(ZONE, "ns.dns.Cluster.local AAAA", alone) == ["NXDOMAIN", "SOA"]
    assert ask(ZONE, "Cluster.local NS", alone) == ["SOA"]
    serving = OPTIONS._replace(addresses=(bytes([10, 3, 0, 100]),))
    assert ask(ZONE, "cluster.local NS", serving) == [
        "cluster.local. NS my-pet.headless.default.svc.cluster.local.",
        "cluster.local. NS my-pet-2.headless.default.svc.cluster.local.",
        "cluster.local. NS web.shop.svc.cluster.local.",
        "+ my-pet.headless.default.svc.cluster.local. A 10.3.0.100",
        "+ my-pet-2.headless.default.svc.cluster.local. A 10.3.0.101",
        "+ web.shop.svc.cluster.local. A 10.3.0.4",
    ]
    listening = OPTIONS._replace(addresses=(bytes([10, 3, 0, 2]),))
    assert ask(ZONE, "cluster.local NS", listening) == [
        "cluster.local. NS dual.default.svc.cluster.local.",
        "+ dual.default.svc.cluster.local. A 10.3.0.2",
        "+ dual.default.svc.cluster.local. AAAA 2001:db8::2",
    ]
    assert ask(ZONE, "ns.dns.cluster.local A", serving)[-1] == "ns.dns.cluster.local. A 10.3.0.4"


def test_places_of_endpoints() -> None:
    zone = zone_of(
        service("db", "None"),
        endpoint_slice(
            "db",
            endpoint("10.0.0.1", zone="Eu-1a"),
            endpoint("10.0.0.2", zone="eu-1b"),
            endpoint("10.0.0.3", zone="corp.example"),
            endpoint("10.0.0.4"),
        ),
        service("web", "10.3.0.1"),
        zonal=True,
    )
    zonal = OPTIONS._replace(zonal=True)

    def addresses(name: str) -> list[str]:
        return [line.rpartition(" ")[2] for line in ask(zone, f"{name}.default.svc.cluster.local A", zonal)]

    assert addresses("eu-1A.pin._zone.db") == ["10.0.0.1"]
    assert addresses("corp.example.pin._zone.db") == ["10.0.0.3"]
    assert addresses("eu-1b.prefer._zone.db") == ["10.0.0.2"]
    assert addresses("us.prefer._zone.db") == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
    assert addresses("us.pin._zone.db") == ["SOA"]
    assert ask(zone, "us.pin._zone.db.default.svc.cluster.local TXT", zonal) == ["SOA"]
    assert addresses("us.spread._zone.db") == ["NXDOMAIN", "SOA"]
    assert addresses("us.pin._zone.web") == ["NXDOMAIN", "SOA"]
    assert ask(zone, "eu-1a.pin._zone.db.default.svc.cluster.local A") == ["NXDOMAIN", "SOA"]
    assert ask(zone, "_http._tcp.db.default.svc.cluster.local SRV", zonal)[0].split()[2:5] == ["0", "25", "8080"]


def test_imported_services_have_a_zone_of_their_own() -> None:
    cluster_set = b"\x0aclusterset\x05local\x00"
    zone = zone_of(
        service("db", "10.3.0.9"),
        ServiceImport(
            metadata=o.ObjectMeta(name="db", namespace="default"),
            spec=ImportSpec(type="Headless", ports=(ImportPort(name="http", port=80),)),
        ),
        ServiceImport(
            metadata=o.ObjectMeta(name="web", namespace="default"),
            spec=ImportSpec(ips=("10.5.0.1",), ports=(ImportPort(name="http", port=80),)),
        ),
        *(
            endpoint_slice(
                "db",
                endpoint(f"10.9.{number}.1", hostname="db-0"),
                name=f"imported-{number}",
                labels={IMPORT_NAME_LABEL: "db", SOURCE_CLUSTER_LABEL: cluster},
            )
            for number, cluster in enumerate(("east", "west"))
        ),
    )
    options = Options(zones=(cluster_set, *OPTIONS.zones), primary=OPTIONS.primary, imported=frozenset({cluster_set}))
    assert ask(zone, "db.default.svc.clusterset.local A", options) == [
        "db.default.svc.clusterset.local. A 10.9.0.1",
        "db.default.svc.clusterset.local. A 10.9.1.1",
    ]
    assert ask(zone, "db-0.west.db.default.svc.clusterset.local A", options) == [
        "db-0.west.db.default.svc.clusterset.local. A 10.9.1.1"
    ]
    assert ask(zone, "_http._tcp.db.default.svc.clusterset.local SRV", options)[0] == (
        "_http._tcp.db.default.svc.clusterset.local. SRV 0 50 8080 db-0.east.db.default.svc.clusterset.local."
    )
    assert ask(zone, "web.default.svc.clusterset.local A", options) == ["web.default.svc.clusterset.local. A 10.5.0.1"]
    assert ask(zone, "web.default.svc.cluster.local A", options) == ["NXDOMAIN", "SOA"]
    assert ask(zone, "db.default.svc.cluster.local A", options) == ["db.default.svc.cluster.local. A 10.3.0.9"]
    assert ask(zone, "1.0.9.10.in-addr.arpa PTR", options) == ["NXDOMAIN", "SOA"]


def test_chains_of_aliases_end() -> None:
    chain = [service(f"s{step}", external=f"s{step + 1}.default.svc.cluster.local") for step in range(12)]
    zone = zone_of(*chain, service("s12", "10.0.0.1"))
    assert len(ask(zone, "s2.default.svc.cluster.local A")) == 11
    assert len(ask(zone, "s1.default.svc.cluster.local A")) == 12
    assert ask(zone, "s0.default.svc.cluster.local A") == ["SOA"]


def test_many_endpoints_have_a_weight_of_one_at_least() -> None:
    hosts = [endpoint(f"10.1.{number // 250}.{number % 250 + 1}") for number in range(300)]
    zone = zone_of(service("many", "None"), endpoint_slice("many", *hosts))
    said = ask(zone, "_http._tcp.many.default.svc.cluster.local SRV")
    assert len(said) == 600
    assert {line.split()[3] for line in said[:300]} == {"1"}
