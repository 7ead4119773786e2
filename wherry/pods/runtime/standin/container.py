"""A stand-in as a container: its sockets, its log and its state."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

import msgspec

from wherry.pods.model import Behaviour, ContainerSpec, ContainerState
from wherry.pods.runtime.logs import ContainerLog
from wherry.pods.runtime.loop import Loop
from wherry.pods.runtime.records import Record, Records
from wherry.pods.runtime.standin.answer import Identity
from wherry.pods.runtime.standin.server import StandIn
from wherry.pods.runtime.standin.sockets import CannotListen


class StandInContainer:
    """One stand-in. Only what serving needs stays in memory; the spec is in the record on tmpfs."""

    __slots__ = ("_changed", "_lines", "_log", "_loop", "_records", "_server", "state")

    def __init__(self, loop: Loop, records: Records, record: Record, changed: Callable[[ContainerState], None]) -> None:
        self._loop = loop
        self._records = records
        self._changed = changed
        self._log = ContainerLog(record.spec.log_path, keep_open=False)
        self._lines: list[str] = []
        self._server: StandIn | None = None
        self.state = record.state

    def start(self, record: Record) -> None:
        """Open the ports; a taken one ends the container with exit code 1, as it would end a server."""
        spec = record.spec
        identity = Identity(
            namespace=spec.namespace, pod=spec.pod, container=spec.name, image=spec.image, node=spec.node
        )
        server = StandIn(self._loop, identity, self._say, spec.behaviour)
        for line in introduction(spec):
            self._say(line)
        if spec.ends:
            self._say("done, as the work it stands for would be at some time")
            self._exit(record, exit_code=0, reason="Completed")
            return
        try:
            notes = server.open(spec.netns, spec.ports)
        except (CannotListen, OSError) as error:
            self._say(str(error))
            self._exit(record, exit_code=1, reason="Error", message=str(error))
            return
        self._server = server
        for note in notes:
            self._say(note)
        self.state = msgspec.structs.replace(self.state, notes=tuple(notes))
        self._records.save(msgspec.structs.replace(record, state=self.state))

    def behave(self, behaviour: Behaviour) -> None:
        """Answer so from now on, also after the record is read again."""
        record = self._records.load(self.state.id)
        if record.spec.behaviour == behaviour or self.state.phase == "exited":
            return
        spec = msgspec.structs.replace(record.spec, behaviour=behaviour)
        self._records.save(msgspec.structs.replace(record, spec=spec))
        if self._server is not None:
            self._server.behave(behaviour)
        self._say(f"changed: {described(behaviour) or 'answers as usual'}")

    def stop(self, grace: float) -> None:
        """Close all sockets: at once, and with exit code 0 when there is any grace."""
        if self.state.phase == "exited":
            return
        killed = grace <= 0
        if self._server is not None:
            if killed:
                self._server.close()
            else:
                self._server.finish()
            self._server = None
        self._say("killed" if killed else "terminated")
        record = self._records.load(self.state.id)
        if killed:
            self._exit(record, exit_code=137, reason="Error")
        else:
            self._exit(record, exit_code=0, reason="Completed")

    def _exit(self, record: Record, *, exit_code: int, reason: str, message: str = "") -> None:
        self.state = msgspec.structs.replace(
            self.state,
            phase="exited",
            finished_at=time.time(),
            exit_code=exit_code,
            reason=reason,
            message=message,
        )
        self._records.save(msgspec.structs.replace(record, state=self.state))
        self._changed(self.state)

    def _say(self, line: str) -> None:
        """Put a line into the log: all of one round of the loop in one write."""
        if not self._lines:
            self._loop.soon(self._flush)
        self._lines.append(line)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        # Requests are quoted in the log, and a request may hold any character: one line stays one line.
        text = "".join(line.translate(_CONTROL) + "\n" for line in lines)
        self._log.write("stdout", text.encode("utf-8", "replace"))


def introduction(spec: ContainerSpec) -> list[str]:
    """The first lines of a stand-in's log (pure)."""
    lines = [f"stand-in for {spec.image}, which is not in the image table"]
    if spec.wanted_argv:
        lines.append(f"not run: {shlex.join(spec.wanted_argv)}")
    if spec.ports:
        ports = ", ".join(f"{port.number}/{port.protocol.lower()}" for port in spec.ports)
        lines.append(f"answering on {ports} (probe requests are not logged)")
        told = described(spec.behaviour)
        if told:
            lines.append(f"as the pod's annotations say: {told}")
    else:
        lines.append("no ports are declared, nothing is answered")
    return lines


def described(behaviour: Behaviour) -> str:
    """How a stand-in is told to behave otherwise than usual (pure)."""
    words: list[str] = []
    if behaviour.tls:
        words.append(f"TLS on {', '.join(map(str, behaviour.tls))}")
    if behaviour.proxy_protocol:
        words.append(f"PROXY protocol on {', '.join(map(str, behaviour.proxy_protocol))}")
    if behaviour.delay:
        words.append(f"answers after {behaviour.delay:g} s")
    if behaviour.status != Behaviour().status:
        words.append(f"status {behaviour.status}")
    if behaviour.body is not None:
        words.append(f"bodies of {behaviour.body} bytes")
    return ", ".join(words)


_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), 127)}
