"""The plugin `template`, and the part of Go's templates that it reads."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dns.chains import SERVER, Answers, lines, read, serving, zone
from wherry.dns import names
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.message import NOERROR, NXDOMAIN, SERVFAIL, Edns
from wherry.dns.plugins.template.render import RenderError, Template

DATA = {
    "Name": "a.example.",
    "Group": {"a": "10", "b": "0f", "0": "all", "empty": ""},
    "Match": ["all", "one"],
    "Question": {"Qtype": 1},
    "Meta": lambda label: f"<{label}>",
}
FIELDS = frozenset(DATA)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ .Name }} 60 IN A 1.2.3.4", "a.example. 60 IN A 1.2.3.4"),
        ("{{.Group.a}}.{{ .Group.b }}", "10.0f"),
        ("{{ index .Match 1 }}/{{ index .Group \"a\" }}/{{ index .Group `none` }}", "one/10/"),
        ("{{ .Group.none }}", "<no value>"),
        ("{{ parseInt .Group.b 16 8 }}", "15"),
        ("{{ parseInt \"0x1F\" 0 64 }}", "31"),
        ("{{ .Group.b | printf \"%s-%s\" .Group.a }}", "10-0f"),
        ('{{ printf "%02x %03d %v %q" 10 7 .Name "q" }}', '0a 007 a.example. "q"'),
        ('{{ printf "%5s|%-4s|%t %%" "r" "l" true }}', "    r|l   |true %"),
        ("{{ if .Group.empty }}yes{{ else }}no{{ end }}", "no"),
        ("{{ if eq .Group.a \"9\" }}a{{ else if eq .Group.a \"10\" }}b{{ else }}c{{ end }}d", "bd"),
        ("{{ if eq .Group.a \"9\" }}a{{ else if false }}b{{ else }}c{{ end }}d", "cd"),
        ("{{ if and .Name (not .Group.empty) }}x{{ end }}", "x"),
        ("{{ if or (lt 2 1) (ge \"b\" \"a\") }}x{{ end }}", "x"),
        ("{{ range .Match }}<{{ . }}>{{ end }}", "<all><one>"),
        ("{{ range $i, $m := .Match }}{{ $i }}={{ $m }} {{ $.Name }};{{ end }}", "0=all a.example.;1=one a.example.;"),
        ("{{ range slice .Match 2 }}x{{ else }}none{{ end }}", "none"),
        ("{{ with .Group.a }}{{ . }}{{ else }}-{{ end }}{{ with .Group.empty }}x{{ end }}", "10"),
        ("a {{- /* gone */ -}} b {{- .Group.a -}} c", "abc".replace("b", "b10")),
        ("{{ $x := len .Match }}{{ if true }}{{ $x = 5 }}{{ end }}{{ $x }}", "5"),
        ("{{ .Meta \"kubernetes/namespace\" }}", "<kubernetes/namespace>"),
        ("{{ (index .Match 0) }}{{ .Question.Qtype }}{{ print 1 2 \"x\" }}", "all11 2x"),
        ('{{ "}}" }}', "}}"),
        ("{{ 'a' }} {{ 0x10 }} {{ -5 }}", "97 16 -5"),
    ],
)  # fmt: skip
def test_templates(text, result) -> None:
    assert Template(text, FIELDS).render(DATA) == result


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ .Name", "unclosed action"),
        ("{{ .Nmae }}", "can't evaluate field Nmae"),
        ("{{ if .Name }}", "no {{end}} for {{if}}"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ else }}", "unexpected {{else}}"),
        ("{{ if .Name }}{{ else }}{{ else }}{{ end }}", "unexpected {{else}}"),
        ("{{ lower .Name }}", 'function "lower" not defined'),
        ("{{ }}", "missing value"),
        ("{{ .Name | }}", "missing value"),
        ("{{ (.Name }}", "unclosed parenthesis"),
        ('{{ template "x" }}', "not part of templates here"),
        ("{{ 'ab' }}", "no character"),
        ("{{ " + "(" * 99 + " }}", "more than 64 parentheses"),
        ("{{ if true }}" * 99, "more than 64 branches"),
        ("{{ 5 := 3 }}", "only variables can be set"),
    ],
)
def test_what_is_no_template(text, words) -> None:
    with pytest.raises(ValueError, match=words.replace("{", r"\{")):
        Template(text, FIELDS)


@pytest.mark.parametrize(
    "text",
    ['{{ parseInt "zz" 10 8 }}', '{{ parseInt "300" 10 8 }}', "{{ index .Match 9 }}", "{{ .Name.x }}", "{{ .Name 5 }}",
     "{{ eq .Name 5 }}", "{{ range .Name }}{{ end }}", "{{ $y }}", '{{ printf "%d" }}',
     "{{ range 9999 }}xxxxxxxxxx{{ end }}", "{{ range 99999999999 }}{{ end }}"],
)  # fmt: skip
def test_data_that_do_not_fit(text) -> None:
    with pytest.raises(RenderError):
        Template(text, FIELDS).render(DATA)


PIECES = st.sampled_from(
    ["{{", "}}", "{{- ", " -}}", "if", "else", "end", "range", "with", ".Name", ".Group.a", ".Match", "$", "$x", ":=",
     "|", "(", ")", '"a"', "`", "'", "1", "index", "printf", "parseInt", "eq", "and", "/*", "*/", "\\", ","]
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(PIECES, max_size=14).map(" ".join))
def test_any_text_is_a_template_or_a_clear_error(text) -> None:
    try:
        template = Template(text, FIELDS)
    except ValueError:
        return
    with contextlib.suppress(RenderError):
        template.render(DATA)


MANUAL = r"""example.com.dc1.example.com example invalid in-addr.arpa {
    template IN ANY example.com.dc1.example.com {
      rcode NXDOMAIN
      authority "{{ .Zone }} 60 IN SOA ns.example.com hostmaster.example.com (1 60 60 60 60)"
    }
    template ANY ANY invalid {
      rcode NXDOMAIN
      authority "invalid. 60 {{ .Class }} SOA ns.invalid. hostmaster.invalid. (1 60 60 60 60)"
      ederror 21 "Blocked according to RFC2606"
    }
    template IN A example {
      match (^|[.])ip-(?P<a>[0-9]*)-(?P<b>[0-9]*)-(?P<c>[0-9]*)-(?P<d>[0-9]*)[.]example[.]$
      match ^(?<a>[0-9]*)[.](?<b>[0-9]*)[.](?<c>[0-9]*)[.](?<d>[0-9]*)[.]ext[.]example[.]$
      answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"
      fallthrough
    }
    template IN PTR in-addr.arpa {
      match ^(?P<d>[0-9]*)[.](?P<c>[0-9]*)[.](?P<b>[0-9]*)[.](?P<a>[0-9]*)[.]in-addr[.]arpa[.]$
      answer "{{ .Name }} 60 IN PTR ip-{{ .Group.a }}-{{ .Group.b }}-{{ .Group.c }}-{{ .Group.d }}.example."
    }
    template IN MX example {
      match ^ip-10-(?P<b>[0-9]*)[.]example[.]$
      answer "{{ .Name }} 60 IN MX 10 {{ .Name }}"
      additional "{{ .Name }} 60 IN A 10.0.0.{{ .Group.b }}" "{{ .Name }} 60 IN A 10.0.1.{{ .Group.b }}"
      authority "example. 60 IN NS ns0.example."
      fallthrough
    }
    template IN AAAA example {
      rcode NOERROR
    }
}"""


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "answer", "authority"),
    [
        ("x.example.com.dc1.example.com", "TXT", NXDOMAIN, [],
         "example.com.dc1.example.com. 60 SOA ns.example.com. hostmaster.example.com. 1 60 60 60 60"),
        ("A.invalid", "A", NXDOMAIN, [], "invalid. 60 SOA ns.invalid. hostmaster.invalid. 1 60 60 60 60"),
        ("x.ip-10-1-2-3.example", "A", NOERROR, ["x.ip-10-1-2-3.example. 60 A 10.1.2.3"], None),
        ("10.1.2.3.ext.example", "A", NOERROR, ["10.1.2.3.ext.example. 60 A 10.1.2.3"], None),
        ("IP-1-2-3-4.example", "A", NOERROR, ["ip-1-2-3-4.example. 60 A 1.2.3.4"], None),
        ("ip-1-2-3-999.example", "A", SERVFAIL, [], None),
        ("4.3.2.1.in-addr.arpa", "PTR", NOERROR, ["4.3.2.1.in-addr.arpa. 60 PTR ip-1-2-3-4.example."], None),
        ("2.1.in-addr.arpa", "PTR", SERVFAIL, [], None),
        ("ip-10-7.example", "MX", NOERROR, ["ip-10-7.example. 60 MX 10 ip-10-7.example."],
         "example. 60 NS ns0.example."),
        ("anything.example", "AAAA", NOERROR, [], None),
        ("other.example", "A", NOERROR, ["other.example. 5 A 192.0.2.9"], None),
    ],
)  # fmt: skip
async def test_examples_of_the_manual(tmp_path, name, kind, rcode, answer, authority) -> None:
    end = Answers(zone("other.example. 5 A 192.0.2.9"))
    async with serving(MANUAL, tmp_path, end=end) as world:
        reply = await world.ask(name, kind, edns=Edns(1232))
        assert (reply.rcode, lines(reply.answer), lines(reply.authority)) == (
            rcode,
            answer,
            [authority] if authority else [],
        )
        assert len(reply.additional) == (2 if kind == "MX" else 0)
        blocked = ((15, b"\0\x15Blocked according to RFC2606"),)
        assert reply.edns.options == (blocked if "invalid" in name else ())
        labels = {"server": SERVER, "zone": "example.", "view": "", "class": "IN", "type": kind}
        matched = name.endswith("example") and name != "other.example"
        assert world.value("coredns_template_matches_total", **labels) == matched


async def test_failures_are_counted_and_answered(tmp_path) -> None:
    corefile = """. {
        template IN A bad {
            answer "{{ .Name }} 60 IN A {{ index .Match 5 }}"
        }
        template IN TXT bad {
            answer "{{ .Name }} 60 IN NONSENSE x"
        }
    }"""
    async with serving(corefile, tmp_path) as world:
        labels = {"server": SERVER, "zone": "bad.", "view": "", "class": "IN", "section": "answer"}
        for kind, metric, text in (
            ("A", "template_failures", "{{ .Name }} 60 IN A {{ index .Match 5 }}"),
            ("TXT", "rr_failures", "{{ .Name }} 60 IN NONSENSE x"),
        ):
            assert (await world.ask("bad", kind)).rcode == SERVFAIL
            assert world.value(f"coredns_template_{metric}_total", type=kind, template=text, **labels) == 1


async def test_targets_of_cnames_are_resolved(tmp_path) -> None:
    corefile = """. {
        template IN ANY foogle.com {
            match "^foogle\\.com\\.$"
            answer "foogle.com 60 IN CNAME google.com"
        }
    }"""
    async with serving(corefile, tmp_path, end=Answers(zone("google.com. 9 A 192.0.2.1"))) as world:
        found = ["foogle.com. 60 CNAME google.com.", "google.com. 9 A 192.0.2.1"]
        assert lines((await world.ask("foogle.com")).answer) == found
        assert lines((await world.ask("foogle.com", "TXT")).answer) == found[:1]


async def test_who_asks_can_be_in_the_answer(tmp_path) -> None:
    async with serving(
        '. {\n template IN TXT . {\n answer "{{ .Name }} 0 IN TXT {{ .Remote }}"\n }\n}', tmp_path
    ) as world:
        assert lines((await world.ask("me", "TXT", client="2001:db8::9")).answer) == ['me. 0 TXT "2001:db8::9"']


async def test_classes_and_servfail(tmp_path) -> None:
    corefile = ". {\n template CH TXT . {\n rcode REFUSED\n }\n template IN ANY no {\n rcode SERVFAIL\n }\n}"
    async with serving(corefile, tmp_path, end=Answers(zone("a.lan. 1 A 192.0.2.1"))) as world:
        assert (await world.ask("a.lan", "TXT", klass=3)).rcode == 5
        assert (await world.ask("a.lan")).answer
        refused = await world.ask("no")
        assert (refused.rcode, refused.authoritative) == (SERVFAIL, False)


async def test_conditions(tmp_path) -> None:
    corefile = r"""example {
        template IN A {
            match ^(?P<ip>[0-9-]+)[.]example[.]$
            expr group('ip') startsWith '10-'
            expr incidr(client_ip(), '192.0.2.0/24') and group(1) == group("ip")
            answer "{{ .Name }} 60 IN A 192.0.2.1"
            fallthrough
        }
        template IN TXT {
            expr incidr(group('none'), '10.0.0.0/8')
            fallthrough
        }
    }"""
    async with serving(corefile, tmp_path, end=Answers(zone("11-1.example. 5 A 192.0.2.9"))) as world:
        assert lines((await world.ask("10-1.example")).answer) == ["10-1.example. 60 A 192.0.2.1"]
        assert (await world.ask("10-1.example", client="2001:db8::1")).answer == []
        assert lines((await world.ask("11-1.example")).answer) == ["11-1.example. 5 A 192.0.2.9"]
        assert (await world.ask("x.example", "TXT")).rcode == SERVFAIL


def test_what_fronts_hand_over(tmp_path) -> None:
    config, _ = read(
        ". {\n template IN AAAA . {\n rcode NOERROR\n }\n template ANY ANY x y {\n rcode NXDOMAIN\n }\n}", tmp_path
    )
    zones = {(names.to_text(name), kind) for name, kind in config.blocks[0].plugins["template"].excluded_zones()}
    assert zones == {(".", 28), (".", 255), ("x.", 0), ("y.", 0)}


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("template IN", "Wrong argument count", 2),
        ("template XX A", "'XX' is not a class", 2),
        ("template IN B", "'B' is not a record type", 2),
        ("template IN A {\n match (\n }", "could not compile", 3),
        ('template IN A {\n answer "{{ .Nmae }}"\n }', "can't evaluate field Nmae", 3),
        ("template IN A {\n answer\n }", "Wrong argument count", 3),
        ("template IN A {\n rcode WHAT\n }", "unknown rcode WHAT", 3),
        ("template IN A {\n ederror many\n }", "whole number", 3),
        ("template IN A {\n var a 1\n }", "not part of wherry", 3),
        ("template IN A {\n expr nothing()\n }", "could not compile", 3),
        ("template IN A {\n surprise\n }", "unknown property", 3),
    ],
)
def test_errors_name_the_line(tmp_path, text, words, line) -> None:
    with pytest.raises(CorefileError, match=words) as caught:
        read(f". {{\n {text}\n}}", tmp_path)
    assert caught.value.line == line
