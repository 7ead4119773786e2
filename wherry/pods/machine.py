"""What the machine under a node is: processors, memory, disk, kernel, and whether any of it runs short."""

from __future__ import annotations

import os
import platform
import uuid
from pathlib import Path

import msgspec

from wherry.kube.objects.base import Quantity

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
LOW_MEMORY = 100 * 1024 * 1024
"""Bytes available below which the node reports memory pressure: the kubelet's own limit."""
LOW_DISK = 0.01
"""Free part of the data directory's file system below which it reports disk pressure. Nothing is pulled here, so it
takes less than a kubelet asks for."""
LOW_PIDS = 0.01
"""Free part of the machine's process ids below which it reports pressure."""


class Machine(msgspec.Struct, frozen=True):
    """Facts that do not change while the node runs; memory and storage in bytes."""

    cpus: int
    memory: int
    storage: int
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str

    def capacity(self, max_pods: int) -> dict[str, Quantity]:
        """Return the node's capacity as its status names it."""
        return {
            "cpu": str(self.cpus),
            "memory": f"{self.memory // 1024}Ki",
            "ephemeral-storage": f"{self.storage // 1024}Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "pods": str(max_pods),
        }


class Pressure(msgspec.Struct, frozen=True):
    """What runs short."""

    memory: bool = False
    disk: bool = False
    pids: bool = False


def read_machine(node_name: str, data_dir: Path) -> Machine:
    """Read the facts. Several nodes share one machine, so the machine id is made from its own and the node's name."""
    storage = os.statvfs(_existing(data_dir))
    own = _first_line(Path("/etc/machine-id")) or platform.node()
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=_meminfo().get("MemTotal", 0),
        storage=storage.f_blocks * storage.f_frsize,
        architecture=architecture(),
        kernel=platform.release(),
        os_image=_os_release(),
        machine_id=uuid.uuid5(uuid.NAMESPACE_DNS, f"{node_name}.{own}").hex,
        boot_id=_first_line(Path("/proc/sys/kernel/random/boot_id")),
    )


def architecture() -> str:
    """Return the processor architecture as Go names it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def read_pressure(data_dir: Path) -> Pressure:
    """Look at what is left of memory, disk and process ids."""
    storage = os.statvfs(_existing(data_dir))
    available = _meminfo().get("MemAvailable")
    # /proc/loadavg: "... running/total last-pid"
    tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    limit = int(_first_line(Path("/proc/sys/kernel/pid_max")) or 32768)
    return Pressure(
        memory=available is not None and available < LOW_MEMORY,
        disk=storage.f_bavail < storage.f_blocks * LOW_DISK,
        pids=limit - tasks < limit * LOW_PIDS,
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _meminfo() -> dict[str, int]:
    found: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0]) * 1024
    return found


def _os_release() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        return "Linux"
    for line in lines:
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0].strip()
    except OSError:
        return ""
