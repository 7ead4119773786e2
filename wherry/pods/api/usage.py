"""What processes use, read from /proc (proc(5)); everything here only reads.

A container is its first process and that one's descendants. Time of children that have ended and were waited for is in
their parent's, so the sum only grows. Memory is the proportional set size: pages that several processes share count
once. Commands run by exec belong to the agent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from msgspec import Struct

_TICKS = os.sysconf("SC_CLK_TCK")
_NANOSECONDS = 1_000_000_000


class Usage(Struct, frozen=True):
    """Of some processes together."""

    cpu: int = 0
    """CPU time so far, nanoseconds."""
    memory: int = 0
    """Bytes, shared pages by their share."""
    rss: int = 0
    """Bytes that are not backed by files."""
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu + other.cpu, self.memory + other.memory, self.rss + other.rss, self.processes + other.processes
        )


class Traffic(Struct, frozen=True):
    """What a network interface has carried."""

    rx_bytes: int = 0
    rx_errors: int = 0
    tx_bytes: int = 0
    tx_errors: int = 0


def usage_of(pid: int) -> Usage:
    """Of a process and its descendants; nothing once it is gone."""
    total = Usage()
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            total += _process(one)
            waiting += _children(one)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended just now; its time is in its parent's
    return total


def usage_alone(pid: int) -> Usage:
    """Of one process without its descendants; nothing once it is gone."""
    try:
        return _process(pid)
    except (FileNotFoundError, ProcessLookupError):
        return Usage()


def traffic(table: str) -> Mapping[str, Traffic]:
    """The interfaces of /proc/net/dev, by name."""
    found: dict[str, Traffic] = {}
    for line in table.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) >= 11:
            found[name.strip()] = Traffic(int(words[0]), int(words[2]), int(words[8]), int(words[10]))
    return found


def seen_from_the_other_end(found: Traffic) -> Traffic:
    """Of a veth pair's other end: what one end sent the other has received."""
    return Traffic(found.tx_bytes, found.tx_errors, found.rx_bytes, found.rx_errors)


def memory_available(meminfo: str) -> int:
    """Bytes that can still be had on this machine, from the text of /proc/meminfo."""
    return _kilobytes(meminfo.splitlines(), ("MemAvailable:",))


def _process(pid: int) -> Usage:
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b") ")[2].split()
    ticks = sum(int(number) for number in fields[11:15])  # utime, stime, cutime, cstime
    memory = rss = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            lines = file.readlines()
        memory = _kilobytes(lines, ("Pss:",))
        rss = _kilobytes(lines, ("Anonymous:",))
    except PermissionError:
        # Of a process that gained rights; what everybody may read counts shared pages in full.
        with open(f"/proc/{pid}/statm", "rb") as file:
            resident, shared = (int(number) for number in file.read().split()[1:3])
        page = os.sysconf("SC_PAGE_SIZE")
        memory, rss = resident * page, (resident - shared) * page
    return Usage(ticks * _NANOSECONDS // _TICKS, memory, rss, 1)


def _kilobytes(lines: Iterable[str], names: tuple[str, ...]) -> int:
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(number) for number in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
