"""`wherry up`: from nothing to a cluster whose nodes are Ready, or back to nothing with the reason.

Everything that can be checked is checked before anything is made. Then the sockets that the host must reach are opened,
the supervisor is started as a process of its own, and waited for.
"""

from __future__ import annotations

import errno
import io
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import msgspec

from wherry.config.errors import ConfigError
from wherry.config.parse import networks
from wherry.config.resolvconf import relayed
from wherry.sandbox import leftovers, ports, published
from wherry.sandbox.api import Api, ApiUnavailable
from wherry.sandbox.layout import MARKER, Layout, NodeEntry, Record
from wherry.sandbox.network import LAN, LAST_NODE, SERVER_ADDRESSES
from wherry.sandbox.published import Published
from wherry.sandbox.remove import end_processes

#: What a sandbox takes for granted otherwise than a real cluster. It finds a dead node sooner, since on one machine a
#: heartbeat is never late by seconds and someone is watching; and pods are cheap, so a node takes what its range holds.
_DEFAULTS = {
    "kube-controller-manager-arg": ["node-monitor-grace-period=12s", "node-eviction-rate=1"],
    "kube-apiserver-arg": ["default-not-ready-toleration-seconds=10", "default-unreachable-toleration-seconds=10"],
    "kubelet-arg": ["node-lease-renew-interval=4s", "max-pods=250"],
}
#: Flags that make no sense where nodes are namespaces.
_NOT_HERE = (
    "data-dir", "server", "bind-address", "advertise-address", "advertise-port", "node-name", "with-node-id", "node-ip",
    "node-external-ip", "node-internal-dns", "node-external-dns", "write-kubeconfig", "write-kubeconfig-mode",
    "disable-agent", "flannel-iface", "flannel-external-ip",
)  # fmt: skip
_USUAL_PORT = 6443


class UpError(Exception):
    """The sandbox could not be started; everything made for it is gone again."""


class Progress(msgspec.Struct, frozen=True):
    """A line the supervisor writes while it starts."""

    step: str = ""
    error: str = ""


def values_for_sandbox(values: Mapping[str, Sequence[str]], given: Sequence[str]) -> dict[str, list[str]]:
    """Adapt resolved server flags to a sandbox. Raises ConfigError for flags that have no meaning in one."""
    for name in given:
        if name in _NOT_HERE:
            raise ConfigError(f"--{name} has no meaning for `wherry up`, whose nodes are namespaces of its own")
    adapted = {name: list(texts) for name, texts in values.items()}
    for name, arguments in _DEFAULTS.items():
        said = {text.partition("=")[0] for text in adapted.get(name, [])}
        adapted[name] = adapted.get(name, []) + [a for a in arguments if a.partition("=")[0] not in said]
    adapted["node-name"] = ["node"]
    # Beyond the nodes' LAN nobody knows a way back to pods. K3s leaves that to an operator's routers for IPv6.
    adapted["flannel-ipv6-masq"] = ["true"]
    return adapted


def check_ranges(ranges: Iterable[IPv4Network | IPv6Network]) -> None:
    """Refuse ranges of pods and services that the nodes' own LAN is in the way of. Raises ConfigError."""
    for range_ in ranges:
        for lan in LAN:
            if range_.version == lan.version and range_.overlaps(lan):
                raise ConfigError(f"{range_} overlaps {lan}, the network of the sandbox's nodes; choose another range")


def up(
    layout: Layout,
    *,
    values: dict[str, list[str]],
    nodes: int,
    api_port: int | None,
    images: Path | None,
    publish: Sequence[str] = (),
    arguments: Sequence[str] = (),
    timeout: float,
    said: Callable[[str], None],
) -> list[Published]:
    """Start a sandbox and return when its API server answers and every node is Ready; the ports that are published.

    ``api_port`` None means the usual port where it is free, else any; ``publish`` is what `--publish` says,
    ``arguments`` all that was said, for the record.
    ``said`` is told of each step.
    Raises ConfigError for what is wrong with the request, UpError where the start fails; then nothing is left.
    """
    if not 0 <= nodes <= LAST_NODE:
        raise ConfigError(f"--nodes: {nodes} is not between 0 and {LAST_NODE}")
    deadline = time.monotonic() + timeout
    opened = published.open_all(publish)
    ways = [way for way, _ in opened]
    sockets = [one for _, one in opened]
    try:
        # The API server's come first.
        sockets[:0] = _open(api_port)
        _claim(layout)
        try:
            port = sockets[0].getsockname()[1]
            entries = [NodeEntry(f"node-{n}", n) for n in range(1, nodes + 1)]
            record = Record(layout.name, values, entries, port, ways, [*arguments])
            _fill(layout, record, images)
            pipe, process = _start(layout, sockets)
            with pipe:
                _follow(layout, pipe, process, deadline, said)
            _wait_ready(layout, record, process, deadline, said)
            return ways
        except BaseException:
            _undo(layout)
            raise
    finally:
        for listener in sockets:
            listener.close()


def _open(api_port: int | None) -> list[socket.socket]:
    try:
        return ports.listen_local(_USUAL_PORT if api_port is None else api_port)
    except OSError as error:
        if api_port is None and error.errno == errno.EADDRINUSE:
            return ports.listen_local(0)
        raise ConfigError(f"--https-listen-port: 127.0.0.1:{api_port or _USUAL_PORT}: {error.strerror}") from error


def _claim(layout: Layout) -> None:
    option = "" if layout.name == "default" else f" --name {layout.name}"
    try:
        layout.directory.parent.mkdir(parents=True, exist_ok=True)
        # mkdir decides which of two simultaneous `up` commands has the name.
        layout.directory.mkdir(mode=0o700)
    except FileExistsError as error:
        if not layout.directory.is_dir():
            raise ConfigError(f"state folder {layout.directory.parent}: it is a file, not a folder") from error
        raise ConfigError(
            f"sandbox {layout.name!r} exists already; use it, choose another --name, or end it by `wherry down{option}`"
        ) from error
    except OSError as error:
        raise ConfigError(f"state folder {layout.directory}: {error.strerror}") from error


def _fill(layout: Layout, record: Record, images: Path | None) -> None:
    layout.logs.mkdir()
    layout.save(record)
    if images is not None:
        shutil.copyfile(images, layout.images)
    given = record.values.get("resolv-conf")
    try:
        text = Path(given[-1] if given else "/etc/resolv.conf").read_text(errors="replace")
    except FileNotFoundError:
        # The host may get one yet: the resolver process reads its servers whenever it is asked.
        text = ""
    families = {net.version for net in networks("cluster-cidr", record.values.get("cluster-cidr", ()))} or {4}
    servers = [address for address in map(ip_address, SERVER_ADDRESSES) if address.version in families]
    layout.resolv_conf.write_text(relayed(text, servers))


def _start(layout: Layout, sockets: Sequence[socket.socket]) -> tuple[io.FileIO, subprocess.Popen[bytes]]:
    read, write = os.pipe2(os.O_CLOEXEC)
    numbers = published.numbers(sockets)
    argv = [sys.executable, "-m", "wherry", "sandbox-supervisor", str(layout.directory), numbers, str(write)]
    with layout.log("supervisor").open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[*(one.fileno() for one in sockets), write],
            env={**os.environ, MARKER: str(layout.directory)},
            start_new_session=True,
            cwd="/",
        )
    os.close(write)
    return io.FileIO(read, "rb"), process


def _follow(
    layout: Layout,
    pipe: io.FileIO,
    process: subprocess.Popen[bytes],
    deadline: float,
    said: Callable[[str], None],
) -> None:
    """Read the supervisor's progress until it has started everything (it then closes the pipe)."""
    buffer = b""
    done = False
    while True:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise UpError(f"the supervisor did not start its processes in time; {_last_words(layout, 'supervisor')}")
        part = pipe.read(65536)
        if not part:
            break
        buffer += part
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            progress = msgspec.json.decode(line, type=Progress)
            if progress.error:
                raise UpError(progress.error)
            said(progress.step)
            done = progress.step == "processes"
    if not done:
        raise UpError(f"the supervisor died while starting; {_last_words(layout, 'supervisor')}")


def _wait_ready(
    layout: Layout,
    record: Record,
    process: subprocess.Popen[bytes],
    deadline: float,
    said: Callable[[str], None],
) -> None:
    missing = {node.name for node in record.nodes}
    trouble = "the API server did not answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UpError(f"the supervisor died; {_last_words(layout, 'supervisor')}")
        try:
            # The listening sockets are ours: a connection waits in their queue until the API server takes it.
            api = Api(layout.kubeconfig)
            api.get("/readyz", timeout=max(0.1, deadline - time.monotonic()))
            said("api")
            listed = api.get("/api/v1/nodes")
            missing -= {node["metadata"]["name"] for node in listed["items"] if _is_ready(node)}
            if not missing:
                return
            path = f"/api/v1/nodes?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
            for event in api.watch(path, timeout=deadline - time.monotonic()):
                if event["type"] in ("ADDED", "MODIFIED") and _is_ready(event["object"]):
                    missing.discard(event["object"]["metadata"]["name"])
                if not missing:
                    return
            trouble = f"not Ready in time: {', '.join(sorted(missing))}"
        except ApiUnavailable as error:
            trouble = str(error)
            time.sleep(0.02)
    words = "; ".join(
        _last_words(layout, log) for log in ("apiserver", *(f"agent-{name}" for name in sorted(missing)[:1]))
    )
    raise UpError(f"{trouble}; {words}")


def _is_ready(node: dict[str, object]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])  # type: ignore[attr-defined]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _last_words(layout: Layout, process: str) -> str:
    try:
        text = layout.log(process).read_text(errors="replace")
    except FileNotFoundError:
        text = ""
    # Tracebacks of exception groups are framed by lines and bars.
    lines = [words for words in (line.strip(" |+-") for line in text.splitlines()) if words]
    return f"{process} last said: {lines[-1]}" if lines else f"{process} said nothing"


def _undo(layout: Layout) -> None:
    with leftovers.networks(leftovers.marked(layout.directory)) as seen:
        end_processes(layout, seen)
    shutil.rmtree(layout.directory)
