"""What ``wherry server`` and ``wherry agent`` share: settings from everywhere, and processes in the foreground."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from wherry.cli.options import check_images, given
from wherry.config.settings import Settings

RUN_DIR = Path("/run/wherry")
#: How long (seconds) processes may take to end before they are killed.
GRACE = 10.0


def read_settings(
    command: Literal["server", "agent"], options: dict[str, Any], *, cluster: Mapping[str, Sequence[str]] | None = None
) -> Settings:
    """Resolve flags, file and environment; ``cluster`` is what a server said of the cluster. Raises ConfigError."""
    from wherry.config.resolve import resolve
    from wherry.config.settings import settings_from

    values = resolve(command, given(command, options), os.environ)
    settings = settings_from({**values, **(cluster or {})})
    check_images(settings.images)
    return settings


def started_with(command: Literal["server", "agent"], options: dict[str, Any]) -> dict[str, str]:
    """The annotations that say how this process was started. Raises ConfigError."""
    from wherry.agent.nodeconfig import node_config
    from wherry.config.resolve import file_arguments

    from_file = file_arguments(command, given(command, options), os.environ)
    return node_config(command, from_file, sys.argv[2:], os.environ)


def supervise(logs: Path, processes: Sequence[tuple[str, Callable[[], None]]]) -> None:
    """Keep processes running in this one's namespaces until SIGTERM or Ctrl-C, then end them."""
    from wherry.kernel.supervise import Process, Supervisor

    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    supervisor = Supervisor()
    for name, main in processes:
        supervisor.start(Process(name, main, logs / f"{name}.log"))
    supervisor.run()
    supervisor.stop_all(GRACE)
