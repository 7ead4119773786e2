"""The plugins `cache` and `kubernetes` together: nothing of the cluster is kept past a change."""

import pytest

from tests.dns.chains import SERVER, Answers, eventually, lines, serving, zone
from tests.dns.cluster import api_server, endpoint, endpoint_slice, namespace, service
from wherry.dns import names
from wherry.dns.message import NXDOMAIN
from wherry.kube import kinds

COREFILE = """. {
  cache 30
  kubernetes cluster.local in-addr.arpa {
    ttl 0
    startup_timeout 30s
    fallthrough in-addr.arpa
  }
}"""
SOA = "10.in-addr.arpa. 60 SOA ns.example. root.example. 1 2 3 4 60"


@pytest.fixture
async def server():
    async with api_server() as fake:
        fake.put(kinds.NAMESPACES, namespace("default"))
        fake.put(kinds.SERVICES, service("db", "None"))
        fake.put(kinds.ENDPOINT_SLICES, endpoint_slice("db", endpoint("10.0.0.1", hostname="db-0")))
        yield fake


async def test_a_new_endpoint_is_there_although_its_names_were_denied_before(server, tmp_path) -> None:
    end = Answers(zone(SOA, rcode=NXDOMAIN))
    async with serving(COREFILE, tmp_path, end=end, endpoint=lambda: server.endpoint) as world:
        kubernetes = world.plugin("kubernetes")
        for _ in range(2):
            assert (await world.ask("db-1.db.default.svc.cluster.local")).rcode == NXDOMAIN
            assert (await world.ask("2.0.0.10.in-addr.arpa", "PTR")).rcode == NXDOMAIN
        assert len(end.asked) == 1, "what others deny is kept"
        both = (endpoint("10.0.0.1", hostname="db-0"), endpoint("10.0.0.2", hostname="db-1"))
        server.put(kinds.ENDPOINT_SLICES, endpoint_slice("db", *both))
        query = world.query("2.0.0.10.in-addr.arpa", "PTR")
        await eventually(lambda: kubernetes.zone.serial and _answers(kubernetes, world, query))
        assert lines((await world.ask("2.0.0.10.in-addr.arpa", "PTR")).answer) == [
            "2.0.0.10.in-addr.arpa. 5 PTR db-1.db.default.svc.cluster.local."
        ]
        assert lines((await world.ask("db-1.db.default.svc.cluster.local")).answer) == [
            "db-1.db.default.svc.cluster.local. 5 A 10.0.0.2"
        ]
        reply = await world.reply(world.query("db-1.db.default.svc.cluster.local"))
        assert reply.plugin == "kubernetes"
        assert reply.keep.tag, "fronts keep it until the service changes"
        server.put(kinds.ENDPOINT_SLICES, endpoint_slice("db", both[0]))
        await eventually(lambda: not _answers(kubernetes, world, query))
        assert (await world.ask("db-1.db.default.svc.cluster.local")).rcode == NXDOMAIN
        assert world.value("coredns_cache_entries", server=SERVER, type="success", zones=".", view="") == 0


def _answers(kubernetes, world, query) -> bool:
    request = world.router.request(query, client="", port=0, local="", local_port=53, transport="udp")
    return kubernetes.answers(request)


async def test_which_queries_are_the_clusters(server, tmp_path) -> None:
    async with serving(COREFILE, tmp_path, end=Answers(zone()), endpoint=lambda: server.endpoint) as world:
        kubernetes = world.plugin("kubernetes")
        own = {
            name: _answers(kubernetes, world, world.query(name, kind))
            for name, kind in (
                ("db.default.svc.cluster.local", "A"), ("none.cluster.local", "A"), ("example", "A"),
                ("1.0.0.10.in-addr.arpa", "PTR"), ("9.0.0.10.in-addr.arpa", "PTR"),
            )
        }  # fmt: skip
        assert [name for name, answers in own.items() if answers] == [
            "db.default.svc.cluster.local",
            "none.cluster.local",
            "1.0.0.10.in-addr.arpa",
        ]
        assert not _answers(kubernetes, world, world.query(names.to_text(b"\x07cluster\x05local\x00"), klass=3))
