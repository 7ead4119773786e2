"""What fronts may do by themselves under which Corefile."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.dns import names, records
from wherry.dns.chain import Router
from wherry.dns.corefile.load import load
from wherry.dns.corefile.model import Problem, Process, ServerConfig, Timeouts
from wherry.dns.front.protocol import ServerPlan, ZonePlan
from wherry.dns.http import HttpHub
from wherry.dns.metrics import Metrics
from wherry.dns.server.listening import banner, listeners_of, listening
from wherry.dns.server.plan import plan_of

ZONE = names.from_text("cluster.local.")
KUBERNETES = """kubernetes cluster.local in-addr.arpa {
    endpoint http://127.0.0.1:1
    pods insecure
    fallthrough in-addr.arpa
  }"""


def report(problem: Problem) -> None:
    raise AssertionError(problem)


def read(tmp_path: Path, text: str) -> ServerConfig:
    conf = tmp_path / "Corefile"
    conf.write_text(text)
    return load(str(conf), Process(Metrics(), HttpHub(), report), strict=True)


def plan(tmp_path: Path, text: str) -> ServerPlan:
    (server,) = listening(read(tmp_path, text).blocks)
    return plan_of(Router(server.label, server.blocks), server.block.timeouts, lambda zone: 7)


def of_block(tmp_path: Path, *lines: str) -> ZonePlan:
    (zone,) = plan(tmp_path, ". {{\n  {}\n}}".format("\n  ".join(lines))).zones
    assert (zone.name, zone.label) == (names.ROOT, ".")
    return zone


def test_under_k3s_corefile_fronts_answer_for_the_cluster(tmp_path: Path) -> None:
    hosts = f"hosts {tmp_path}/none {{\n    172.30.0.2 node-1\n    10.0.0.1 web.default.svc.cluster.local\n  }}"
    zone = of_block(
        tmp_path, "errors", "health", "ready", KUBERNETES, hosts,
        "prometheus :9153", "forward . 127.0.0.1:1", "cache 30", "loop", "reload", "loadbalance",
    )  # fmt: skip
    assert zone.keep
    assert zone.rotate
    assert zone.local is not None
    assert zone.local.zone == 7
    assert set(zone.local.names) == {ZONE, names.from_text("in-addr.arpa.")}
    # Node names are outside of the cluster's zones and so need no mention.
    assert names.from_text("web.default.svc.cluster.local.") in zone.excluded
    assert names.from_text("node-1.") not in zone.excluded


@pytest.mark.parametrize(
    ("line", "excluded"),
    [
        ("template IN A example.com {\n    rcode NXDOMAIN\n  }", set()),
        ("template IN AAAA . {\n    rcode NOERROR\n  }", {(names.ROOT, records.AAAA)}),
        ("template IN A default.svc.cluster.local {\n    rcode NXDOMAIN\n  }", {("default.svc.cluster.local.", 1)}),
        ("rewrite name exact app.example.com web.default.svc.cluster.local", set()),
        ("minimal", {(names.ROOT, records.SRV)}),
        ("any", {(names.ROOT, records.ANY)}),
    ],
)
def test_what_other_plugins_must_see_is_theirs(
    tmp_path: Path, line: str, excluded: set[tuple[bytes | str, int]]
) -> None:
    zone = of_block(tmp_path, line, KUBERNETES)
    assert zone.local is not None
    wanted = {(names.from_text(name) if isinstance(name, str) else name, kind) for name, kind in excluded}
    assert wanted <= set(zone.excluded_zones)
    assert bool(wanted) == bool(zone.excluded_zones)


@pytest.mark.parametrize("line", ["log", "erratic", "loadbalance round_robin {\n    prefer 10.0.0.0/8\n  }"])
def test_past_plugins_that_must_see_every_query_nothing_is_kept(tmp_path: Path, line: str) -> None:
    zone = of_block(tmp_path, line, KUBERNETES)
    assert (zone.keep, zone.local) == (False, None)


@pytest.mark.parametrize(
    ("cache", "local"),
    [
        ("cache 30", True),
        ("cache 3", False),
        ("cache {\n    success 9984 30 20\n  }", False),
        ("cache 3 example.org", True),
    ],
)
def test_a_cache_that_changes_ttls_of_the_cluster_is_asked(tmp_path: Path, cache: str, local: bool) -> None:
    zone = of_block(tmp_path, cache, KUBERNETES)
    assert zone.keep
    assert (zone.local is not None) == local


def test_views_leave_everything_to_the_back(tmp_path: Path) -> None:
    text = ". {\n  view inside {\n    expr incidr(client_ip(), '10.0.0.0/8')\n  }\n  whoami\n}\n. {\n  whoami\n}\n"
    (zone,) = plan(tmp_path, text).zones
    assert (zone.keep, zone.local) == (False, None)


def test_sizes_and_times_are_passed_on(tmp_path: Path) -> None:
    assert of_block(tmp_path, "bufsize 1232", KUBERNETES).bufsize == 1232
    timed = plan(tmp_path, ". {\n  timeouts {\n    read 7s\n    idle 20s\n    write 9s\n  }\n  whoami\n}")
    assert (timed.read, timed.idle, timed.write, timed.queries) == (7.0, 20.0, 9.0, -1)
    assert plan_of(Router("dns://:53", ()), Timeouts(most_queries=3), lambda zone: 7).queries == 3


def test_every_address_and_port_is_a_server(tmp_path: Path) -> None:
    blocks = read(
        tmp_path,
        ". {\n  whoami\n}\na.example:1053 b.example:53 {\n  bind 127.0.0.1 ::1\n  whoami\n}\n"
        "c.example {\n  whoami\n}\n",
    ).blocks
    servers = listening(blocks)
    assert [server.label for server in servers] == [
        "dns://:53", "dns://127.0.0.1:1053", "dns://127.0.0.1:53", "dns://[::1]:1053", "dns://[::1]:53",
    ]  # fmt: skip
    assert [zone for zone, _ in servers[0].blocks] == [names.ROOT, names.from_text("c.example.")]
    assert {(each.transport, each.port, each.server) for each in listeners_of(servers[1], 4)} == {
        ("udp", 1053, 4), ("tcp", 1053, 4),
    }  # fmt: skip
    assert banner(servers)[:3] == [".:53", "c.example.:53", "a.example.:1053 on 127.0.0.1"]
    assert [server.host for server in listening(blocks[:1], ["10.43.0.10"])] == ["10.43.0.10"]
