"""The namespace fixtures themselves: isolated, both users, failing for the right reasons."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.kernel import netns
from wherry.kernel.netlink import Netlink
from wherry.kernel.testing import Lan, udp_ask, udp_echo

OUTSIDE = (netns.identity(), os.getpid())


@pytest.mark.netns
def test_runs_in_another_process_and_namespace() -> None:
    assert netns.identity() != OUTSIDE[0]
    assert os.getpid() != OUTSIDE[1]
    assert os.geteuid() == 0
    assert list(Path("/run").iterdir()) == []
    with Netlink() as link:
        assert [(one.name, one.up) for one in link.link_list()] == [("lo", True)]


def test_other_tests_stay_in_the_machine() -> None:
    assert (netns.identity(), os.getpid()) == OUTSIDE


@pytest.mark.netns
async def test_coroutines_and_files_work(tmp_path: Path) -> None:
    await asyncio.sleep(0)
    (tmp_path / "x").write_text("y")


@pytest.mark.netns
def test_two_machines_talk(lan: Lan) -> None:
    a, b = lan.join("a", "192.0.2.1/24", "fd00::1/64"), lan.join("b", "192.0.2.2/24", "fd00::2/64")
    with udp_echo(b):
        assert udp_ask("192.0.2.2", netns_path=a) == (True, "192.0.2.1")
        assert udp_ask("fd00::2", netns_path=a) == (True, "fd00::1")
        assert not udp_ask("192.0.2.9", netns_path=a, within=0.2).answered


def test_failures_and_leftovers_are_reported(tmp_path: Path) -> None:
    """A failing test, one that ends its process and one that leaves a child behind are failures; a skip is a skip."""
    (tmp_path / "conftest.py").write_text("from wherry.kernel.testing import *\n")
    (tmp_path / "test_x.py").write_text(
        "import os, subprocess, pytest\n"
        "pytestmark = pytest.mark.netns\n"
        "def test_fails(): assert 1 == 2, 'told you so'\n"
        "def test_dies(): os._exit(7)\n"
        "def test_leaves(): os.x = subprocess.Popen(['sleep', '1000'])\n"
        "def test_skips(): pytest.skip('not today')\n"
        "@pytest.mark.timeout(0.3)\n"
        "def test_hangs(): import time; time.sleep(60)\n"
        "def test_passes(): print('fine')\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-c", str(root / "pyproject.toml"),
         "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert "4 failed, 2 passed, 1 skipped" in run.stdout, run.stdout + run.stderr
    for text in ("told you so", "ended with status 7", "left processes behind", "not today", "Timeout", "fine"):
        assert text in run.stdout, run.stdout
    assert run.returncode == 1


@pytest.mark.netns
def test_another_namespace_is_really_left() -> None:
    """A socket opened in `entered` belongs to that namespace; the thread is home again after it."""
    home = netns.identity()
    netns.create("/run/netns/x", loopback=False)
    with netns.entered("/run/netns/x"):
        assert netns.identity() == netns.identity("/run/netns/x") != home
        inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert netns.identity() == home
    with inside, pytest.raises(OSError, match="unreachable"):
        inside.sendto(b"", ("127.0.0.1", 9))
    netns.remove("/run/netns/x")
