"""What `forward` reads from the Corefile, and DNS over HTTPS."""

import base64
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from tests.dns.chains import answering, lines, read, serving
from wherry.dns import names
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.message import NOERROR, SERVFAIL
from wherry.dns.plugins.forward import targets
from wherry.kube.pki import Authority


@pytest.mark.parametrize(
    ("text", "scheme", "address", "name"),
    [
        ("192.0.2.1", "dns", "192.0.2.1:53", ""),
        ("192.0.2.1:54", "dns", "192.0.2.1:54", ""),
        ("dns://192.0.2.1", "dns", "192.0.2.1:53", ""),
        ("2001:db8::1", "dns", "[2001:db8::1]:53", ""),
        ("[2001:db8::1]:54", "dns", "[2001:db8::1]:54", ""),
        ("[2001:db8::1]", "dns", "[2001:db8::1]:53", ""),
        ("fe80::1%eth0", "dns", "[fe80::1%eth0]:53", ""),
        ("[fe80::1%eth0]:54", "dns", "[fe80::1%eth0]:54", ""),
        ("tls://9.9.9.9", "tls", "9.9.9.9:853", ""),
        ("tls://9.9.9.9%dns.quad9.net", "tls", "9.9.9.9:853", "dns.quad9.net"),
        ("tls://9.9.9.9%dns.quad9.net:10853", "tls", "9.9.9.9:10853", "dns.quad9.net"),
        ("tls://[2620:fe::9%dns.quad9.net]:10853", "tls", "[2620:fe::9]:10853", "dns.quad9.net"),
        ("https://9.9.9.9", "https", "9.9.9.9:443", ""),
        ("dns.example", "dns", "dns.example:53", ""),
        ("tls://dns.example:854", "tls", "dns.example:854", ""),
    ],
)
def test_targets(text, scheme, address, name) -> None:
    (target,) = targets.read(text, Path)
    assert (target.scheme, target.address, target.server_name) == (scheme, address, name)
    assert target.is_name() == ("example" in text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tls://",
        "grpc://192.0.2.1",
        "ftp://192.0.2.1",
        "https://192.0.2.1/q",
        "a b",
        "192.0.2.1:0",
        "fe80::1%99999999999",
    ],
)
def test_what_is_no_target(text) -> None:
    with pytest.raises(ValueError, match=r"."):
        targets.read(text, Path)


def test_files_like_resolv_conf(tmp_path) -> None:
    (tmp_path / "resolv.conf").write_text(
        "# nameserver 192.0.2.9\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 more\nnameserver nonsense\n"
    )
    config, _ = read(". {\n forward . {dir}/resolv.conf 192.0.2.1 192.0.2.2:53\n}", tmp_path)
    assert config.blocks[0].plugins["forward"].upstreams() == ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]


def test_options(tmp_path) -> None:
    config, _ = read(
        """. {
            forward corp.lan 192.0.2.1 {
                except a.corp.lan 10.0.0.0/23
                expire 1m
                max_age 2m
                read_timeout 3s
                max_fails 0
                health_check 5s no_rec domain check.lan
                next nxdomain REFUSED
                failover SERVFAIL
                max_concurrent 7
                source_address 127.0.0.1
                doh_method GET
            }
            forward . 192.0.2.2 {
                max_concurrent 0
            }
        }""",
        tmp_path,
    )
    first, second = (stanza.options for stanza in config.blocks[0].plugins["forward"].stanzas)
    assert first.zones == (names.from_text("corp.lan"),)
    assert len(first.excepted) == 3
    assert (first.expire, first.max_age, first.read_timeout, first.max_fails) == (60, 120, 3, 0)
    assert (first.check_interval, first.check_recursion, first.check_domain) == (5, False, names.from_text("check.lan"))
    assert (first.next, first.failover, first.max_concurrent) == ({3, 5}, {2}, 7)
    assert (first.source_address, first.doh_method) == ("127.0.0.1", "GET")
    assert second.max_concurrent == 1000, "there always is a bound"


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("forward", "Wrong argument count", 2),
        ("forward .", "Wrong argument count", 2),
        ("forward . " + " ".join(f"192.0.2.{n}" for n in range(16)), "more than 15 TOs configured: 16", 2),
        ("forward . grpc://192.0.2.1", "'grpc' is not supported", 2),
        ("forward . 192.0.2.1 {\n policy fastest\n }", "unknown policy 'fastest'", 3),
        ("forward . 192.0.2.1 {\n max_fails many\n }", "whole number", 3),
        ("forward . 192.0.2.1 {\n expire -1s\n }", "expire can't be negative", 3),
        ("forward . 192.0.2.1 {\n max_age 5s\n }", r"max_age \(5s\) must not be less than expire", 2),
        ("forward . 192.0.2.1 {\n read_timeout 0s\n }", "must be positive", 3),
        ("forward . 192.0.2.1 {\n health_check 1s often\n }", "unknown option often", 3),
        ("forward . 192.0.2.1 {\n next SOMETIMES\n }", "SOMETIMES is not a valid rcode", 3),
        ("forward . 192.0.2.1 {\n failover NOERROR\n }", "cannot be used in failover", 3),
        ("forward . 192.0.2.1 {\n force_tcp yes\n }", "Wrong argument count", 3),
        ("forward . tls://192.0.2.1%a {\n tls_servername b\n }", "servernames", 2),
        ("forward . tls://192.0.2.1 {\n tls_servername a..b\n }", "no name that a certificate can have", 2),
        ("forward . tls://192.0.2.1 {\n tls /nonexistent\n }", "could not load TLS files", 3),
        ("forward . 192.0.2.1 {\n resolver dns.example\n }", "resolver must be an IP address", 3),
        ("forward . 192.0.2.1 {\n source_address here\n }", "invalid IP address: here", 3),
        ("forward . 192.0.2.1 {\n doh_method PUT\n }", "doh_method must be", 3),
        ("forward . 192.0.2.1 {\n surprise\n }", "unknown property 'surprise'", 3),
    ],
)
def test_errors_name_the_line(tmp_path, text, words, line) -> None:
    with pytest.raises(CorefileError, match=words) as caught:
        read(f". {{\n {text}\n}}", tmp_path)
    assert caught.value.line == line


async def test_over_https(tmp_path) -> None:
    found = answering("a.example. 60 A 192.0.2.1")
    asked = []

    async def serve(request: web.Request) -> web.Response:
        if request.method == "POST":
            wire = await request.read()
        else:
            wire = base64.urlsafe_b64decode(request.query["dns"] + "==")
        asked.append((request.method, wire[:2]))
        if b"broken" in wire:
            return web.Response(text="no")
        return web.Response(body=found(wire), content_type="application/dns-message")

    made = Authority.create("test")
    (tmp_path / "ca").write_bytes(made.certificate)
    made.issue_server("dns", ["dns.example"]).save(tmp_path / "certificate", tmp_path / "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    app = web.Application()
    app.router.add_route("*", "/dns-query", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    try:
        for method in ("GET", "POST"):
            corefile = f""". {{
                forward . https://127.0.0.1%dns.example:{port} {{
                    tls {tmp_path}/ca
                    doh_method {method}
                    max_fails 0
                }}
            }}"""
            async with serving(corefile, tmp_path) as world:
                reply = await world.ask("a.example")
                assert (reply.rcode, lines(reply.answer)) == (NOERROR, ["a.example. 60 A 192.0.2.1"])
                assert asked.pop() == (method, b"\0\0")
                assert (await world.ask("broken.example")).rcode == SERVFAIL
                assert asked
    finally:
        await runner.cleanup()
