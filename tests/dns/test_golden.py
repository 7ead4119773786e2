"""Holds our answers against those recorded from CoreDNS, chain by chain and without sockets.

The recordings lie beside the checkout (`../shared/golden/dns`), not in it; without them this test is skipped. Whole
processes are compared by the recordings' own tool: `replay.py -- wherry dns serve --conf {conf}`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import dns.message
import pytest

from tests.dns.chains import World, serving
from tests.dns.cluster import api_server
from wherry.dns.acceptance import accept
from wherry.dns.message import Message, encode
from wherry.kube import kinds
from wherry.kube.testing.apiserver import FakeApiServer

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "dns"
COREFILES = ("insecure", "verified", "disabled", "podnames", "emptysvc", "oneNS")
KINDS = {
    "services": kinds.SERVICES,
    "namespaces": kinds.NAMESPACES,
    "pods": kinds.PODS,
    "endpointslices": kinds.ENDPOINT_SLICES,
}

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recorded answers are not at {GOLDEN}")


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    """The recordings' own tool, for how it compares."""
    spec = importlib.util.spec_from_file_location("golden_replay", GOLDEN / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def said(world: World, case: dict, replay: ModuleType) -> dict | None:
    """What our chain answers, in the form of the recordings."""
    payload = case.get("edns")
    query = dns.message.make_query(case["name"], case["type"], use_edns=0 if payload else -1, payload=payload or 0)
    transport = "tcp" if case.get("tcp") else "udp"
    accepted = accept(query.to_wire())
    assert isinstance(accepted, Message)
    request = world.router.request(
        accepted, client="127.0.0.1", port=40000, local="127.0.0.1", local_port=53, transport=transport
    )
    reply = await world.router.handle(request)
    if reply is None:
        return None
    got = dns.message.from_wire(encode(reply.message, request.limit))
    return {
        "rcode": dns.rcode.to_text(got.rcode()),
        "flags": dns.flags.to_text(got.flags),
        "edns": got.payload if got.edns >= 0 else None,
        "answer": replay.records(got.answer),
        "authority": replay.records(got.authority),
        "additional": replay.records(got.additional),
    }


def put_all(server: FakeApiServer, objects: dict) -> None:
    for plural, kind in KINDS.items():
        for obj in objects[plural]:
            meta = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
            server.put(kind.as_dict(), obj | {"metadata": meta})


@pytest.mark.parametrize("corefile", COREFILES)
async def test_every_recorded_answer(corefile: str, replay: ModuleType, tmp_path: Path) -> None:
    setup = json.loads((GOLDEN / "setup.json").read_text())
    (tmp_path / "NodeHosts").write_text(setup["node_hosts"])
    text = setup["corefiles"][corefile].replace("hosts NodeHosts", "hosts {dir}/NodeHosts")
    # The recordings were made on loopback, where no address of one's own counts.
    text = text.replace("{\n", "{\n  bind 127.0.0.1\n", 1)
    recorded = map(json.loads, (GOLDEN / "cases.jsonl").read_text().splitlines())
    cases = [case for case in recorded if case["corefile"] == corefile]
    assert cases
    wrong: list[str] = []
    async with api_server() as server:
        put_all(server, setup["objects"])
        async with serving(text, tmp_path, endpoint=lambda: server.endpoint) as world:
            assert world.plugin("kubernetes").ready()
            for case in cases:
                got, want = await said(world, case, replay), replay.expected(case)
                if got != want:
                    wrong.append(f"{case['name']} {case['type']}: {got} instead of {want}")
    assert not wrong, f"{len(wrong)} of {len(cases)}, such as {wrong[0]}"


def test_no_corefile_is_left_out() -> None:
    assert set(json.loads((GOLDEN / "setup.json").read_text())["corefiles"]) == set(COREFILES)
