"""The index: changes, tags, copies, and how objects are packed."""

import marshal
import subprocess
import sys
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dns.cluster import OPTIONS, ask, endpoint, endpoint_slice, key, service, zone_of
from wherry.dns import names
from wherry.dns.kubernetes import packed
from wherry.dns.kubernetes.answer import answer
from wherry.dns.kubernetes.packed import CLUSTER, EXTERNAL, HEADLESS, NO_PORT, Endpoint, Port, Service
from wherry.dns.kubernetes.zone import ADDRESS_TAG, Change, Zone
from wherry.dns.message import Question
from wherry.dns.records import AAAA, NS, PTR, SOA, SRV, TXT, A

LABELS = st.binary(min_size=1, max_size=63)
ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
PORTS = st.builds(Port, st.integers(1, 65535), st.binary(max_size=63), st.sampled_from([b"tcp", b"udp", b"sctp", b""]))
SERVICES = st.builds(
    Service,
    st.sampled_from([CLUSTER, HEADLESS]),
    st.lists(ADDRESSES, max_size=3).map(tuple),
    st.lists(PORTS, min_size=1, max_size=4).map(tuple),
    st.just(b""),
) | st.builds(Service, st.just(EXTERNAL), st.just(()), st.just(()), st.binary())


@given(SERVICES)
def test_a_service_is_unpacked_as_it_was(service: Service) -> None:
    assert packed.unpack_service(packed.pack_service(service)) == service


@given(
    st.lists(PORTS, max_size=4), st.lists(st.builds(Endpoint, ADDRESSES, LABELS, st.binary(max_size=63)), max_size=9)
)
def test_a_slice_is_unpacked_as_it_was(ports: list[Port], endpoints: list[Endpoint]) -> None:
    whole = packed.pack_slice(ports, endpoints)
    assert [*packed.iterate_endpoints(whole)] == endpoints
    assert list(packed.slice_ports(whole)) == (ports or [Port(NO_PORT, b"", b"")])


def test_an_endpoint_without_a_hostname_takes_five_bytes() -> None:
    one, two = (packed.pack_slice((), [Endpoint(bytes(4), b"0-0-0-0")] * count) for count in (1, 2))
    assert len(two) - len(one) == 5


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("FD00::0:1", "fd00::1"),
        ("010.0.0.1", None),
        ("fe80::1%eth0", None),
        ("10.0.0.1\0", None),
        ("db.example.com", None),
        ("", None),
    ],
)
def test_addresses_are_read_as_go_reads_them(text: str, address: str | None) -> None:
    found = packed.address_of(text)
    assert (found and packed.text_of(found)) == address


# -- changes ---------------------------------------------------------------------------------------------------------

KEYS = [key("a"), key("b"), key("a", "other")]
FEW = [bytes([10, 0, 0, last]) for last in range(1, 4)] + [bytes(15) + b"\x01"]
_FEW_SERVICES = st.builds(
    Service,
    st.sampled_from([CLUSTER, HEADLESS]),
    st.lists(st.sampled_from(FEW), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from([Port(80, b"http", b"tcp"), Port(53, b"dns", b"udp")]), max_size=2, unique=True).map(
        tuple
    ),
).map(lambda service: service if service.kind == CLUSTER else service._replace(addresses=()))
_FEW_SLICES = st.builds(
    packed.pack_slice,
    st.lists(st.just(Port(80, b"http", b"tcp")), max_size=1),
    st.lists(st.builds(Endpoint, st.sampled_from(FEW), st.sampled_from([b"x", b"y"])), max_size=3),
)
CHANGES = st.builds(
    Change,
    services=st.lists(
        st.tuples(
            st.sampled_from(KEYS),
            _FEW_SERVICES.map(packed.pack_service)
            | st.just(packed.pack_service(Service(EXTERNAL, target=names.from_text("a.default.svc.cluster.local"))))
            | st.just(b""),
        ),
        max_size=2,
    ).map(tuple),
    slices=st.lists(
        st.tuples(st.sampled_from(KEYS), st.sampled_from([b"one", b"two"]), _FEW_SLICES | st.just(b"")), max_size=2
    ).map(tuple),
    namespaces=st.lists(
        st.tuples(st.sampled_from([b"\x07default", b"\x05other"]), st.sampled_from([True, True, False])), max_size=2
    ).map(tuple),
    pods=st.lists(
        st.tuples(st.sampled_from(FEW), st.sampled_from([b"", b"\x07default", b"\x07default\x05other"])), max_size=1
    ).map(tuple),
    serial=st.just(-1),
    synced=st.none(),
)
QUESTIONS = [
    Question(names.from_text(f"{below}.{namespace}.svc.cluster.local"), kind)
    for namespace in ("default", "other")
    for below in ("a", "b", "x.a", "y.b", "_http._tcp.a", "_dns._udp.b")
    for kind in (A, AAAA, SRV, TXT)
]
QUESTIONS += [Question(names.from_text(f"{last}.0.0.10.in-addr.arpa"), PTR) for last in range(1, 4)]
QUESTIONS += [Question(names.from_text(name), A) for name in ("default.svc.cluster.local", "other.pod.cluster.local")]
QUESTIONS += [Question(names.from_text(f"10-0-0-1.{name}.pod.cluster.local"), A) for name in ("default", "other")]
QUESTIONS += [Question(names.from_text("cluster.local"), kind) for kind in (SOA, NS)]
ALL = OPTIONS._replace(pods="verified", addresses=(FEW[0],))


@settings(max_examples=60)
@given(st.lists(CHANGES, max_size=6))
def test_tags_tell_of_every_answer_that_is_different_now(changes: list[Change]) -> None:
    zone = Zone()
    zone.apply(Change(namespaces=((b"\x07default", True), (b"\x05other", True)), synced=True))
    for serial, change in enumerate(changes):
        before = [answer(zone, ALL, question) for question in QUESTIONS]
        tags = zone.apply(change)
        if tags:
            tags |= zone.apply(Change(serial=serial))
        for question, old in zip(QUESTIONS, before, strict=True):
            assert old is not None
            if old.tag is not None and old.tag not in tags:
                assert answer(zone, ALL, question) == old
        once = _content(zone)
        zone.apply(change)
        assert _content(zone) == once


@settings(max_examples=60)
@given(st.lists(CHANGES, max_size=6))
def test_a_copy_made_of_a_snapshot_is_equal(changes: list[Change]) -> None:
    zone, copy, afresh = Zone(), Zone(), Zone()
    for change in changes:
        zone.apply(change)
        for step in change.steps():
            afresh.apply(Change.unpack(marshal.loads(marshal.dumps(step.pack()))))
    for change in zone.snapshot():
        assert max(map(len, change[:4])) <= 100
        copy.apply(change)
    for other in (copy, afresh):
        assert _content(other) == _content(zone)
        assert _said(other) == _said(zone)


def _said(zone: Zone) -> list[object]:
    """What a zone says, whatever the order of records."""
    said = [answer(zone, ALL, question) for question in QUESTIONS]
    return [found and found._replace(answer=set(found.answer), additional=set(found.additional)) for found in said]


def _content(zone: Zone) -> tuple[object, ...]:
    entries = {entry.key: (entry.service, entry.slices) for entry in zone.entries.values()}
    holders = {address: {entry.key for entry in zone.holders(address)} for address in FEW}
    for address, keys in holders.items():
        assert keys == {entry.key for entry in zone.entries.values() if address in entry.addresses()}
    return entries, holders, zone.namespaces, zone.pods


ODD_LABELS = st.one_of(
    st.binary(min_size=1, max_size=63),
    st.sampled_from(
        [b"svc", b"pod", b"default", b"a", b"x", b"_http", b"_tcp", b"_", b"pin", b"_zone", b"ns", b"dns", b"-", b"--1"]
    ),
    st.integers(0, 300).map(lambda number: b"%x" % number),
)


@settings(max_examples=300)
@given(
    st.lists(ODD_LABELS, max_size=7),
    st.sampled_from([*OPTIONS.zones, b"\x00"]),
    st.sampled_from([A, AAAA, SRV, TXT, PTR, SOA, NS, 5, 65, 255, 65535]),
    st.sampled_from(["insecure", "verified"]),
    st.booleans(),
)
def test_any_name_at_all_has_an_answer_that_fits(
    labels: list[bytes], zone: bytes, kind: int, pods: str, zonal: bool
) -> None:
    try:
        name = names.join(labels)[:-1] + zone
        assert len(name) <= names.MAX_NAME
    except (names.NameError_, AssertionError):
        return
    options = ALL._replace(pods=pods, zonal=zonal, imported=frozenset({OPTIONS.zones[1]}))
    found = answer(SMALL, options, Question(name, kind))
    assert (found is None) == (zone == b"\x00" and not name.lower().endswith(OPTIONS.zones))
    if found is not None:
        for record in (*found.answer, *found.additional):
            assert len(record.name) <= names.MAX_NAME
        assert name.endswith(found.apex)
        assert found.soa == (not found.answer)


SMALL = zone_of(
    service("a", "10.0.0.1"),
    service("x" * 63, "None", namespace="y" * 63),
    endpoint_slice("x" * 63, endpoint("10.0.0.2", hostname="z" * 63), namespace="y" * 63),
)


def test_targets_too_long_for_a_name_are_left_out() -> None:
    deep = names.from_text(".".join(["q" * 60] * 2))
    options = OPTIONS._replace(zones=(deep, *OPTIONS.zones[1:]), primary=deep)
    question = f"{'x' * 63}.{'y' * 63}.svc.{'q' * 60}"
    assert ask(SMALL, "2.0.0.10.in-addr.arpa PTR", options) == ["NXDOMAIN", "SOA"]
    short = OPTIONS._replace(zones=(names.from_text("q" * 60),), primary=names.from_text("q" * 60))
    assert ask(SMALL, f"{question} SRV", short) == ["SOA"]
    assert ask(SMALL, f"{question} A", short)[0].endswith("A 10.0.0.2")


def test_tags_of_a_change_of_labels_only() -> None:
    zone = zone_of(service("s", "None"), endpoint_slice("s", endpoint("10.0.0.1", hostname="a"), endpoint("10.0.0.2")))
    other = zone_of(service("s", "None"), endpoint_slice("s", endpoint("10.0.0.1", hostname="b"), endpoint("10.0.0.2")))
    name, whole = other.entries[key("s")].slices
    assert zone.apply(Change(slices=((key("s"), name, whole),))) == {
        b"",
        key("s"),
        ADDRESS_TAG + bytes([10, 0, 0, 1]),
    }
    assert ask(zone, "1.0.0.10.in-addr.arpa PTR") == ["1.0.0.10.in-addr.arpa. PTR b.s.default.svc.cluster.local."]


def test_addresses_that_move_between_slices_stay_known() -> None:
    zone = zone_of(
        service("s", "None"),
        endpoint_slice("s", endpoint("10.0.0.1"), name="one"),
        endpoint_slice("s", endpoint("10.0.0.1"), name="two"),
    )
    zone.apply(Change(slices=((key("s"), b"one", b""),)))
    assert ask(zone, "1.0.0.10.in-addr.arpa PTR") != ["NXDOMAIN", "SOA"]
    zone.apply(Change(slices=((key("s"), b"two", b""),)))
    assert ask(zone, "1.0.0.10.in-addr.arpa PTR") == ["NXDOMAIN", "SOA"]


def test_fronts_import_little() -> None:
    """What answers in every receiving process must not bring in what only the back needs."""
    heavy = {"asyncio", "dataclasses", "msgspec", "logging", "dns", "aiohttp", "inspect"}
    code = "import sys; import wherry.dns.kubernetes.answer; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", _PATH + code], capture_output=True, text=True, check=True)
    assert not heavy & set(ran.stdout.split())


_PATH = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}; "


def test_up_to_three_labels_before_an_ipv6_address_are_not_looked_at() -> None:
    zone = zone_of(service("s", "fd00::8"))
    name = names.to_text(names.reverse_of(IPv6Address("fd00::8")))
    for before in ("", "x.", "a.b.", "a.b.c."):
        assert ask(zone, f"{before}{name} PTR") == [f"{before}{name} PTR s.default.svc.cluster.local."]
    for other in (f"a.b.c.d.{name}", name[2:], f"g{name[1:]}"):
        assert ask(zone, f"{other} PTR") == ["NXDOMAIN", "SOA"]


def test_dots_in_the_name_of_a_pod_divide_labels() -> None:
    zone = zone_of(
        service("s", "None"), endpoint_slice("s", endpoint("10.0.0.1", pod="etcd-node.example.com")), pod_names=True
    )
    target = "etcd-node.example.com.s.default.svc.cluster.local."
    assert ask(zone, "s.default.svc.cluster.local SRV") == [
        f"s.default.svc.cluster.local. SRV 0 100 8080 {target}",
        f"+ {target} A 10.0.0.1",
    ]
    assert ask(zone, "1.0.0.10.in-addr.arpa PTR") == [f"1.0.0.10.in-addr.arpa. PTR {target}"]
