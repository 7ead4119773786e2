"""Serve as a front: ``python -m wherry.dns.front DESCRIPTOR``, where that is this end of the channel to the back."""

from __future__ import annotations

import sys

from wherry.dns.front.run import run

run(int(sys.argv[1]))
