"""The plugin `autopath`: search lists gone through in one query."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.dns.chains import Answers, lines, read, serving, zone
from tests.dns.cluster import api_server, namespace, service
from wherry.dns import names
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.message import NOERROR, NXDOMAIN, SERVFAIL
from wherry.dns.plugin import Request, ServeError
from wherry.dns.plugins.autopath import search_of
from wherry.kube import kinds
from wherry.kube.testing.apiserver import FakeApiServer

KNOWN = zone(
    "www.example.com. 60 IN A 192.0.2.1",
    "db.lan. 60 IN A 192.0.2.2",
    "empty.lan. 60 IN SOA ns. h. 1 2 3 4 5",
    rcode=NXDOMAIN,
)
RESOLV = "domain old.example\nsearch a.test Lan # mine\nnameserver 10.0.0.1\n"
FILE = ". {\n autopath {dir}/resolv.conf\n}"


@pytest.fixture
def resolv(tmp_path: Path) -> Path:
    (tmp_path / "resolv.conf").write_text(RESOLV)
    return tmp_path


def test_search_lists() -> None:
    assert search_of(RESOLV) == [names.from_text("a.test"), names.from_text("lan")]
    assert search_of("search .\nnameserver 1.1.1.1") == []
    assert search_of("search a..b ok") == [names.from_text("ok")]
    assert search_of("") == []


async def test_the_first_suffix_that_exists_answers_under_an_alias(resolv: Path) -> None:
    end = Answers(KNOWN)
    async with serving(FILE, resolv, end=end) as world:
        message = await world.ask("Db.a.test")
        assert message.question is not None
        assert names.to_text(message.question.name) == "Db.a.test."
        assert lines(message.answer) == ["Db.a.test. 60 CNAME db.lan.", "db.lan. 60 A 192.0.2.2"]
        assert [names.to_text(request.folded) for request in end.asked] == ["db.a.test.", "db.lan."]
        assert lines((await world.ask("www.example.com.a.test")).answer) == [
            "www.example.com.a.test. 60 CNAME www.example.com.",
            "www.example.com. 60 A 192.0.2.1",
        ]
        assert world.value("coredns_autopath_success_total", server="dns://:53") == 2


async def test_other_names_are_left_alone(resolv: Path) -> None:
    end = Answers(KNOWN)
    async with serving(FILE, resolv, end=end) as world:
        for name in ("db.lan", "a.test", "www.example.com", "xa.test"):
            end.asked.clear()
            await world.ask(name)
            assert [names.to_text(request.folded) for request in end.asked] == [f"{name}."]


async def test_where_nothing_exists_the_first_answer_counts(resolv: Path) -> None:
    end = Answers(KNOWN)
    async with serving(FILE, resolv, end=end) as world:
        message = await world.ask("none.a.test")
        assert (message.rcode, message.answer) == (NXDOMAIN, [])
        assert message.question is not None
        assert names.to_text(message.question.name) == "none.a.test."
        assert len(end.asked) == 3
        assert world.value("coredns_autopath_success_total", server="dns://:53") == 0


async def test_names_too_long_for_a_suffix_are_not_tried_there(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search t " + ".".join(["x" * 60] * 3) + " lan\n")
    end = Answers(KNOWN)
    async with serving(FILE, tmp_path, end=end) as world:
        await world.ask(".".join(["y" * 30] * 3) + ".t")
        assert len(end.asked) == 3


@pytest.mark.parametrize(("text", "asked"), [("", 3), ("upstream is down", 1)])
async def test_failures_are_not_taken_for_absence(resolv: Path, text: str, asked: int) -> None:
    """An error that is told of ends the search; a bare one is passed over, as in CoreDNS."""

    def fail(request: Request) -> None:
        raise ServeError(SERVFAIL, text)

    end = Answers(fail)
    async with serving(FILE, resolv, end=end) as world:
        assert (await world.ask("db.a.test")).rcode == SERVFAIL
        assert len(end.asked) == asked


async def test_silence_stays_silence(resolv: Path) -> None:
    async with serving(FILE, resolv, end=Answers(lambda _: None)) as world:
        assert await world.reply(world.query("db.a.test")) is None


# -- with kubernetes -------------------------------------------------------------------------------------------------

PODS = """. {
  autopath @kubernetes
  kubernetes cluster.local {
    pods %s
    startup_timeout 30s
  }
}"""


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with api_server() as fake:
        for name in ("shop", "other"):
            fake.put(kinds.NAMESPACES, namespace(name))
            fake.put(kinds.SERVICES, service(f"web-{name}", "10.3.0.1", namespace=name))
        for name, place, address in (("p", "shop", "10.1.0.1"), ("h", "shop", "10.9.0.1"), ("i", "other", "10.9.0.1")):
            pod = {"metadata": {"name": name, "namespace": place}, "status": {"podIP": address}}
            fake.put(kinds.PODS.as_dict(), pod)
        yield fake


async def test_a_pods_search_list_is_known_by_its_address(server: FakeApiServer, tmp_path: Path) -> None:
    end = Answers(KNOWN)
    async with serving(PODS % "verified", tmp_path, end=end, endpoint=lambda: server.endpoint) as world:

        async def ask(name: str, client: str = "10.1.0.1") -> tuple[int, list[str]]:
            message = await world.ask(name, client=client)
            return message.rcode, [line.split(None, 2)[2] for line in lines(message.answer)]

        assert await ask("www.example.com.shop.svc.cluster.local") == (
            NOERROR,
            ["CNAME www.example.com.", "A 192.0.2.1"],
        )
        assert await ask("web-other.other.shop.svc.cluster.local") == (
            NOERROR,
            ["CNAME web-other.other.svc.cluster.local.", "A 10.3.0.1"],
        )
        assert await ask("web-shop.shop.svc.cluster.local") == (NOERROR, ["A 10.3.0.1"])
        # another namespace's list, no pod, and an address that several namespaces share
        for name, client in (("other", "10.1.0.1"), ("shop", "10.1.0.2"), ("shop", "10.9.0.1")):
            assert await ask(f"www.example.com.{name}.svc.cluster.local", client) == (NXDOMAIN, [])


async def test_without_verified_pods_nothing_is_known(server: FakeApiServer, tmp_path: Path) -> None:
    async with serving(PODS % "insecure", tmp_path, end=Answers(KNOWN), endpoint=lambda: server.endpoint) as world:
        message = await world.ask("www.example.com.shop.svc.cluster.local", client="10.1.0.1")
        assert message.rcode == NXDOMAIN
        assert not world.plugin("autopath").transparent


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("autopath", "no resolv-conf specified"),
        ("autopath {dir}/none.conf", "failed to parse '.*none.conf'"),
        ('autopath ""', "failed to parse ''"),
        ("autopath @whoami\nwhoami", "plugin whoami knows no search lists"),
    ],
)
async def test_what_is_wrong_is_said(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CorefileError, match=f"plugin/autopath: {tmp_path}/Corefile:2 .*{complaint}"):
        await read(f". {{\n{text}\n}}", tmp_path)[0].blocks[0].plugins["autopath"].start()


async def test_a_block_without_that_plugin_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(". {\n autopath @kubernetes\n}", tmp_path, end=Answers(KNOWN)) as world:
        assert lines((await world.ask("db.lan")).answer) == ["db.lan. 60 A 192.0.2.2"]
        assert "does nothing, as this block has no kubernetes" in caplog.text
