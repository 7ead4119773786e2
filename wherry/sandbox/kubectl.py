"""Finding a kubectl that is new enough: the one on PATH, else the one that is installed with wherry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from wherry.config.errors import ConfigError

#: kubectl supports servers up to one minor version from its own; the embedded API server speaks 1.36.
OLDEST_MINOR = 35


def find_kubectl(environment: Mapping[str, str]) -> Path:
    """Return the kubectl to run. Raises ConfigError where there is none that is recent enough.

    ``WHERRY_KUBECTL`` names one outright.
    """
    chosen = environment.get("WHERRY_KUBECTL")
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise ConfigError(f"WHERRY_KUBECTL: {chosen} cannot be run")
        return Path(chosen)
    on_path = shutil.which("kubectl", path=environment.get("PATH"))
    if on_path and (minor_version(Path(on_path)) or 0) >= OLDEST_MINOR:
        return Path(on_path)
    installed = Path(sysconfig.get_path("scripts")) / "kubectl"
    if os.access(installed, os.X_OK):
        return installed
    found = f"{on_path} is older than 1.{OLDEST_MINOR}" if on_path else "there is no kubectl on PATH"
    raise ConfigError(f"{found}; install a recent one, or run `make setup`")


def minor_version(kubectl: Path) -> int | None:
    """A kubectl's minor version, None where it does not say."""
    try:
        answer = subprocess.run(
            [kubectl, "version", "--client", "-o", "json"], capture_output=True, timeout=10, check=True
        )
        return int(json.loads(answer.stdout)["clientVersion"]["minor"].rstrip("+"))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
