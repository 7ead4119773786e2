"""The supervisor's process: makes the sandbox's namespaces, starts the processes, and answers the command line.

It stays in the host's namespaces; of its children those enter the sandbox that need not be outside. Which programs they
run is handed in by the caller as `Parts`, since this room does not know the rooms beside it.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import msgspec

from wherry.kernel.supervise import Process, SuperviseError, Supervisor
from wherry.sandbox import control, isolation, namespaces, network
from wherry.sandbox.control import NodeStatus, Reply, Request
from wherry.sandbox.layout import Layout, NodeEntry, Record

log = logging.getLogger(__name__)

Processes = Sequence[tuple[str, Callable[[], None]]]
"""What runs: name (for a node's processes: role) and the function that runs it in a child."""

_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Site:
    """Where a node is."""

    name: str
    addresses: tuple[IPv4Address | IPv6Address, ...]


@dataclass(frozen=True)
class Parts:
    """What runs in a sandbox."""

    prepare: Callable[[], None]
    host: Callable[[Callable[[], None]], Processes]
    """Given what leads a process into the sandbox: those that stay in the host's network."""
    control_plane: Callable[[], Processes]
    node: Callable[[Site], Processes]
    forget_node: Callable[[str], None]


class SandboxSupervisor:
    """One sandbox, from its namespaces to its last process."""

    def __init__(self, layout: Layout, record: Record, parts: Parts, progress: Callable[[str], None]) -> None:
        self._layout = layout
        self._record = record
        self._parts = parts
        self._progress = progress
        self._supervisor = Supervisor()
        self._spaces = namespaces.create()
        self._control: socket.socket | None = None

    def start(self, private: int) -> None:
        """Bring everything up; returns when the processes are started, not yet ready.

        ``private`` is an open file that is not theirs.
        """
        self._supervisor.keep(private)
        nodes = [node for node in self._record.nodes if node.running]
        # The LAN is made while this process prepares keys and imports what the children will run.
        lan = self._supervisor.begin(self._spaces.enter, lambda: _make_network(nodes))
        self._parts.prepare()
        first, *others = self._parts.control_plane()
        self._start_inside(*first)
        # Everything that children run is imported before most of them are forked: a page that this process writes to
        # later is one that they no longer share.
        processes = {node.name: self._parts.node(self._site(node)) for node in nodes}
        for name, main in others:
            self._start_inside(name, main)
        lan()
        self._progress("network")
        for name, main in self._parts.host(self._spaces.enter):
            self._supervisor.start(Process(name, main, self._layout.log(name)))
        for node in nodes:
            self._start_node(node, processes[node.name])
        self._control = control.listen(self._layout.control)
        self._supervisor.listen(self._control.fileno(), self._serve)
        self._progress("processes")
        self._supervisor.release(private)

    def run(self) -> None:
        """Serve until the sandbox is taken down or this process is told to end, then end every process."""
        self._supervisor.run()
        self.abandon()

    def abandon(self) -> None:
        """End every process, the programs of containers included."""
        self._supervisor.stop_all(grace=0)
        self._supervisor.call(self._spaces.enter, self._end_nodes)

    def _end_nodes(self) -> None:
        for node in self._record.nodes:
            network.power_off(node)

    def _start_inside(self, name: str, main: Callable[[], None]) -> None:
        self._supervisor.start(Process(name, main, self._layout.log(name), self._spaces.enter))

    def _start_node(self, node: NodeEntry, processes: Processes) -> None:
        self._layout.agent(node.name).mkdir(parents=True, exist_ok=True)
        enter = functools.partial(self._spaces.enter_node, node.name)
        for role, main in processes:
            name = f"{role}-{node.name}"
            self._supervisor.start(Process(name, main, self._layout.log(name), enter))

    def _serve(self) -> None:
        assert self._control is not None
        connection, _ = self._control.accept()
        with connection:
            # A client that connects and says nothing must not stop the supervisor.
            connection.settimeout(2)
            try:
                request = msgspec.json.decode(control.read_line(connection), type=Request)
            except (TimeoutError, msgspec.MsgspecError) as error:
                log.warning("a request that cannot be read: %s", error)
                return
            try:
                reply = self._answer(request)
            except (SuperviseError, control.ControlError, OSError) as error:
                log.warning("%s: %s", request.op, error)
                reply = Reply(error=str(error))
            try:
                connection.sendall(msgspec.json.encode(reply) + b"\n")
            except OSError as error:
                log.warning("%s: the one who asked is gone: %s", request.op, error)

    def _answer(self, request: Request) -> Reply:
        match request.op:
            case "status":
                return Reply(pid=os.getpid(), processes=self._supervisor.status(), nodes=self._nodes())
            case "down":
                self._supervisor.end()
                return Reply(pid=os.getpid())
            case "node-add":
                return Reply(node=self._add(request.node))
            case "node-remove":
                node = self._find(request.node)
                self._power_off(node)
                self._record.nodes.remove(node)
                self._heal(node)
                self._parts.forget_node(node.name)
                shutil.rmtree(self._layout.agent(node.name))
                return Reply(node=node.name)
            case "node-stop":
                node = self._find(request.node)
                if not node.running:
                    raise control.ControlError(f"node {node.name} is stopped already")
                self._power_off(node)
                node.running = False
                self._layout.save(self._record)
                return Reply(node=node.name)
            case "node-start":
                node = self._find(request.node)
                if node.running:
                    raise control.ControlError(f"node {node.name} is running already")
                self._power_on(node)
                return Reply(node=node.name)
            case "node-isolate":
                node = self._find(request.node)
                for name in request.others:
                    if name == node.name:
                        raise control.ControlError(f"node {name} cannot be cut from itself")
                    if name not in isolation.EVERYTHING:
                        self._find(name)
                before = node.isolated_from
                isolation.cut(node, request.others)
                try:
                    self._partition()
                except SuperviseError:
                    node.isolated_from = before
                    raise
                return Reply(node=node.name)
            case "node-rejoin":
                node = self._find(request.node)
                self._heal(node)
                return Reply(node=node.name)
            case other:
                raise control.ControlError(f"unknown request {other!r}; is another version of wherry running?")

    def _nodes(self) -> list[NodeStatus]:
        return [
            NodeStatus(
                node.name,
                [str(address) for address in network.addresses(node.number)],
                node.running,
                isolation.isolated(node, self._record.nodes),
            )
            for node in self._record.nodes
        ]

    def _find(self, name: str) -> NodeEntry:
        for node in self._record.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self._record.nodes) or "none"
        raise control.ControlError(f"there is no node {name!r}; nodes: {known}")

    def _add(self, name: str) -> str:
        taken = {node.number for node in self._record.nodes}
        number = next((n for n in range(1, network.LAST_NODE + 1) if n not in taken), None)
        if number is None:
            raise control.ControlError(f"the LAN is full: {len(taken)} nodes")
        name = name or _unused_name(number, {node.name for node in self._record.nodes})
        if not _NODE_NAME.fullmatch(name):
            raise control.ControlError(f"{name!r} is no node name: at most 63 lower-case letters, digits, '-' and '.'")
        if name in isolation.EVERYTHING:
            raise control.ControlError(f"{name!r} is no node name: `wherry node isolate` means a part of the cluster")
        if any(node.name == name for node in self._record.nodes):
            raise control.ControlError(f"node {name} is there already")
        node = NodeEntry(name, number, running=False)
        self._power_on(node)
        self._record.nodes.append(node)
        self._layout.save(self._record)
        return name

    def _power_on(self, node: NodeEntry) -> None:
        self._supervisor.call(self._spaces.enter, lambda: network.make_node(node))
        self._start_node(node, self._parts.node(self._site(node)))
        node.running = True
        self._layout.save(self._record)

    def _heal(self, node: NodeEntry) -> None:
        isolation.heal(node, self._record.nodes)
        self._partition()

    def _partition(self) -> None:
        """Make the bridge do what the record says, and remember it."""
        rules = isolation.ruleset(self._record.nodes)
        self._supervisor.call(self._spaces.enter, lambda: isolation.apply(rules))
        self._layout.save(self._record)

    def _power_off(self, node: NodeEntry) -> None:
        if node.running:
            for role, _ in self._parts.node(self._site(node)):
                self._supervisor.kill(f"{role}-{node.name}")
        self._supervisor.call(self._spaces.enter, lambda: network.power_off(node))

    def _site(self, node: NodeEntry) -> Site:
        return Site(node.name, network.addresses(node.number))


def _make_network(nodes: Sequence[NodeEntry]) -> None:
    network.make_lan()
    for node in nodes:
        network.make_node(node)


def _unused_name(number: int, taken: set[str]) -> str:
    while f"node-{number}" in taken:
        number += 1
    return f"node-{number}"
