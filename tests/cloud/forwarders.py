"""The container of a load balancer's pod, run in a namespace."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from wherry.cloud.forwarder import PROGRAM, entrypoint
from wherry.cloud.forwarder.program import READY_FILE
from wherry.kernel import netns, sysctl
from wherry.kernel.testing import Lan


@contextmanager
def forwarding(place: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The container's command line in a namespace; leaves it running where the block does not end it."""
    Path(READY_FILE).unlink(missing_ok=True)
    full = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", **env}
    process = netns.spawn_in(place, entrypoint(PROGRAM), env=full, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # It ended by itself, and had no children.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def pod(lan: Lan) -> str:
    """A pod's namespace, on a LAN with the namespaces `client` and `server`; it forwards."""
    lan.join("client", "192.0.2.1/24", "fd00::1/64")
    lan.join("server", "192.0.2.3/24", "fd00::3/64")
    place = lan.join("pod", "192.0.2.2/24", "fd00::2/64")
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        sysctl.set(name, 1, netns_path=place)
    return place
