"""The program of the image `wherry/klipper-lb`: forwards a port of its pod to a Service.

It takes the environment of `rancher/klipper-lb`. A shell holds the container, at a megabyte of memory; Python runs only
for as long as it takes to put the rules in place. With ``PROXY_PROTOCOL`` the container is a Python program that stays,
at some 10 MB. All are programs of the node.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

IMAGE = "*klipper-lb"
"""Pattern of the images that it stands for, whoever made them."""

_HOLD = """\
[ -z "$PROXY_PROTOCOL" ] || exec "$@"
trap 'nft delete table inet "wherry-lb-$DEST_PROTO-$SRC_PORT"; exit 0' TERM INT
"$@" || exit
while :; do sleep infinity & wait $!; done"""
"""Ends at once when it is told to: the shell waits for a child, and traps interrupt that."""


PROGRAM = Path(__file__).with_name("program.py")
"""The program, which needs nothing of this package."""

MOUNTED = Path("/run/klipper-lb/program.py")
"""Where a container sees it: what is installed below /tmp, as a checkout may be, is hidden from containers."""

FILES = {PROGRAM: MOUNTED, PROGRAM.with_name("relay.py"): MOUNTED.with_name("relay.py")}
"""What a container has to see, and where."""


def entrypoint(program: Path) -> tuple[str, ...]:
    """The command line of a container in which ``program`` is to be found; of Python it needs the standard library."""
    interpreter = os.path.realpath(sys.executable)
    return ("sh", "-c", _HOLD, "klipper-lb", interpreter, "-I", "-S", "-B", str(program))
