"""Telling one process from a later one of the same id."""

from __future__ import annotations


def start_time(pid: int) -> int:
    """Start time of a process in clock ticks since boot (proc(5), stat field 22); 0 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0
