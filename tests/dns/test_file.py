"""The plugin `file`: master files, and answers from zones."""

import os

import pytest

from tests.dns.chains import Answers, eventually, lines, read, serving, zone
from wherry.dns import names
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.corefile.load import load as load_corefile
from wherry.dns.message import NOERROR, NOTIFY, NXDOMAIN, REFUSED, SERVFAIL, Edns
from wherry.dns.plugins.file.master import MasterFileError, load

SOA = "example.org. 300 SOA ns.example.org. root.example.org. 7 1 2 3 4"
NS = ["example.org. 300 NS ns.example.org.", "example.org. 300 NS ns.elsewhere.net."]
MASTER = r"""$TTL 5m
$ORIGIN ORG.
example IN SOA ns.example root.Example.org. ( 7   ; the serial
                1 2 3 4 )
        IN NS ns.example
           NS ns.elsewhere.net.
$ORIGIN example.org.
@       60 MX 10 mail
ns      A 192.0.2.1
        AAAA 2001:db8::1
MAIL    A 192.0.2.2
www     CNAME web
web     A 192.0.2.3
loop1   CNAME loop2
loop2   CNAME loop1
out     CNAME a.elsewhere.net.
gone    CNAME none.elsewhere.net.
dead    CNAME nowhere
sub     NS ns.sub
        NS ns.elsewhere.net.
        DS 1 8 1 abababababababababababababababababababab
ns.sub  A 192.0.2.9
intosub CNAME host.sub
*.wild  TXT "made"
        MX 20 mail
there.wild A 192.0.2.4
*.alias CNAME web
a.b.ent A 192.0.2.5
c.ent.wild A 192.0.2.6
old     DNAME new
x.new   A 192.0.2.7
away    DNAME elsewhere.net.
_http._tcp SRV 0 1 80 Web
           SRV 0 2 80 web
has\046dot A 192.0.2.8
$GENERATE 1-3 node$ A 10.0.0.$
"""


@pytest.fixture
def master(tmp_path):
    (tmp_path / "db").write_text(MASTER)
    return tmp_path


END = Answers(zone("a.elsewhere.net. 9 A 192.0.2.99", "x.elsewhere.net. 9 A 192.0.2.98", rcode=NXDOMAIN))
WEB = "web.example.org. 300 A 192.0.2.3"


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "answer", "authority", "additional"),
    [
        ("@", "SOA", NOERROR, [SOA], NS, []),
        ("@", "NS", NOERROR, NS, [], ["ns.example.org. 300 A 192.0.2.1", "ns.example.org. 300 AAAA 2001:db8::1"]),
        ("@", "A", NOERROR, [], [SOA], []),
        ("@", "MX", NOERROR, ["example.org. 60 MX 10 mail.example.org."], NS, ["mail.example.org. 300 A 192.0.2.2"]),
        ("WEB", "A", NOERROR, [WEB], NS, []),
        ("www", "A", NOERROR, ["www.example.org. 300 CNAME web.example.org.", WEB], NS, []),
        ("www", "CNAME", NOERROR, ["www.example.org. 300 CNAME web.example.org."], NS, []),
        ("web", "TXT", NOERROR, [], [SOA], []),
        ("none", "A", NXDOMAIN, [], [SOA], []),
        ("b.ent", "A", NOERROR, [], [SOA], []),
        ("ent", "A", NOERROR, [], [SOA], []),
        ("x.ent", "A", NXDOMAIN, [], [SOA], []),
        ("any.wild", "TXT", NOERROR, ['any.wild.example.org. 300 TXT "made"'], NS, []),
        ("a.b.wild", "TXT", NOERROR, ['a.b.wild.example.org. 300 TXT "made"'], NS, []),
        ("any.wild", "MX", NOERROR, ["any.wild.example.org. 300 MX 20 mail.example.org."], NS,
         ["mail.example.org. 300 A 192.0.2.2"]),
        ("any.wild", "A", NOERROR, [], [SOA], []),
        ("there.wild", "TXT", NOERROR, [], [SOA], []),
        ("x.there.wild", "TXT", NXDOMAIN, [], [SOA], []),
        ("x.ent.wild", "TXT", NXDOMAIN, [], [SOA], []),
        ("any.alias", "A", NOERROR, ["any.alias.example.org. 300 CNAME web.example.org.", WEB], NS, []),
        ("out", "A", NOERROR, ["out.example.org. 300 CNAME a.elsewhere.net.",
         "a.elsewhere.net. 9 A 192.0.2.99"], NS, []),
        ("gone", "A", NXDOMAIN, ["gone.example.org. 300 CNAME none.elsewhere.net."], [SOA], []),
        ("dead", "A", NXDOMAIN, ["dead.example.org. 300 CNAME nowhere.example.org."], [SOA], []),
        ("x.old", "A", NOERROR, ["old.example.org. 300 DNAME new.example.org.",
         "x.old.example.org. 300 CNAME x.new.example.org.", "x.new.example.org. 300 A 192.0.2.7"], NS, []),
        ("old", "A", NOERROR, [], [SOA], []),
        ("x.away", "A", NOERROR, ["away.example.org. 300 DNAME elsewhere.net.",
         "x.away.example.org. 300 CNAME x.elsewhere.net.", "x.elsewhere.net. 9 A 192.0.2.98"], NS, []),
        ("_http._tcp", "SRV", NOERROR, ["_http._tcp.example.org. 300 SRV 0 1 80 Web.example.org.",
         "_http._tcp.example.org. 300 SRV 0 2 80 web.example.org."], NS, [WEB]),
        (r"has\.dot", "A", NOERROR, [r"has\.dot.example.org. 300 A 192.0.2.8"], NS, []),
        ("node3", "A", NOERROR, ["node3.example.org. 300 A 10.0.0.3"], NS, []),
    ],
)  # fmt: skip
async def test_answers(master, name, kind, rcode, answer, authority, additional) -> None:
    full = "example.org" if name == "@" else f"{name}.example.org"
    async with serving(". {\n file {dir}/db example.org\n}", master, end=END) as world:
        reply = await world.ask(full, kind)
        assert (reply.rcode, reply.authoritative) == (rcode, True)
        assert (lines(reply.answer), lines(reply.authority), lines(reply.additional)) == (answer, authority, additional)


async def test_delegations(master) -> None:
    servers = ["sub.example.org. 300 NS ns.sub.example.org.", "sub.example.org. 300 NS ns.elsewhere.net."]
    glue = ["ns.sub.example.org. 300 A 192.0.2.9"]
    async with serving(". {\n file {dir}/db example.org\n}", master) as world:
        for name, kind in (("sub", "A"), ("host.sub", "A"), ("ns.sub", "A"), ("sub", "NS")):
            reply = await world.ask(f"{name}.example.org", kind)
            assert (reply.rcode, reply.authoritative, reply.answer) == (NOERROR, False, [])
            assert (lines(reply.authority), lines(reply.additional)) == (servers, glue)
        signed = await world.ask("host.sub.example.org", edns=Edns(1232, dnssec_ok=True))
        assert lines(signed.authority)[-1].startswith("sub.example.org. 300 DS 1 8 1 ")
        parents = await world.ask("sub.example.org", "DS")
        assert (len(parents.answer), parents.authoritative) == (1, True)
        alias = await world.ask("intosub.example.org")
        assert (len(alias.answer), lines(alias.authority), alias.authoritative) == (1, servers, True)


async def test_what_is_refused_dropped_and_passed_on(master) -> None:
    corefile = ". {\n file {dir}/db example.org {\n fallthrough b.ent.example.org none.example.org\n }\n}"
    end = Answers(zone("none.example.org. 9 A 192.0.2.99", "b.ent.example.org. 9 A 192.0.2.98"))
    async with serving(corefile, master, end=end) as world:
        assert (await world.ask("example.org", "AXFR", transport="tcp")).rcode == REFUSED
        notify = world.query("example.org", "SOA")
        notify.opcode = NOTIFY
        assert await world.reply(notify) is None
        assert not end.asked
        assert lines((await world.ask("none.example.org")).answer) == ["none.example.org. 9 A 192.0.2.99"]
        assert lines((await world.ask("b.ent.example.org")).answer) == ["b.ent.example.org. 9 A 192.0.2.98"]
        assert (await world.ask("other.example.org")).rcode == NXDOMAIN
        assert (await world.ask("loop1.example.org")).answer
        assert len(end.asked) == 2


async def test_a_signed_zone_is_served_with_its_signatures(tmp_path) -> None:
    def rrsig(owner: str, kind: str) -> str:
        return f"{owner} 60 RRSIG {kind} 8 2 60 20300101000000 20200101000000 1 z. AAAA"

    (tmp_path / "db").write_text(
        "\n".join((
            "z. 60 SOA ns.z. root.z. 1 2 3 4 5", "z. 60 NS ns.z.", "z. 60 NSEC a.z. NS SOA RRSIG NSEC",
            "a.z. 60 A 192.0.2.1", "a.z. 60 NSEC m.z. A RRSIG NSEC", "m.z. 60 TXT x", "m.z. 60 NSEC z. TXT RRSIG NSEC",
            rrsig("z.", "SOA"), rrsig("z.", "NS"), rrsig("z.", "NSEC"), rrsig("a.z.", "A"), rrsig("a.z.", "NSEC"),
            rrsig("m.z.", "NSEC"), "*.w.z. 60 TXT x", "*.w.z. 60 NSEC z. TXT RRSIG NSEC", rrsig("*.w.z.", "NSEC"),
        )) + "\n"
    )  # fmt: skip
    async with serving("z {\n file {dir}/db\n}", tmp_path) as world:

        async def kinds(name: str, kind: str, *, signed: bool) -> list[str]:
            reply = await world.ask(name, kind, edns=Edns(4096, dnssec_ok=signed))
            return [" ".join(line.split()[i] for i in (0, 2)) for line in lines(reply.answer + reply.authority)]

        assert await kinds("a.z", "A", signed=False) == ["a.z. A", "z. NS"]
        assert await kinds("a.z", "A", signed=True) == ["a.z. A", "a.z. RRSIG", "z. NS", "z. RRSIG"]
        assert await kinds("a.z", "TXT", signed=True) == ["z. SOA", "z. RRSIG", "a.z. NSEC", "a.z. RRSIG"]
        assert await kinds("x.w.z", "A", signed=True) == ["z. SOA", "z. RRSIG", "*.w.z. NSEC", "*.w.z. RRSIG"]
        denial = await kinds("k.z", "A", signed=True)
        assert denial == ["z. SOA", "z. RRSIG", "a.z. NSEC", "a.z. RRSIG", "z. NSEC", "z. RRSIG"]


async def test_a_zone_is_read_again_when_its_serial_changes(tmp_path) -> None:
    def write(serial: int, address: str, time: int) -> None:
        (tmp_path / "db").write_text(f"@ 60 SOA a b {serial} 1 2 3 4\n@ 60 NS ns\nwww 60 A {address}\n")
        os.utime(tmp_path / "db", (time, time))

    write(1, "192.0.2.1", 1000)
    async with serving("z {\n file {dir}/db {\n reload 0s\n }\n}", tmp_path) as world:
        source = next(iter(world.plugin("file").sources.values()))
        assert source.read() is False
        write(1, "192.0.2.2", 2000)
        assert source.read() is False, "the serial is the same"
        write(2, "192.0.2.3", 3000)
        assert source.read() is True
        assert lines((await world.ask("www.z")).answer) == ["www.z. 60 A 192.0.2.3"]
        source.by_time = True
        write(2, "192.0.2.4", 4000)
        assert source.read() is True
        (tmp_path / "db").write_text("broken\n")
        with pytest.raises(MasterFileError, match="db:1"):
            source.read()
        assert lines((await world.ask("www.z")).answer) == ["www.z. 60 A 192.0.2.4"]


async def test_a_missing_file_is_waited_for(tmp_path) -> None:
    async with serving("z {\n file {dir}/db {\n reload 10ms\n }\n}", tmp_path) as world:
        assert (await world.ask("www.z")).rcode == SERVFAIL
        (tmp_path / "new").write_text("@ 60 SOA a b 1 1 2 3 4\n@ 60 NS ns\nwww 60 A 192.0.2.1\n")
        os.replace(tmp_path / "new", tmp_path / "db")
        source = next(iter(world.plugin("file").sources.values()))
        await eventually(lambda: source.zone)
        assert lines((await world.ask("www.z")).answer) == ["www.z. 60 A 192.0.2.1"]


async def test_a_reload_reads_only_what_changed(tmp_path) -> None:
    (tmp_path / "db").write_text("@ 60 SOA a b 1 1 2 3 4\n@ 60 NS ns\n")
    corefile = "z {\n file {dir}/db\n}"
    async with serving(corefile, tmp_path) as world:
        process = world.config.process
        first = next(iter(world.plugin("file").sources.values())).zone
        (tmp_path / "Corefile").write_text(f"z {{\n file {tmp_path}/db\n cache\n}}")
        again = load_corefile(str(tmp_path / "Corefile"), process, strict=True)
        assert next(iter(again.blocks[0].plugins["file"].sources.values())).zone is first
        (tmp_path / "db").write_text("@ 60 SOA a b 2 1 2 3 4\n@ 60 NS ns\n; longer\n")
        again = load_corefile(str(tmp_path / "Corefile"), process, strict=True)
        assert next(iter(again.blocks[0].plugins["file"].sources.values())).zone.serial == 2
        assert first.serial == 1


async def test_records_for_a_transfer(master) -> None:
    async with serving(". {\n file {dir}/db example.org\n}", master) as world:
        plugin, origin = world.plugin("file"), names.from_text("example.org")
        found = lines(list(plugin.transfer(origin, None)))
        assert (found[0], found[-1], found[1:3]) == (SOA, SOA, NS)
        assert len(found) == len(set(found)) + 1 == 35
        assert lines(list(plugin.transfer(origin, 7))) == [SOA]
        assert lines(list(plugin.transfer(origin, 8))) == [SOA]
        assert len(list(plugin.transfer(origin, 6))) == 35
        assert plugin.transfer(names.from_text("org"), None) is None


def test_included_files(tmp_path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "db").write_text(
        "$TTL 60\n@ SOA a b 1 1 2 3 4\n NS ns\nfirst A 192.0.2.1\n$INCLUDE parts/one sub\n A 192.0.2.2\n"
    )
    (tmp_path / "parts" / "one").write_text("$TTL 30\nx A 192.0.2.3\n$INCLUDE two\n")
    (tmp_path / "parts" / "two").write_text("y A 192.0.2.4\n")
    loaded = load(tmp_path / "db", names.from_text("z"))
    assert [os.path.relpath(file, tmp_path) for file in loaded.files] == ["db", "parts/one", "parts/two"]
    found = {names.to_text(name): lines(node[1]) for name, node in loaded.nodes.items() if 1 in node}
    assert found == {
        "first.z.": ["first.z. 60 A 192.0.2.1", "first.z. 60 A 192.0.2.2"],
        "x.sub.z.": ["x.sub.z. 30 A 192.0.2.3"],
        "y.sub.z.": ["y.sub.z. 30 A 192.0.2.4"],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("www A 192.0.2.999", r"db:1: "),
        ("@ 60 NS ns", "no SOA record for origin z."),
        ("@ 60 SOA a b 1 1 2 3 4\n$INCLUDE db", "include one another"),
        ("@ 60 SOA a b 1 1 2 3 4\n$GENERATE 1-70000 n$ A 192.0.2.1", r"db:2: .*65535 are the limit"),
        ("@ 60 SOA a b 1 1 2 3 4\nx 60 NSEC3 1 0 1 ab 2vptu5timamqttgl4luu9kg21e0aor3s", "NSEC3 zones are not"),
    ],
)
def test_errors_of_master_files_name_the_line_of_the_corefile_too(tmp_path, text, words) -> None:
    (tmp_path / "db").write_text(text + "\n")
    with pytest.raises(CorefileError, match=words) as caught:
        read("z {\n file {dir}/db\n}", tmp_path)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("file", "Wrong argument count", 2),
        ("file {dir}/none {\n reload 0\n }", "cannot read", 2),
        ("file {dir}/none {\n reload -1s\n }", "negative", 3),
        ("file {dir}/none {\n surprise\n }", "unknown property", 3),
    ],
)
def test_errors_name_the_line(tmp_path, text, words, line) -> None:
    with pytest.raises(CorefileError, match=words) as caught:
        read(f". {{\n {text}\n}}", tmp_path)
    assert caught.value.line == line
