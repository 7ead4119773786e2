"""Finding a sandbox's processes by their network namespaces."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from wherry.kernel import netns
from wherry.sandbox.leftovers import networks


@pytest.mark.netns
def test_numbers_of_namespaces_that_are_gone_belong_to_nobody_else(make_netns: Callable[[str], str]) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        netns.unshare(netns.CLONE_NEWNET)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    outside = netns.identity()
    while netns.identity(f"/proc/{child}/ns/net") == outside:
        os.sched_yield()
    with networks([child]) as seen:
        assert seen == {netns.identity(f"/proc/{child}/ns/net")}
        os.close(write)
        os.waitpid(child, 0)
        assert not seen & {netns.identity(make_netns(f"other-{number}")) for number in range(200)}
