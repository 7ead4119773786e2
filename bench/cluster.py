"""A sandbox as a measurement drives it, and what its processes cost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from wherry.sandbox import control
from wherry.sandbox.api import Api
from wherry.sandbox.layout import Layout

WHERRY = str(Path(sys.executable).with_name("wherry"))
NAME = "bench"


class Cluster:
    """A running sandbox."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "WHERRY_STATE_DIR": str(home)}
        self.layout = Layout(home, NAME)

    def wherry(self, *arguments: str, text: str | None = None) -> str:
        answer = subprocess.run(
            [WHERRY, *arguments], env=self._environment, input=text, capture_output=True, text=True, check=False
        )
        if answer.returncode:
            raise SystemExit(f"bench: wherry {' '.join(arguments)}: {answer.stderr.strip()}")
        return answer.stdout

    def up(self, *flags: str, nodes: int = 2) -> float:
        """Start it; returns the seconds until it was ready."""
        began = time.monotonic()
        self.wherry("up", "--name", NAME, "--nodes", str(nodes), *flags)
        return time.monotonic() - began

    def down(self) -> None:
        self.wherry("down", "--name", NAME)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self.wherry("kubectl", "--name", NAME, "--", *arguments, text=text)

    def api(self) -> Api:
        return Api(self.layout.kubeconfig)

    def processes(self) -> dict[str, list[int]]:
        """The processes of the sandbox, children such as nft included, by part."""
        reply = control.ask(self.layout.control, control.Request("status"))
        found = {"supervisor": [reply.pid]}
        for process in reply.processes:
            found[process.name] = [process.pid, *_descendants(process.pid)]
        return found

    def memory(self, field: str) -> dict[str, int]:
        """Bytes by part; ``Rss`` counts shared pages in every process, ``Pss`` once in all."""
        return {name: sum(_memory(pid, field) for pid in pids) for name, pids in self.processes().items()}

    def cpu(self) -> float:
        """Seconds of CPU used so far by all parts."""
        return sum(_cpu(pid) for pids in self.processes().values() for pid in pids)


def _descendants(pid: int) -> list[int]:
    try:
        direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [one for child in direct for one in (child, *_descendants(child))]


def _memory(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
