"""The plugin `kubernetes` in its chain: options, names that lead elsewhere, readiness, metadata, reloads."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.dns.chains import Answers, World, lines, read, serving, zone
from tests.dns.cluster import api_server, endpoint, endpoint_slice, namespace, service
from wherry.dns import names
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.kubernetes.own import own_addresses
from wherry.dns.message import NOERROR, NXDOMAIN, REFUSED, SERVFAIL
from wherry.dns.plugin import Keep
from wherry.dns.plugins.kubernetes import Kubernetes
from wherry.kube import kinds
from wherry.kube.endpoint import Endpoint
from wherry.kube.testing.apiserver import FakeApiServer

LONG = 30.0


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with api_server() as fake:
        fake.put(kinds.NAMESPACES, namespace("default"))
        fake.put(kinds.SERVICES, service("web", "10.3.0.1"))
        fake.put(kinds.SERVICES, service("db", "None"))
        fake.put(kinds.SERVICES, service("out", external="Www.Example.com"))
        fake.put(kinds.SERVICES, service("void", external="void.test"))
        fake.put(kinds.ENDPOINT_SLICES, endpoint_slice("db", endpoint("10.0.0.1", hostname="db-0")))
        pod = {
            "metadata": {"name": "p", "namespace": "default", "labels": {"app": "p"}},
            "status": {"podIP": "10.1.0.1"},
        }
        fake.put(kinds.PODS.as_dict(), pod)
        yield fake


# -- options ---------------------------------------------------------------------------------------------------------


def options(text: str, directory: Path) -> Kubernetes:
    config, _ = read(f". {{\n kubernetes cluster.local in-addr.arpa {{\n{text}\n}}\n}}", directory)
    plugin = config.blocks[0].plugins["kubernetes"]
    assert isinstance(plugin, Kubernetes)
    return plugin


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pods", "Wrong argument count"),
        ("pods some", "wrong value for pods: some,  must be one of: disabled, verified, insecure"),
        ("ttl 3601", "'3601' is not a whole number from 0 to 3600"),
        ("ttl", "Wrong argument count"),
        ("namespaces", "Wrong argument count"),
        ("namespaces a\nnamespace_labels b=c", "namespaces and namespace_labels cannot both be set"),
        ("labels a in b", "unable to parse label selector value: 'a in b'"),
        ("noendpoints\nzonal", "zonal requires the endpoint cache"),
        ("ignore", "Wrong argument count"),
        ("ignore services", "unable to parse ignore value: 'services'"),
        ("multicluster other.local", "is not authoritative for the multicluster zone other.local."),
        ("startup_timeout 5", 'time: missing unit in duration "5"'),
        ("apiserver_qps -1", "apiserver_qps must be >= 0"),
        ("apiserver_max_inflight many", "'many' is not a whole number"),
        ("endpoint ftp://10.0.0.1", "is no URL of an API server"),
        ("endpoint https://10.0.0.1\ntls cert key ca", "cannot use"),
        ("kubeconfig nothing.yaml", "nothing.yaml"),
        ("upstream 10.0.0.1", "unknown property 'upstream'"),
        ("endpoint_pod_names yes", "Wrong argument count"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CorefileError) as caught:
        options(text, tmp_path)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("plugin/kubernetes: ")
    assert f"{tmp_path}/Corefile:" in str(caught.value)


@pytest.mark.parametrize("zones", ["in-addr.arpa", "10.0.0.0/8"])
def test_reverse_zones_alone_have_nothing_to_lead_to(zones: str, tmp_path: Path) -> None:
    with pytest.raises(CorefileError, match="non-reverse zone name must be used"):
        read(f". {{\n kubernetes {zones}\n}}", tmp_path)


def test_it_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(CorefileError, match="this plugin can only be used once per Server Block"):
        read(". {\n kubernetes a.local\n kubernetes b.local\n}", tmp_path)


def test_everything_is_read(tmp_path: Path) -> None:
    plugin = options(
        """
        endpoint 10.0.0.1:6443
        pods verified
        endpoint_pod_names
        namespaces A b
        labels environment in (production, qa),application=nginx
        ttl 7
        ignore empty_service
        multicluster in-addr.arpa
        zonal
        startup_timeout 1m
        fallthrough in-addr.arpa
        apiserver_qps 2.5
        apiserver_burst 4
        apiserver_max_inflight 1
        """,
        tmp_path,
    )
    found = plugin.options
    assert found.zones == (names.from_text("cluster.local"), names.from_text("in-addr.arpa"))
    assert (found.ttl, found.pods, found.zonal, found.ignore_empty) == (7, "verified", True, True)
    assert found.namespaces == {b"\x01a", b"\x01b"}
    assert plugin.fallthrough_zones == found.passing == (names.from_text("in-addr.arpa"),)
    scope = plugin._settings.scope
    assert scope.labels == "environment in (production,qa),application=nginx"
    assert (scope.pods, scope.pod_names, scope.imported, scope.pod_labels) == (True, True, True, False)
    assert scope.limits == (2.5, 4, 1)
    assert plugin._settings.connect() == Endpoint(url="http://10.0.0.1:6443")
    assert plugin._settings.startup_timeout == 60


def test_what_coredns_reads_without_effect_is_no_error(tmp_path: Path) -> None:
    found = options("multicluster\nignore empty_service at all", tmp_path).options
    assert (found.imported, found.ignore_empty) == (frozenset(), True)


def test_https_is_checked(tmp_path: Path) -> None:
    found = options("endpoint https://10.0.0.1:6443/", tmp_path)._settings.connect()
    assert found.url == "https://10.0.0.1:6443"
    assert found.ssl is not None
    assert found.ssl.verify_mode == ssl.CERT_REQUIRED


async def test_outside_of_a_pod_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    plugin = options("", tmp_path)
    with pytest.raises(CorefileError, match=r"Corefile:2 .*KUBERNETES_SERVICE_HOST"):
        await plugin.start()


# -- in a chain ------------------------------------------------------------------------------------------------------

BLOCK = """. {
  errors
  %s
  kubernetes cluster.local in-addr.arpa {
    pods verified
    startup_timeout 30s
    fallthrough in-addr.arpa
  }
}"""
BEYOND = Answers(zone("www.example.com. 60 IN A 192.0.2.1", "9.9.9.9.in-addr.arpa. 60 IN PTR nine.example."))


async def test_answers_are_authoritative_and_say_what_they_depend_on(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(BLOCK % "", tmp_path, end=BEYOND, endpoint=lambda: server.endpoint) as world:
        assert world.plugin("kubernetes").ready()
        message = await world.ask("Web.default.svc.cluster.local")
        assert lines(message.answer) == ["Web.default.svc.cluster.local. 5 A 10.3.0.1"]
        assert (message.authoritative, message.recursion_available, message.authority) == (True, False, [])
        reply = await world.reply(world.query("web.default.svc.cluster.local"))
        assert reply is not None
        assert reply.plugin == "kubernetes"
        assert reply.keep == Keep(3600.0, False, b"\x03web\x07default")
        denied = await world.reply(world.query("nothing.default.svc.cluster.local"))
        assert denied is not None
        assert (denied.message.rcode, denied.keep) == (NXDOMAIN, None)
        assert [record.type for record in denied.message.authority] == [6]


async def test_what_is_not_its_own_goes_on(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(BLOCK % "", tmp_path, end=BEYOND, endpoint=lambda: server.endpoint) as world:
        assert lines((await world.ask("www.example.com")).answer) == ["www.example.com. 60 A 192.0.2.1"]
        assert lines((await world.ask("9.9.9.9.in-addr.arpa", "PTR")).answer)[0].endswith("PTR nine.example.")
        assert (await world.ask("1.0.3.10.in-addr.arpa", "PTR")).answer
        assert (await world.ask("cluster.local", "AXFR", transport="tcp")).rcode == REFUSED


async def test_names_that_lead_elsewhere_are_asked_of_the_whole_server(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(BLOCK % "", tmp_path, end=BEYOND, endpoint=lambda: server.endpoint) as world:
        assert lines((await world.ask("out.default.svc.cluster.local")).answer) == [
            "out.default.svc.cluster.local. 5 CNAME Www.Example.com.",
            "www.example.com. 60 A 192.0.2.1",
        ]
        # What fails or has no such record leaves the alias alone.
        message = await world.ask("out.default.svc.cluster.local", "AAAA")
        assert [line.split()[2] for line in lines(message.answer)] == ["CNAME"]
        assert (message.rcode, message.authority) == (NOERROR, [])
        reply = await world.reply(world.query("out.default.svc.cluster.local"))
        assert reply is not None
        assert reply.keep is None


async def test_silence_elsewhere_is_no_data(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(BLOCK % "", tmp_path, end=Answers(lambda _: None), endpoint=lambda: server.endpoint) as world:
        message = await world.ask("void.default.svc.cluster.local")
        assert (message.rcode, message.answer) == (NOERROR, [])
        assert [record.type for record in message.authority] == [6]


async def test_until_all_is_known_nothing_is_denied_or_passed_on(tmp_path: Path) -> None:
    text = (BLOCK % "").replace("30s", "0s")
    nowhere = Endpoint.unix(tmp_path / "nothing.sock")
    async with serving(text, tmp_path, end=BEYOND, endpoint=lambda: nowhere) as world:
        assert not world.plugin("kubernetes").ready()
        for name, kind in (("web.default.svc.cluster.local", "A"), ("9.9.9.9.in-addr.arpa", "PTR")):
            message = await world.ask(name, kind)
            assert message.rcode == SERVFAIL
            assert [record.type for record in message.authority] == [6]
        assert lines((await world.ask("www.example.com")).answer) == ["www.example.com. 60 A 192.0.2.1"]
        assert world.value("wherry_dns_kubernetes_state_age_seconds", zone="cluster.local.") > 0


async def test_metadata_describes_names_and_clients(server: FakeApiServer, tmp_path: Path) -> None:
    async def described(world: World, name: str, client: str = "10.9.9.9") -> dict[str, str]:
        request = world.router.request(
            world.query(name), client=client, port=1, local="10.0.0.53", local_port=53, transport="udp"
        )
        world.router.route(request)
        found = {key.removeprefix("kubernetes/"): value() for key, value in request.metadata.items()}
        return {key: value for key, value in found.items() if value}

    async with serving(BLOCK % "metadata", tmp_path, end=BEYOND, endpoint=lambda: server.endpoint) as world:
        assert await described(world, "_http._tcp.Web.default.svc.cluster.local") == {
            "port-name": "http",
            "protocol": "tcp",
            "service": "web",
            "namespace": "default",
            "kind": "svc",
        }
        assert (await described(world, "db-0.db.default.svc.cluster.local"))["endpoint"] == "db-0"
        assert await described(world, "foo.cluster.local") == {"parse-error": "invalid query name"}
        assert await described(world, "example.com", "10.1.0.1") == {
            "client-namespace": "default",
            "client-pod-name": "p",
            "client-label/app": "p",
        }


async def test_a_traced_answer_names_its_objects(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(BLOCK % "", tmp_path, end=BEYOND, endpoint=lambda: server.endpoint) as world:
        for name, kind, noted in (
            ("db-0.db.default.svc.cluster.local", "A", ["Service default/db", "EndpointSlice default/db-a"]),
            ("1.0.0.10.in-addr.arpa", "PTR", ["Service default/db", "EndpointSlice default/db-a"]),
            ("10-1-0-1.default.pod.cluster.local", "A", ["a Pod with address 10.1.0.1"]),
            ("default.svc.cluster.local", "A", ["Namespace default"]),
            ("nothing.default.svc.cluster.local", "A", []),
        ):
            request = world.router.request(
                world.query(name, kind), client="10.9.9.9", port=1, local="10.0.0.53", local_port=53, transport="udp"
            )
            request.notes = []
            await world.plugin("kubernetes").serve(request, world.router.handle)
            assert request.notes == noted, name


async def test_a_reload_that_follows_the_same_keeps_the_zone(server: FakeApiServer, tmp_path: Path) -> None:
    text = BLOCK % ""
    async with serving(text, tmp_path, endpoint=lambda: server.endpoint) as world:
        first = world.plugin("kubernetes")
        told: list[set[bytes]] = []
        first.subscribe(lambda changes, tags: told.append(tags))
        again, _ = read(
            text.replace("pods verified", "pods verified\n ttl 9"), tmp_path, endpoint=lambda: server.endpoint
        )
        again.process.state = world.config.process.state
        second = again.blocks[0].plugins["kubernetes"]
        assert isinstance(second, Kubernetes)
        again.spawn = world.config.spawn
        async with asyncio.timeout(LONG):
            await second.start()
        assert second.zone is first.zone
        assert second.options.ttl == 9
        await first.stop()
        heard = asyncio.Event()
        second.subscribe(lambda changes, tags: heard.set())
        server.put(kinds.SERVICES, service("new", "10.3.0.2"))
        async with asyncio.timeout(LONG):
            await heard.wait()
        assert not told
        await second.stop()
        left = world.config.process.state
        assert (left["kubernetes"], left["kubernetes ages"]) == ({}, {})


def test_own_addresses_are_those_that_mean_something_elsewhere() -> None:
    bound = ["10.0.0.53", "127.0.0.1", "::1", "fd00::53", "fe80::1", "169.254.20.10", "10.0.0.53"]
    assert own_addresses(bound) == (bytes([10, 0, 0, 53]), bytes.fromhex("fd00" + "0" * 26 + "53"))
    assert not any(address[0] == 127 for address in own_addresses([]) if len(address) == 4)
