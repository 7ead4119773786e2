"""What a node says its pods use."""

import os
import subprocess
import sys

import pytest

from wherry.pods.api.stats import ContainerSeen, NodeSeen, PodSeen, Reading, Sample, Sampler, metrics, summary
from wherry.pods.api.usage import Traffic, Usage, traffic, usage_alone, usage_of

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0    0
pod00112233aabb: 2000 20 1 0 0 0 0 0 3000 30 2 0 0 0 0 0
"""


def node(*containers, system=None, interface="pod00112233aabb"):
    pod = PodSeen("shop", "web", "u1", "2026-01-01T00:00:00Z", interface, containers)
    return NodeSeen("node-1", 1000.0, system or {}, (pod,))


def reading(samples):
    return Reading(2000.0, samples, traffic(NET_DEV), 4096)


WEB = ContainerSeen("c1", "web", 17, 1500.0)
STAND_IN = ContainerSeen("c2", "proxy", 0, 1500.0)
SAMPLES = {
    "c1": Sample(2000.0, Usage(5_000_000_000, 1024, 512, 3), 250_000_000),
    "c2": Sample(2000.0, Usage(), 0),
    "kubelet": Sample(2000.0, Usage(1_000_000_000, 2048, 1024, 1), 1_000_000),
}


def test_the_summary_has_upstreams_shape():
    found = summary(node(WEB, STAND_IN, system={"kubelet": 1}), reading(SAMPLES))
    stamp = "1970-01-01T00:33:20Z"
    pod = found["pods"][0]
    assert pod["podRef"] == {"name": "web", "namespace": "shop", "uid": "u1"}
    assert pod["containers"][0] == {
        "name": "web",
        "startTime": "1970-01-01T00:25:00Z",
        "cpu": {"time": stamp, "usageNanoCores": 250_000_000, "usageCoreNanoSeconds": 5_000_000_000},
        "memory": {"time": stamp, "usageBytes": 1024, "workingSetBytes": 1024, "rssBytes": 512},
    }
    assert pod["containers"][1]["cpu"]["usageNanoCores"] == 0
    assert (pod["cpu"]["usageNanoCores"], pod["memory"]["workingSetBytes"]) == (250_000_000, 1024)
    assert pod["process_stats"] == {"process_count": 3}
    # What the node's end of the pair received the pod has sent.
    assert (pod["network"]["rxBytes"], pod["network"]["txBytes"]) == (3000, 2000)
    assert (pod["network"]["rxErrors"], pod["network"]["txErrors"]) == (2, 1)
    whole = found["node"]
    assert (whole["nodeName"], whole["memory"]["availableBytes"]) == ("node-1", 4096)
    assert whole["cpu"]["usageCoreNanoSeconds"] == 6_000_000_000
    assert [(one["name"], one["memory"]["rssBytes"]) for one in whole["systemContainers"]] == [("kubelet", 1024)]


def test_only_cpu_and_memory_on_request():
    found = summary(node(WEB), reading(SAMPLES), only_cpu_and_memory=True)
    assert "network" not in found["node"]
    assert set(found["pods"][0]) == {"podRef", "startTime", "containers", "cpu", "memory"}


def test_resource_metrics():
    lines = metrics(node(WEB), reading({"c1": SAMPLES["c1"]})).splitlines()
    labels = 'container="web",namespace="shop",pod="web"'
    assert f"container_cpu_usage_seconds_total{{{labels}}} 5 2000000" in lines
    assert 'pod_memory_working_set_bytes{namespace="shop",pod="web"} 1024 2000000' in lines
    assert "# TYPE node_cpu_usage_seconds_total counter" in lines
    assert lines[-1] == "scrape_error 0"


def test_interfaces_are_read_by_name():
    assert traffic(NET_DEV)["pod00112233aabb"] == Traffic(2000, 1, 3000, 2)
    assert set(traffic(NET_DEV)) == {"lo", "pod00112233aabb"}


@pytest.fixture
def busy():
    """A process with a child, which has used some CPU time; its id."""
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['cat'], stdin=subprocess.PIPE)\n"
        "while time.process_time() < 0.05: pass\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "child.stdin.close(); child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.stdin.close()
        process.wait(10)


def test_a_container_is_its_process_and_that_ones_children(busy):
    found = usage_of(busy)
    assert found.processes == 2
    assert found.cpu >= 40_000_000
    assert 1 << 20 < found.memory < 1 << 28
    assert 0 < found.rss <= found.memory
    assert usage_alone(busy).processes == 1


def test_what_has_ended_uses_nothing():
    assert usage_of(2**22 - 1) == Usage() == usage_alone(2**22 - 1)


def test_rates_are_those_since_the_last_sample(busy):
    sampler = Sampler()
    seen = node(ContainerSeen("c1", "web", busy, 990.0), STAND_IN, system={"kubelet": os.getpid()})
    first = sampler.read(seen, 1000.0)
    cpu = first.samples["c1"].usage.cpu
    assert first.samples["c1"].rate == cpu // 10
    assert sampler.read(seen, 1000.5).samples["c1"].rate == cpu // 10
    # The process waits: from now on its rate is none.
    assert sampler.read(seen, 1002.0).samples["c1"].rate == 0
    assert first.samples["c2"].usage == Usage()
    assert first.samples["kubelet"].usage.processes == 1
    assert "lo" in first.interfaces
    assert first.available > 0
