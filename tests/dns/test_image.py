"""Which images are ours to run, and that their program is found wherever wherry is installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wherry.dns import image


def test_only_what_containers_hide_is_mounted() -> None:
    places = [Path("/tmp/a/wherry"), Path("/tmp/a"), Path("/usr"), Path("/srv/b"), Path("/run/c")]
    assert image.mounts(places) == (Path("/run/c"), Path("/tmp/a"))


def test_the_entry_point_finds_wherry_by_itself() -> None:
    python = image.entrypoint()[:3]
    done = subprocess.run([*python, "-c", "import wherry"], cwd="/", env={}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("rancher/mirrored-coredns-coredns:1.14.7", True),
        ("registry.example:5000/rancher/mirrored-coredns-coredns:1.14.7", True),
        ("registry.k8s.io/coredns/coredns:v1.13.1", True),
        ("coredns/coredns", True),
        ("wherry/dns", True),
        ("coredns/burrow", False),
        ("example.com/coredns-exporter:1", False),
    ],
)
def test_images(name: str, ours: bool) -> None:
    from wherry.agent.node import BUILT_IN
    from wherry.pods.images import decide

    decision = decide(name, command=(), args=("-conf", "/etc/coredns/Corefile"), table=BUILT_IN)
    if ours:
        assert decision.argv == (*image.entrypoint(), "-conf", "/etc/coredns/Corefile")
    else:
        assert decision.argv is None
