"""From objects to what a zone keeps: any object at all, and what is left out."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dns.cluster import OPTIONS, ask, change_of, endpoint, endpoint_slice, service, zone_of
from wherry.dns import names
from wherry.dns.kubernetes import compile as compiled
from wherry.dns.kubernetes.answer import answer
from wherry.dns.kubernetes.objects import Pod, PodAddresses, PodIP
from wherry.dns.kubernetes.zone import Zone
from wherry.dns.message import Question
from wherry.dns.records import SRV, A
from wherry.kube import objects as o

TEXT = st.text(max_size=70) | st.sampled_from(["a", "web", "default", "None", "10.0.0.1", "fd00::1", "www.example.com"])
MAYBE = st.none() | TEXT
NUMBERS = st.integers(-(2**40), 2**40) | st.integers(1, 65535)
META = st.builds(
    o.ObjectMeta,
    name=TEXT,
    namespace=TEXT,
    labels=st.dictionaries(st.sampled_from([o.SERVICE_NAME_LABEL, "multicluster.kubernetes.io/service-name"]), TEXT),
)
SERVICES = st.builds(
    o.Service,
    metadata=META,
    spec=st.builds(
        o.ServiceSpec,
        type=st.sampled_from(["ClusterIP", "ExternalName", "LoadBalancer"]),
        cluster_ip=TEXT,
        cluster_ips=st.lists(TEXT, max_size=3).map(tuple),
        external_name=TEXT,
        ports=st.lists(st.builds(o.ServicePort, port=NUMBERS, name=TEXT, protocol=TEXT), max_size=3).map(tuple),
    ),
)
SLICES = st.builds(
    o.EndpointSlice,
    metadata=META,
    endpoints=st.none()
    | st.lists(
        st.builds(
            o.Endpoint,
            addresses=st.none() | st.lists(TEXT, max_size=3).map(tuple),
            hostname=MAYBE,
            zone=MAYBE,
            target_ref=st.none() | st.builds(o.ObjectReference, name=TEXT),
            conditions=st.builds(o.EndpointConditions, ready=st.none() | st.booleans()),
        ),
        max_size=3,
    ).map(tuple),
    ports=st.none()
    | st.lists(st.builds(o.EndpointPort, name=MAYBE, protocol=MAYBE, port=st.none() | NUMBERS), max_size=3).map(tuple),
)
PODS = st.builds(
    Pod,
    metadata=META,
    status=st.builds(PodAddresses, pod_ip=TEXT, pod_ips=st.lists(st.builds(PodIP, ip=TEXT), max_size=2).map(tuple)),
)


@settings(max_examples=150)
@given(st.lists(SERVICES | SLICES | PODS, max_size=4), st.booleans(), st.booleans())
def test_no_object_is_too_odd(objects: list[o.KubeObject], pod_names: bool, zonal: bool) -> None:
    zone = Zone()
    zone.apply(change_of(*objects, pod_names=pod_names, zonal=zonal))
    copy = Zone()
    for change in zone.snapshot():
        copy.apply(change)
    for entry in zone.entries.values():
        below = names.labels(entry.key.lstrip(b"\xff") + b"\x00")
        for kind in (A, SRV):
            question = Question(names.join([*below, b"svc", b"cluster", b"local"]), kind)
            assert answer(copy, OPTIONS, question) == answer(zone, OPTIONS, question)


def test_names_that_dns_cannot_have_are_left_out() -> None:
    assert compiled.key_of("default", "x" * 64) == compiled.key_of("", "web") == b""
    zone = zone_of(service("x" * 64, "10.0.0.1"), service("web", "10.0.0.2"))
    assert [*zone.entries] == [b"\x03web\x07default"]


def test_what_is_no_address_is_no_endpoint() -> None:
    zone = zone_of(
        service("mixed", "None"),
        endpoint_slice("mixed", endpoint("db.example.com"), endpoint("10.0.0.1", "10.0.0.1", "10.0.0.2")),
    )
    assert [line.rpartition(" ")[2] for line in ask(zone, "mixed.default.svc.cluster.local A")] == [
        "10.0.0.1",
        "10.0.0.2",
    ]


def test_a_port_that_cannot_be_has_no_srv() -> None:
    zone = zone_of(service("odd", "10.0.0.1", ports=["http:70000/TCP"]))
    assert ask(zone, "odd.default.svc.cluster.local SRV") == ["SOA"]
    assert ask(zone, "_http._tcp.odd.default.svc.cluster.local A")[0].endswith("A 10.0.0.1")


def test_a_pod_that_is_being_deleted_has_no_names() -> None:
    meta = o.ObjectMeta(name="p", namespace="default", deletion_timestamp="2026-01-01T00:00:00Z")
    assert compiled.pod_addresses(Pod(metadata=meta, status=PodAddresses(pod_ip="10.0.0.1"))) == ()
