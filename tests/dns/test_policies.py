"""Who may ask for what, and which block answers whom: `acl` and `view`."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dns.chains import Answers, World, lines, serving, zone
from wherry.dns import message as m
from wherry.dns import names
from wherry.dns.message import Edns
from wherry.dns.plugins.acl import Networks

ANSWER = zone("www.example. 60 IN A 10.0.0.1", "www.other. 60 IN A 10.0.0.2")

RULES = """. {
acl example {
    allow net 10.1.0.0/16 2001:db8::/32
    block type ANY MX net *
    filter type A net 10.2.0.0/16 10.3.0.1
    drop net 10.4.0.0/16
}
acl www.example {
    block
}
acl other {
    ALLOW TYPE AAAA
    drop type aaaa net *
    block net 10.0.0.0/8
}
}"""

DECISIONS = [
    ("www.example.", "A", "10.1.2.3", "allow"),
    ("www.example.", "MX", "10.1.2.3", "allow"),
    ("www.example.", "A", "2001:db8::1", "allow"),
    ("www.example.", "A", "fe80::1%eth0", "block"),
    ("www.example.", "MX", "10.9.0.1", "block"),
    ("www.example.", "A", "10.2.0.1", "filter"),
    ("www.example.", "A", "::ffff:10.2.0.1", "filter"),
    ("www.example.", "AAAA", "10.2.0.1", "block"),
    ("www.example.", "A", "10.3.0.1", "filter"),
    ("www.example.", "A", "10.3.0.2", "block"),
    ("www.example.", "A", "10.4.0.1", "drop"),
    ("example.", "A", "10.3.0.2", "allow"),
    ("www.other.", "A", "10.9.0.1", "block"),
    ("www.other.", "AAAA", "10.9.0.1", "allow"),
    ("www.other.", "A", "192.0.2.1", "allow"),
    ("unruled.", "A", "10.9.0.1", "allow"),
]


@pytest.mark.parametrize(("name", "kind", "client", "expected"), DECISIONS)
async def test_acl(tmp_path: Path, name: str, kind: str, client: str, expected: str) -> None:
    end = Answers(ANSWER)
    async with serving(RULES, tmp_path, end=end) as world:
        reply = await world.reply(world.query(name, kind, edns=Edns(1232)), client=client)
        counted = {word: _count(world, word) for word in ("allowed", "blocked", "filtered", "dropped")}
    assert [word for word, count in counted.items() if count] == [
        {"allow": "allowed", "block": "blocked", "filter": "filtered", "drop": "dropped"}[expected]
    ]
    assert len(end.asked) == (expected == "allow")
    if expected == "drop":
        assert reply is None
    elif expected != "allow":
        assert reply is not None
        refused = expected == "block"
        assert reply.message.rcode == (m.REFUSED if refused else m.NOERROR)
        assert reply.message.edns is not None
        assert reply.message.edns.options == ((15, b"\0\x0f" if refused else b"\0\x11"),)


def _count(world: World, word: str) -> float:
    family = f"coredns_acl_{word}_requests_total"
    return sum(
        sample.value
        for metric in world.config.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == family
    )


async def test_acl_hands_only_its_zones_to_the_back(tmp_path: Path) -> None:
    async with serving(RULES, tmp_path) as world:
        zones = world.plugin("acl").excluded_zones()
    assert {(names.to_text(zone), kind) for zone, kind in zones} == {
        ("example.", 0),
        ("www.example.", 0),
        ("other.", 0),
    }


_networks = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "::/0", "fd00::/8", "192.0.2.1/32", "0.0.0.0/0"]))


@given(_networks, st.ip_addresses())
def test_networks_hold_what_ipaddress_says(
    texts: list[str], address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    networks = [ipaddress.ip_network(text) for text in texts]
    assert (address in Networks(networks)) == any(address in network for network in networks)


VIEWS = """example {
    view v4 {
        expr incidr(client_ip(), '10.0.0.0/8')
        expr type() in ['A', 'AAAA']
    }
    local
}
example {
    view odd {
        expr incidr('nonsense', '10.0.0.0/8')
    }
    local
}
example {
    view number {
        expr id()
    }
    local
}
example {
    any
}
"""


@pytest.mark.parametrize(
    ("client", "kind", "view"),
    [("10.1.1.1", "A", "v4"), ("::ffff:10.1.1.1", "A", "v4"), ("10.1.1.1", "MX", ""), ("192.0.2.1", "A", "")],
)
async def test_view_chooses_the_block(tmp_path: Path, client: str, kind: str, view: str) -> None:
    end = Answers(ANSWER)
    async with serving(VIEWS, tmp_path, end=end) as world:
        await world.reply(world.query("www.example.", kind), client=client)
    assert [request.view for request in end.asked] == [view]


@pytest.mark.parametrize(
    "expression",
    [
        "name() == 'www.example.'", "type() == 'A'", "class() == 'IN'", "proto() == 'tcp'", "size() == 40",
        "client_ip() == '192.0.2.7'", "port() == '40000'", "id() == 4711", "opcode() == 0", "do()",
        "bufsize() == 65535", "server_ip() == '192.0.2.53'", "server_port() == '53'", "metadata('no/such') == ''",
    ],
)  # fmt: skip
async def test_view_functions(tmp_path: Path, expression: str) -> None:
    text = f". {{\nview v {{\nexpr {expression}\n}}\nwhoami\n}}"
    async with serving(text, tmp_path) as world:
        query = world.query("WWW.example.", edns=Edns(1232, dnssec_ok=True))
        reply = await world.reply(query, transport="tcp")
        assert reply is not None
        assert reply.plugin == "whoami"


async def test_view_without_an_answer_refuses(tmp_path: Path) -> None:
    async with serving(". {\nview v {\nexpr false\n}\nwhoami\n}", tmp_path) as world:
        reply = await world.ask("www.example.")
    assert (reply.rcode, lines(reply.additional)) == (m.REFUSED, [])
