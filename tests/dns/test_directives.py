"""Arguments of directives: what each takes, and what is said, with the line, of what it does not."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dns.chains import read
from wherry.dns.corefile import registry
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.corefile.model import Timeouts, TlsFiles
from wherry.kube.pki import self_signed_server

ONCE = "this plugin can only be used once per Server Block"
COUNT = "Wrong argument count or unexpected line ending after"

REFUSED = {
    "errors a": "invalid log file: a",
    "errors a b": COUNT,
    "errors {\n x\n}": "Unknown field x",
    "errors {\n consolidate 5s\n}": COUNT,
    "errors {\n consolidate 5 x\n}": 'time: missing unit in duration "5"',
    "errors {\n consolidate 5s (\n}": "invalid regex pattern",
    "errors {\n consolidate 5s x info error\n}": "multiple log levels specified in consolidate",
    "errors {\n consolidate 5s x show_first info\n}": "log level must come before show_first in consolidate",
    "errors {\n consolidate 5s x loud\n}": "unknown option in consolidate: loud",
    "errors\nerrors": ONCE,
    "health a b": COUNT,
    "health 8080": "missing port in address",
    "health ::1:8080": "too many colons in address",
    "health :x": "'x' is not a whole number from 0 to 65535",
    "health {\n lameduck\n}": COUNT,
    "health {\n lameduck x\n}": "time: invalid duration",
    "health {\n limp 5s\n}": "unknown property 'limp'",
    "ready a b": COUNT,
    "ready {\n monitor sometimes\n}": "monitor type 'sometimes' not supported",
    "ready {\n x\n}": "unknown property 'x'",
    "ready\nready": ONCE,
    "prometheus a b": COUNT,
    "prometheus x": "missing port in address",
    "prometheus {\n tls file\n}": "metrics over TLS are not part of wherry",
    "prometheus {\n x\n}": "unknown property 'x'",
    "prometheus {\n runtime_metrics x\n}": COUNT,
    "prometheus\nprometheus": ONCE,
    "loop a": COUNT,
    "loop\nloop": ONCE,
    "reload 1s": "interval value must be greater or equal to 2s",
    "reload 5s 1ms": "jitter value must be 0 or greater or equal to 1s",
    "reload a": "time: invalid duration",
    "reload 5s 5s 5s": COUNT,
    "log a {\n class some\n}": "invalid Class: some",
    "log {\n class\n}": COUNT,
    "log {\n x\n}": "unknown property 'x'",
    "log a..b": "zone is not a valid domain name",
    "loadbalance fair": "unknown policy: fair",
    "loadbalance round_robin x": "unexpected argument 'x'",
    "loadbalance weighted": "missing weight file argument",
    "loadbalance weighted a b": "unexpected argument 'b'",
    "loadbalance weighted {dir}/gone {\n reload 0\n}": "No such file",
    "loadbalance {\n reload 5s\n}": "unknown property 'reload'",
    "loadbalance {\n prefer 10.0.0.1\n}": 'invalid CIDR "10.0.0.1"',
    "loadbalance {\n prefer\n}": COUNT,
    "bufsize 511": "'511' is not a whole number from 512 to 4096",
    "bufsize 1 2": COUNT,
    "minimal x": COUNT,
    "any x": COUNT,
    "any {\n x\n}": "takes no block",
    "header": COUNT,
    "header {\n both set aa\n}": "invalid selector=both should be query or response",
    "header {\n query flip aa\n}": "unknown flag action=flip, should be set or clear",
    "header {\n query\n}": "unknown flag action=, should be set or clear",
    "header {\n query set\n}": COUNT,
    "header {\n query set tc\n}": "unknown/unsupported flag=tc",
    "local x": COUNT,
    "local {\n x\n}": "unknown property 'x'",
    "local {\n localhost_prefix maybe\n}": "localhost_prefix expects 'on' or 'off', got \"maybe\"",
    "nsid a\nnsid b": ONCE,
    "whoami x": COUNT,
    "erratic x": COUNT,
    "erratic {\n drop -1\n}": "'-1' is not a whole number",
    "erratic {\n delay 1 x\n}": "time: invalid duration",
    "erratic {\n x\n}": "unknown property 'x'",
    "acl {\n deny net *\n}": "expect 'allow', 'block', 'filter' or 'drop'",
    "acl {\n block 10.0.0.0/8\n}": "expect 'type | net'",
    "acl {\n block net\n}": 'no token specified in "net" section',
    "acl {\n block net 10.0.0.0/33\n}": 'illegal CIDR notation "10.0.0.0/33"',
    "acl {\n block type X\n}": "expect legal QTYPE",
    "view": COUNT,
    "view a {\n expr type( == 'A'\n}": "unexpected == at 7",
    "view a {\n x\n}": "unknown property 'x'",
    "view a\nview b": ONCE,
    "bind": "at least one address or interface name is expected",
    "bind nowhere0": 'not a valid IP address or interface name: "nowhere0"',
    "bind 127.0.0.1 {\n but 127.0.0.1\n}": 'invalid option "but"',
    "bind 127.0.0.1 {\n except\n}": "at least one address or interface must be given to except",
    "bind 127.0.0.1 {\n except 127.0.0.1\n}": "no address is left to listen on",
    "metadata {\n x\n}": "takes no block",
    "metadata\nmetadata": ONCE,
    "chaos {\n x\n}": "takes no block",
    "cancel 0s": "invalid negative duration",
    "cancel a b": COUNT,
    "multisocket 0": "'0' is not a whole number from 1 to 1024",
    "multisocket a b": COUNT,
    "timeouts": "timeouts block with no timeouts specified",
    "timeouts 5s": COUNT,
    "timeouts {\n read 500ms\n}": "timeout provided '500ms' needs to be between 1 second and 24 hours",
    "timeouts {\n read 25h\n}": "needs to be between 1 second and 24 hours",
    "timeouts {\n sleep 5s\n}": "unknown option: 'sleep'",
    "timeouts {\n read\n}": COUNT,
    "timeouts {\n maxtcpqueries 0\n}": "needs to be -1 (unlimited) or a positive integer",
    "tls": "ACME is not part of wherry",
    "tls a": COUNT,
    "tls gone gone": "could not load",
    "tls a b c {\n keylog x\n}": "keylog is not part of wherry",
    "tls a b c {\n x\n}": "unknown option 'x'",
    "tls a b c {\n client_auth request\n}": "'request' would take any certificate",
    "tls a b {\n client_auth require_and_verify\n}": "needs the authority",
    "debug x": COUNT,
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(CorefileError, match=re.escape(REFUSED[text])) as caught:
        read(f". {{\n{text}\n}}", tmp_path)
    plugin = text.split()[0]
    lines = text.count("\n")
    assert re.match(rf"plugin/{plugin}: {tmp_path}/Corefile:\d+ - Error during parsing: ", str(caught.value))
    assert 2 <= caught.value.line <= 2 + lines


def block(text: str, directory: Path):
    return read(f". {{\n{text}\n}}", directory)[0].blocks[0]


def test_timeouts(tmp_path: Path) -> None:
    assert block("debug", tmp_path).timeouts == Timeouts(3, 5, 10, None)
    found = block("timeouts {\n read 4\n write 2s\n}\ntimeouts {\n idle 1m\n maxtcpqueries 9\n}", tmp_path).timeouts
    assert found == Timeouts(4, 2, 60, 9)
    assert block("timeouts {\n maxtcpqueries -1\n}", tmp_path).timeouts.most_queries is None


def test_bind(tmp_path: Path) -> None:
    assert block("bind 127.0.0.1 ::1 127.0.0.1", tmp_path).bind == ("127.0.0.1", "::1")
    assert "127.0.0.1" in block("bind lo", tmp_path).bind
    assert "127.0.0.1" not in block("bind lo 127.0.0.3 {\n except 127.0.0.1\n}", tmp_path).bind
    assert block("bind 127.0.0.1\nbind 127.0.0.2", tmp_path).bind == ("127.0.0.1", "127.0.0.2")


def test_health(tmp_path: Path) -> None:
    assert block("health", tmp_path).plugins["health"].port == 8080
    found = block("health [::1]:9 {\n lameduck 5s\n}", tmp_path).plugins["health"]
    assert (found.port, found.lameduck) == (9, 5.0)
    assert block("health :1\nhealth :2", tmp_path).plugins["health"].port == 2


def test_reload(tmp_path: Path) -> None:
    found = block("reload", tmp_path).plugins["reload"]
    assert (found.interval, found.jitter) == (30, 15)
    found = block("reload 10s 9s", tmp_path).plugins["reload"]
    assert (found.interval, found.jitter) == (10, 5)
    assert block("reload 10s 0s", tmp_path).plugins["reload"].jitter == 0


def test_multisocket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    block("multisocket", tmp_path)
    assert caplog.messages == []
    block("multisocket 3", tmp_path)
    assert "start with --fronts 3" in caplog.messages[0]


def test_tls(tmp_path: Path) -> None:
    pair = self_signed_server("dns", ["127.0.0.1"])
    (tmp_path / "cert").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    cert, key = str(tmp_path / "cert"), str(tmp_path / "key")
    assert block("tls {dir}/cert {dir}/key", tmp_path).tls == TlsFiles(cert, key, "", "none")
    for word, clients in (("nocert", "none"), ("verify_if_given", "optional"), ("require_and_verify", "required")):
        text = f"tls {{dir}}/cert {{dir}}/key {{dir}}/cert {{\nclient_auth {word}\n}}"
        assert block(text, tmp_path).tls == TlsFiles(cert, key, cert, clients)
    with pytest.raises(CorefileError, match=r"could not load .*/key and .*/cert"):
        block("tls {dir}/key {dir}/cert", tmp_path)
    with pytest.raises(CorefileError, match=r"could not load .*/key: "):
        block("tls {dir}/cert {dir}/key {dir}/key", tmp_path)


_WORDS = st.sampled_from(
    [
        *(
            "",
            ".",
            "a..b",
            "example.org",
            "10.0.0.1",
            "10.0.0.0/8",
            "fd00::/8",
            "5s",
            "-1s",
            "0",
            "1",
            "9" * 20,
            "A",
            "*",
        ),
        *(
            "(",
            "{{ .Name }}",
            "tls://1.1.1.1",
            "/nowhere/x",
            "/dev/null",
            "cluster.local",
            "@kubernetes",
            "10%",
            "stop",
        ),
        *("exact", "name", "answer", "auto", "reload", "ttl", "match", "to", "net", "type", "policy", "NXDOMAIN", "é"),
    ]
)
_LINES = st.lists(_WORDS.map('"{}"'.format), max_size=5).map(" ".join)


@settings(max_examples=60)
@given(st.sampled_from(registry.ORDER), _LINES, st.lists(_LINES, max_size=3))
def test_any_arguments_are_taken_or_refused(plugin: str, args: str, body: list[str]) -> None:
    lines = "\n".join(line or "x" for line in body)
    with tempfile.TemporaryDirectory() as directory:
        try:
            read(f". {{\n{plugin} {args} {{\n{lines}\n}}\n}}", Path(directory))
        except CorefileError as error:
            refused = error
        else:
            return
    assert refused.line > 0


def test_stacktrace_and_debug(tmp_path: Path) -> None:
    found = block("errors stdout {\n stacktrace\n}\ndebug", tmp_path)
    assert (found.stacktrace, found.debug) == (True, True)
