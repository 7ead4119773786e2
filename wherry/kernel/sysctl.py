"""Kernel parameters under /proc/sys, of the calling thread's network namespace or of a named one.

/proc/sys/net shows the namespace of the thread that opens the file, so no mount is needed to reach another's.
"""

import os
from pathlib import Path
from typing import Final

from wherry.kernel import netns

_ROOT: Final = Path("/proc/sys")


def path(name: str) -> Path:
    """Return the file of a parameter: slashes separate where a device name may hold dots ("net/ipv4/conf/a.1/x")."""
    return _ROOT / (name if "/" in name else name.replace(".", "/"))


def get(name: str, *, netns_path: str | os.PathLike[str] | None = None) -> str:
    """Return a parameter's value. Raises FileNotFoundError where the kernel has none of that name."""
    with netns.entered(netns_path):
        return path(name).read_text().strip()


def set(name: str, value: str | int, *, netns_path: str | os.PathLike[str] | None = None) -> bool:
    """Give a parameter a value; return whether that changed it. Raises OSError.

    It is read first: what is right already is not written, which also works where writing is not allowed.
    """
    with netns.entered(netns_path):
        file = path(name)
        if file.read_text().strip() == str(value):
            return False
        file.write_text(str(value))
        return True
