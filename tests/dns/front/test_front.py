"""A front without sockets: what it answers by itself, what it hands over, keeps and forgets."""

from __future__ import annotations

import marshal
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dns.cluster import CLUSTER, OPTIONS, change_of, endpoint, endpoint_slice, key, service
from wherry.dns import acceptance, names
from wherry.dns import records as r
from wherry.dns.front import protocol
from wherry.dns.front.front import Front
from wherry.dns.front.protocol import Answer, Local, ServerPlan, ZonePlan
from wherry.dns.kubernetes.answer import answer, soa_record
from wherry.dns.kubernetes.zone import Change, Zone
from wherry.dns.message import NOERROR, NXDOMAIN, SERVFAIL, Edns, Message, Question, decode, encode

OBJECTS = (
    service("web", "10.43.0.7"),
    service("dual", "10.43.0.8", "fd00::8"),
    service("db", "None"),
    endpoint_slice("db", endpoint("10.42.0.1", hostname="db-0"), endpoint("10.42.0.2"), endpoint("10.42.0.3")),
    service("many", "None"),
    endpoint_slice("many", *(endpoint(f"10.42.1.{number}") for number in range(60))),
    service("inside", external="web.default.svc.cluster.local"),
    service("outside", external="www.example.com"),
)
PASSING = OPTIONS._replace(pods="insecure", passing=OPTIONS.zones[1:])
PLAN = ZonePlan(b"\x00", ".", keep=True, local=Local(1, PASSING.zones, PASSING.pack()))


@dataclass
class Socket:
    """Where queries come from; notes what is sent later."""

    transport: str = "udp"
    server: int = 0
    family: int = 1
    slot: int = 0
    sent: list[tuple[Any, bytes]] = field(default_factory=list)

    def reply(self, client: Any, wire: bytes) -> None:
        self.sent.append((client, wire))

    part = reply

    def sender(self, client: Any) -> tuple[str, int, str]:
        return "192.0.2.1", 4000, "192.0.2.53"


def made(**changes: Any) -> tuple[Front, Socket]:
    front = Front()
    front.plan([marshal.loads(marshal.dumps(ServerPlan("dns://:53", (PLAN._replace(**changes),)).pack()))], [1])
    front.begin_zone(1)
    front.change(1, [marshal.loads(marshal.dumps(change_of(*OBJECTS).pack()))])
    front.zone_ready(1)
    return front, Socket(slot=front.slot(0, "udp", 1))


def query(name: str, kind: int = r.A, **more: Any) -> bytes:
    return encode(Message(id=more.pop("id", 1), question=Question(names.from_text(name), kind), **more))


def read(wire: bytes | None) -> Message:
    assert wire
    return decode(wire)


def reference(wire: bytes, limit: int) -> bytes | None:
    """What the back would say: the same rules, the long way."""
    zone = Zone()
    zone.apply(change_of(*OBJECTS))
    asked = acceptance.accept(wire)
    assert isinstance(asked, Message)
    assert asked.question is not None
    found = answer(zone, PASSING, asked.question)
    if found is None or found.external or found.passes:
        return None
    reply = asked.reply(found.rcode)
    reply.answer, reply.additional = [*found.answer], [*found.additional]
    reply.authority = [soa_record(zone, PASSING, found.apex)] if found.soa else []
    return encode(acceptance.finish(reply, asked), limit)


NAMES = st.sampled_from(
    ["web.default.svc", "dual.default.svc", "db.default.svc", "db-0.db.default.svc", "many.default.svc", "svc", "",
     "10-42-0-2.db.default.svc", "_http._tcp.web.default.svc", "_http._tcp.db.default.svc", "inside.default.svc",
     "outside.default.svc", "nope.default.svc", "default.svc", "x.y.web.default.svc", "1-2-3-4.default.pod",
     "dns-version", "ns.dns"]
).map(lambda below: f"{below}.cluster.local".lstrip("."))  # fmt: skip
OTHERS = st.sampled_from(
    ["7.0.43.10.in-addr.arpa", "2.0.42.10.in-addr.arpa", "9.9.9.9.in-addr.arpa", "www.example.com"]
)
TYPES = st.sampled_from([r.A, r.AAAA, r.SRV, r.PTR, r.TXT, r.SOA, r.NS, r.CNAME, r.MX, r.ANY, 65])
FRONT, UDP = made()
TCP = Socket("tcp", slot=FRONT.slot(0, "tcp", 1))


@given(
    NAMES | OTHERS, TYPES, st.integers(0, 65535), st.booleans(), st.booleans(),
    st.sampled_from([0, 100, 512, 700, 1232]), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=400)
def test_answers_are_those_of_the_back_for_every_client(
    name: str, kind: int, number: int, wants: bool, shouts: bool, size: int, dnssec: bool, tcp: bool
) -> None:
    wire = query(
        name.title() if shouts else name, kind, id=number, recursion_desired=wants, checking_disabled=dnssec,
        edns=Edns(size, dnssec) if size else None,
    )  # fmt: skip
    expected = reference(wire, 65535 if tcp else max(size, 512))
    for _ in range(2):  # worked out, then kept
        got = FRONT.ask(TCP if tcp else UDP, wire, "client")
        assert (got is None) == (expected is None)
        if got is not None and expected is not None:
            assert len(got) <= (65535 if tcp else max(size, 512))
            assert decode(got) == decode(expected)


def test_what_even_tcp_cannot_carry_is_marked_as_cut() -> None:
    front, udp = made()
    tcp = Socket("tcp", slot=front.slot(0, "tcp", 1))
    crowd = [endpoint(f"10.{number >> 8}.{number & 255}.1") for number in range(4200)]
    front.change(1, [change_of(service("crowd", "None"), endpoint_slice("crowd", *crowd)).pack()])
    for edns in (None, Edns(1232)):
        for kind, most in ((r.A, 4000), (r.SRV, 1000)):
            reply = read(front.ask(tcp, query("crowd.default.svc.cluster.local", kind, edns=edns), 1))
            assert reply.truncated
            assert most < len(reply.answer) < 4200
            wire = front.ask(udp, query("crowd.default.svc.cluster.local", kind, edns=Edns(65535)), 1)
            assert len(wire or b"") <= 65507, "no datagram holds more"
            assert read(wire).truncated


def test_addresses_take_turns_and_stay_the_same() -> None:
    front, socket = made(rotate=True)
    firsts, sets = [], set()
    for number in range(6):
        reply = read(front.ask(socket, query("db.default.svc.cluster.local", id=number), None))
        assert reply.id == number
        firsts.append(reply.answer[0].rdata[-1])
        sets.add(frozenset(record.rdata for record in reply.answer))
    assert sorted(firsts) == [1, 1, 2, 2, 3, 3]
    assert len(sets) == 1
    assert len(read(front.ask(socket, query("many.default.svc.cluster.local"), None)).answer) < 60


@pytest.mark.parametrize("kind", [r.A, r.AAAA, r.SRV])
def test_a_change_is_answered_at_once(kind: int) -> None:
    front, socket = made()
    wire = query("new.default.svc.cluster.local", kind)
    other = query("web.default.svc.cluster.local", kind)
    assert read(front.ask(socket, wire, None)).rcode == NXDOMAIN
    untouched = front.ask(socket, other, None)
    new = change_of(service("new", "10.43.0.99"))
    front.change(1, [new.pack()])
    assert read(front.ask(socket, wire, None)).rcode == NOERROR
    assert front.ask(socket, other, None) == untouched
    front.change(1, [Change(services=((key("new"), b""),), serial=1700000001).pack()])
    gone = read(front.ask(socket, wire, None))
    assert gone.rcode == NXDOMAIN
    assert int.from_bytes(gone.authority[0].rdata[-20:-16], "big") == 1700000001


def test_only_what_is_for_the_front_is_answered_by_it() -> None:
    template = (names.from_text("tpl.cluster.local"), r.TXT)
    front, socket = made(
        excluded=frozenset({names.from_text("web.default.svc.cluster.local")}), excluded_zones=frozenset({template})
    )
    plain = "dual.default.svc.cluster.local"
    assert front.ask(socket, query(plain), None)
    assert front.ask(socket, query("x.tpl.cluster.local"), None)
    for wire in (
        query("web.default.svc.cluster.local"),
        query("x.tpl.cluster.local", r.TXT),
        query("www.example.com"),
        query("9.9.9.9.in-addr.arpa", r.PTR),
        query("outside.default.svc.cluster.local"),
        query(plain, r.DS),
        query(plain, r.AXFR),
        query(plain, edns=Edns(1232, options=((3, b""),))),
        query(plain, opcode=4),
        query(plain)[:-1] + b"\x03",
    ):
        assert front.ask(socket, wire, "client") is None
        number, *handed = front.outbox.pop()
        assert handed == [0, "udp", "192.0.2.1", 4000, "192.0.2.53", wire]
        front.answered([(number, *Answer(b"answer"))])
        assert socket.sent.pop() == ("client", b"answer")
    assert front.waiting == 0


def test_before_the_zone_is_there_everything_is_for_the_back() -> None:
    front = Front()
    front.plan([ServerPlan("dns://:53", (PLAN,)).pack()], [1])
    socket = Socket(slot=front.slot(0, "udp", 1))
    assert front.ask(socket, query("web.default.svc.cluster.local"), None) is None
    assert len(front.outbox) == 1


def test_a_new_snapshot_replaces_the_zone_once_it_is_complete() -> None:
    front, socket = made()
    wire = query("web.default.svc.cluster.local")
    front.begin_zone(1)
    front.change(1, [change_of(service("other", "10.43.0.1")).pack()])
    assert read(front.ask(socket, wire, None)).rcode == NOERROR
    front.zone_ready(1)
    assert read(front.ask(socket, wire, None)).rcode == NXDOMAIN


def external(front: Front, socket: Socket, wire: bytes, **answered: Any) -> bytes:
    """Let the back answer a query."""
    assert front.ask(socket, wire, "client") is None
    number = front.outbox.pop()[0]
    asked = decode(wire)
    reply = asked.reply()
    assert asked.question is not None
    reply.answer = [r.a(asked.question.name, 30, IPv4Address(f"192.0.2.{last}")) for last in (1, 2)]
    answered = {"seconds": 30.0, "countdown": True, "zone": ".", "plugin": "forward"} | answered
    front.answered([(number, *Answer(encode(reply), **answered))])
    return encode(reply)


def test_what_the_back_lets_it_keep_is_kept_as_long_and_falls() -> None:
    front, socket = made(rotate=True)
    wire = query("www.example.com")
    reply = decode(external(front, socket, wire))
    seen = []
    for later in (0, 0, 1, 29, 29):
        front.now += later
        got = front.ask(socket, wire, None)
        if got is None:
            break
        found = decode(got)
        seen.append((found.answer[0].ttl, found.answer[0].rdata[-1]))
        assert {record.rdata for record in found.answer} == {record.rdata for record in reply.answer}
    assert seen == [(30, 1), (30, 2), (29, 1)]
    rows = [protocol.Row(*row) for row in front.rows()]
    assert [(row.plugin, row.queries, row.zone) for row in rows] == [("forward", 3, ".")]
    assert front.ask(socket, query("WWW.example.com"), None) is None


def test_what_may_not_be_kept_is_not() -> None:
    front, socket = made()
    for wire, more in (
        (query("a.example"), {"seconds": 0.0}),
        (query("A.example"), {}),
        (query("a.example", edns=Edns(1232, options=((10, b"cookie12"),))), {}),
    ):
        external(front, socket, wire, **more)
        assert front.ask(socket, wire, None) is None
    views, socket = made(keep=False)
    external(views, socket, query("a.example"))
    assert views.ask(socket, query("a.example"), None) is None


def test_kept_answers_go_with_their_tag_with_all_and_with_plans() -> None:
    front, socket = made()
    wire = query("www.example.com")
    external(front, socket, wire, tag=b"tag")
    front.drop([b"other"])
    assert front.ask(socket, wire, None)
    front.drop([b"tag"])
    for forget in (lambda: front.drop([]), lambda: front.plan([ServerPlan("dns://:53", (PLAN,)).pack()], [1])):
        external(front, socket, wire)
        assert front.ask(socket, wire, None)
        forget()
    external(front, socket, wire)
    reverse = query("9.9.9.9.in-addr.arpa", r.PTR)
    external(front, socket, reverse)
    front.change(1, [change_of(service("new", "10.43.0.99")).pack()])
    assert front.ask(socket, wire, None)
    assert front.ask(socket, reverse, None) is None  # it may be a service's address now


def test_an_answer_from_before_a_change_is_not_kept() -> None:
    front, socket = made()
    wire = query("outside.default.svc.cluster.local")
    assert front.ask(socket, wire, None) is None
    front.change(1, [change_of(service("new", "10.43.0.99")).pack()])
    reply = encode(decode(wire).reply())
    front.answered([(front.outbox.pop()[0], *Answer(reply, 5.0, tag=key("outside")))])
    assert socket.sent
    assert front.ask(socket, wire, None) is None
    front.drop([])
    front.answered([(front.outbox.pop()[0], *Answer(reply, 5.0))])
    assert front.ask(socket, wire, None) is None


def test_a_back_that_does_not_answer_costs_little() -> None:
    front, socket = made()
    for number in range(protocol.IN_FLIGHT):
        assert front.ask(socket, query(f"{number}.example"), number) is None
    refused = read(front.ask(socket, query("more.example", id=77, recursion_desired=True), None))
    assert (refused.id, refused.rcode, refused.recursion_desired) == (77, SERVFAIL, True)
    assert refused.question == Question(names.from_text("more.example"), r.A)
    assert read(front.ask(socket, query("web.default.svc.cluster.local"), None)).answer
    front.now += protocol.GIVE_UP + 1
    assert front.next_give_up() < front.now
    front.give_up()
    assert front.waiting == 0
    assert front.ask(socket, query("more.example"), None) is None


def test_replies_are_never_answered_and_nonsense_only_so_often() -> None:
    front, socket = made()
    for wire in (b"", b"short", query("web.default.svc.cluster.local", response=True), bytes(2) + b"\xff" * 40):
        assert front.ask(socket, wire, None) is None
    nonsense = query("a.example")[:-2]
    answered = [front.ask(socket, nonsense, None) for _ in range(2000)]
    assert answered[0] is not None
    assert len(answered[0]) == 12
    assert 400 < sum(each is not None for each in answered) < 600
    assert front.ask(socket, query("web.default.svc.cluster.local"), None)
    front.now += 1
    assert front.ask(socket, nonsense, None)


def test_a_defect_costs_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    front, socket = made()

    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("wherry.dns.front.zones.answer", defect)
        assert read(front.ask(socket, query("web.default.svc.cluster.local"), None)).rcode == SERVFAIL
    assert "ZeroDivisionError" in front.faults[0]
    assert read(front.ask(socket, query("web.default.svc.cluster.local"), None)).rcode == NOERROR


def test_replies_to_clients_with_edns_are_no_larger_than_bufsize() -> None:
    front, socket = made(bufsize=600)
    small = front.ask(socket, query("many.default.svc.cluster.local", edns=Edns(4096)), None)
    assert small is not None
    assert len(small) <= 600
    reply = decode(small)
    assert reply.truncated
    assert reply.edns == Edns(600)


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda rest: b"id\x01\x00\x00\x01\0\0\0\0\0\0" + rest))
@settings(max_examples=300)
def test_no_octets_disturb_it(data: bytes) -> None:
    got = FRONT.ask(UDP, data, None)
    assert not FRONT.faults
    assert got is None or len(got) <= len(data) + 120
    FRONT.answered([(number, *Answer(b"")) for number, *_ in FRONT.outbox])
    FRONT.outbox.clear()


def test_the_apex_and_longer_zones_have_blocks_of_their_own() -> None:
    front, socket = made()
    other = ZonePlan(names.from_text("default.svc.cluster.local"), "default.svc.cluster.local.")
    front.plan([ServerPlan("dns://:53", (PLAN, other)).pack()], [1])
    assert front.ask(socket, query("web.default.svc.cluster.local"), None) is None
    assert read(front.ask(socket, encode(Message(question=Question(CLUSTER, r.SOA))), None)).answer
    front.plan([ServerPlan("dns://:53", (other,)).pack()], [])
    assert front.ask(socket, query("cluster.local", r.SOA), None) is None
