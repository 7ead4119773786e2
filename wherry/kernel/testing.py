"""pytest machinery for tests that make network namespaces and send real packets.

How to use it: put ``from wherry.kernel.testing import *`` into a ``conftest.py`` and mark a test (or a module, by
``pytestmark``) with ``@pytest.mark.netns``. Such a test runs, with its function-scoped fixtures, in a child process
forked for it, which has first moved into namespaces of its own:

* as an ordinary user a user namespace (uid 0 inside, no other id), as root none;
* a network namespace with only ``lo``, which is up;
* a mount namespace where nothing propagates out and ``/run`` is an empty tmpfs, so that ``/run/netns/x`` and
  ``/run/wherry`` can be used freely.

The machine's own namespaces are thus out of reach, and everything goes when the child ends. Tests and fixtures are
written as always, `async def` and ``tmp_path`` included; what they do not share is memory with other tests: a fixture
of a wider scope that the test is the first to use is made in its child alone, and never torn down.
A test that leaves a child process behind fails.

    @pytest.mark.netns
    def test_two_machines_talk(lan: Lan) -> None:
        a, b = lan.join("a", "192.0.2.1/24"), lan.join("b", "192.0.2.2/24")
        with udp_echo(b):
            assert udp_ask("192.0.2.2", netns_path=a).answered

Where namespaces cannot be made the test fails with the reason; it is never skipped in silence.
"""

import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_interface
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Netlink

__all__ = ["Answer", "Lan", "lan", "make_netns", "pytest_runtest_protocol", "udp_ask", "udp_echo", "wait_for"]

NETNS_DIR: Final = Path("/run/netns")
PORT: Final = 7007


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test marked `netns` in a forked child with namespaces of its own."""
    if item.get_closest_marker("netns") is None:
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _run_forked(item):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What an earlier test of this process set up, and the next one does not share, is torn down as usual.
    item.session._setupstate.teardown_exact(nextitem)
    return True


def _run_forked(item: pytest.Item) -> list[pytest.TestReport]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _child(item, write)
    os.close(write)
    chunks: list[bytes] = []
    try:
        while chunk := os.read(read, 1 << 16):
            chunks.append(chunk)
    except BaseException as error:
        # pytest-timeout's alarm, or Ctrl-C. The child's own children see their pipes close.
        os.kill(child, signal.SIGKILL)
        if isinstance(error, KeyboardInterrupt):
            raise
        return [_failure(item, f"{error}\n(the test ran in a child process, which was killed)")]
    finally:
        os.close(read)
        _, status = os.waitpid(child, 0)
    config = item.config
    reports: list[pytest.TestReport] = [
        config.hook.pytest_report_from_serializable(config=config, data=data)
        for data in (pickle.loads(b"".join(chunks)) if os.waitstatus_to_exitcode(status) == 0 else [])
    ]
    if not reports:
        return [_failure(item, f"the test's process ended with status {os.waitstatus_to_exitcode(status)}")]
    return reports


def _failure(item: pytest.Item, reason: str) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", reason, when="call")


def _child(item: pytest.Item, write: int) -> None:
    """Enter the namespaces, run the test, write its reports; never returns."""
    status = 1
    try:
        try:
            isolate()
        except OSError as error:
            reports = [_failure(item, f"cannot make namespaces for the test: {error}")]
        else:
            # The parent as "next item" leaves alone what this process inherited, above all its finalizers.
            reports = runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]
            if left := _end_leftovers():
                reports.append(_failure(item, f"the test left processes behind: {', '.join(left)}"))
        to_data = item.config.hook.pytest_report_to_serializable
        with os.fdopen(write, "wb") as out:
            pickle.dump([to_data(config=item.config, report=report) for report in reports], out)
        status = 0
    finally:
        os._exit(status)


def isolate() -> None:
    """Move this single-threaded process into namespaces of its own, as the module's docstring says.

    Raises OSError where the machine does not allow it.
    """
    if os.geteuid() != 0:
        netns.enter_user_namespace()
    netns.unshare(netns.CLONE_NEWNET | netns.CLONE_NEWNS)
    netns.mount("none", "/", flags=netns.MS_REC | netns.MS_PRIVATE)
    netns.mount("tmpfs", "/run", "tmpfs", netns.MS_NOSUID | netns.MS_NODEV, "mode=755")
    netns.loopback_up()


def _end_leftovers() -> list[str]:
    """Kill and name the child processes that are still there."""
    left: list[str] = []
    for pid in map(int, Path("/proc/thread-self/children").read_text().split()):
        reaped, _ = os.waitpid(pid, os.WNOHANG)
        if reaped == 0:
            left.append(f"{pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return left


@pytest.fixture
def make_netns() -> Iterator[Callable[[str], str]]:
    """Give a function that makes a namespace by name and returns its path, ``/run/netns/NAME``."""
    made: list[str] = []

    def make(name: str) -> str:
        path = str(NETNS_DIR / name)
        netns.create(path)
        made.append(path)
        return path

    yield make
    for path in made:
        netns.remove(path)


class Lan:
    """Namespaces on one bridge, as machines on one network; the bridge is in the test's own namespace."""

    BRIDGE: Final = "lan0"

    def __init__(self, make_netns: Callable[[str], str]) -> None:
        self._make = make_netns
        with Netlink() as link:
            link.link_add_bridge(self.BRIDGE, up=True)

    def join(self, name: str, *interfaces: str) -> str:
        """Make the namespace `name` with `eth0` on the LAN and these addresses ("192.0.2.1/24"); return its path."""
        path = self._make(name)
        # Without this a device's link-local address, which neighbour discovery needs, waits a second or two.
        sysctl.set("net/ipv6/conf/default/accept_dad", 0, netns_path=path)
        with Netlink() as link, Netlink(path) as inside:
            link.link_add_veth(f"lan-{name}", "eth0", path, up=True)
            link.link_set(f"lan-{name}", master=self.BRIDGE)
            inside.link_set("eth0", up=True)
            for interface in map(ip_interface, interfaces):
                inside.addr_add("eth0", interface.ip, interface.network.prefixlen)
        return path


@pytest.fixture
def lan(make_netns: Callable[[str], str]) -> Lan:
    """Give an empty LAN to join namespaces to."""
    return Lan(make_netns)


class Answer(NamedTuple):
    """What `udp_ask` got: whether an answer came, and the asker's address as the other side saw it."""

    answered: bool
    seen_from: str


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextmanager
def udp_echo(netns_path: str | None = None, *, port: int = PORT) -> Iterator[None]:
    """Run a UDP server in a namespace that answers each datagram with its sender's address, both families."""
    with netns.entered(netns_path):
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # With several addresses the answer must come from the one that was asked.
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    server.bind(("::", port))

    def serve() -> None:
        while True:
            data, control, _, sender = server.recvmsg(64, 256)
            if data == b"stop":
                return
            seen = sender[0].removeprefix("::ffff:").encode()
            server.sendmsg([seen], [entry for entry in control if entry[1] == socket.IPV6_PKTINFO], 0, sender)

    worker = Thread(target=serve, name="udp-echo")
    worker.start()
    try:
        yield
    finally:
        with netns.entered(netns_path), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"stop", ("::1", port))
        worker.join()
        server.close()


def udp_ask(
    address: str,
    *,
    netns_path: str | None = None,
    source: str = "",
    port: int = PORT,
    within: float = 3,
    size: int = 0,
    again: bool = True,
) -> Answer:
    """Send datagrams (of `size` bytes of payload) to an `udp_echo` until one is answered or the time is over.

    Not `again`: send a single one.

    A datagram is repeated, as the first may fall to address resolution; the repetition is what makes waiting here
    no guess. An unreachable destination counts as no answer.
    """
    with netns.entered(netns_path):
        client = socket.socket(_family(address), socket.SOCK_DGRAM)
    with client:
        client.settimeout(0.1 if again else within)
        if source:
            client.bind((source, 0))
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            try:
                client.sendto(b"?" * max(1, size), (address, port))
                return Answer(True, client.recv(64).decode())
            except OSError:
                if not again:
                    break
    return Answer(False, "")


def wait_for(condition: Callable[[], Any], *, within: float = 3) -> Any:
    """Ask a cheap question of the kernel until the answer is true; return it. Raises AssertionError in the end.

    For states that nothing can be waited on for, such as a device's carrier.
    """
    deadline = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.005)
    return answer
