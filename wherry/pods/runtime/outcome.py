"""How the end of a program is reported (pure): bwrap's status lines in, exit code, reason and message out."""

from __future__ import annotations

import json

from msgspec import Struct

START_FAILED = 128
"""Exit code of a container whose program could not be started (as containerd and the kubelet report it)."""
UNKNOWN = 137
"""Exit code the kubelet reports when nobody saw the end."""
MESSAGE_LIMIT = 4096
LOG_MESSAGE_LIMIT = 2048
LOG_MESSAGE_LINES = 80
"""Limits of termination messages (Kubernetes: Determine the Reason for Pod Failure)."""


class Status(Struct, frozen=True):
    """What bwrap wrote so far."""

    pid: int = 0
    exit_code: int | None = None


class Outcome(Struct, frozen=True):
    """The end of a container."""

    exit_code: int
    reason: str
    message: str = ""


def parse_status(text: str) -> Status:
    """Read bwrap's --json-status-fd output; an unfinished last line is left out."""
    pid, code = 0, None
    for line in text.splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if isinstance(fields, dict):
            pid = fields.get("child-pid", pid)
            code = fields.get("exit-code", code)
    return Status(pid=pid, exit_code=code)


def parse_info(data: bytes) -> int:
    """Read bwrap's --info-fd output, the program's process id, 0 while that is not complete."""
    try:
        fields = json.loads(data)
    except ValueError:
        return 0
    pid = fields.get("child-pid", 0) if isinstance(fields, dict) else 0
    return pid if isinstance(pid, int) else 0


def judge(status: Status, *, output: bytes) -> Outcome:
    """``output`` is how the container's standard error, or what appears on its terminal, begins.

    bwrap, setpriv and setsid say on it why they could not run the program; nothing of the program's own can precede
    that.
    """
    line = output.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    if line.startswith("bwrap: ") and status.exit_code in (None, 1):
        return Outcome(START_FAILED, "StartError", _explain(line.removeprefix("bwrap: ")))
    for helper in ("setpriv: ", "setsid: "):
        if line.startswith(helper) and status.exit_code in (1, 126, 127):
            return Outcome(START_FAILED, "StartError", _explain(line.removeprefix(helper)))
    if status.exit_code is None:
        return Outcome(UNKNOWN, "ContainerStatusUnknown", "nobody saw how the container ended")
    return Outcome(status.exit_code, "Completed" if status.exit_code == 0 else "Error")


def _explain(text: str) -> str:
    """A missing program in the words users know from other runtimes."""
    for prefix in ("execvp ", "failed to execute "):
        if text.startswith(prefix):
            program, _, why = text.removeprefix(prefix).rpartition(": ")
            if why == "No such file or directory":
                return f'exec: "{program}": executable file not found in $PATH'
            return f'exec: "{program}": {why.lower()}'
    return text
