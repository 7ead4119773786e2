"""The program of the image `wherry/dns`, which stands for CoreDNS' images too: this server, as `wherry dns serve`.

Containers see the machine's own files, so it runs from where wherry is installed. What lies below a folder that every
container has for itself (a checkout in /tmp) is mounted into its containers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

IMAGES = ("*/coredns", "*-coredns", "docker.io/wherry/dns")
"""Patterns of the images that it stands for, whoever made or mirrored them."""

PRIVATE = (Path("/tmp"), Path("/var/tmp"), Path("/run"))
"""Folders of which a container has its own."""

_PACKAGE = Path(__file__).resolve().parents[1]


def entrypoint() -> tuple[str, ...]:
    """The command line; arguments of the container follow it, as they would follow `coredns`.

    One receiving process is enough for a pod: nodes answer for themselves, and a Deployment scales by replicas.
    """
    return (sys.executable, "-I", "-B", "-m", "wherry", "dns", "serve", "--fronts", "1")


def mounts(places: Iterable[Path] | None = None) -> tuple[Path, ...]:
    """What a container would not see by itself of the folders that the program needs; each shown where it is."""
    wanted = [_PACKAGE, Path(sys.prefix), Path(sys.base_prefix)] if places is None else places
    hidden = (Path(os.path.abspath(place)) for place in wanted)
    found = sorted({place for place in hidden if any(place.is_relative_to(private) for private in PRIVATE)})
    return tuple(place for place in found if not any(place != other and place.is_relative_to(other) for other in found))
