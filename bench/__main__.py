"""Run the measurements named on the command line, or all of them."""

from __future__ import annotations

import sys

from bench import dns, sandbox, scale, services

MEASUREMENTS = {
    "dns": dns.measure,
    "sandbox": sandbox.measure,
    "scale": scale.measure,
    "services": services.measure,
}


def main() -> int:
    wanted = sys.argv[1:] or list(MEASUREMENTS)
    unknown = [name for name in wanted if name not in MEASUREMENTS]
    if unknown:
        print(f"bench: no such measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 2
    for name in wanted:
        MEASUREMENTS[name]()
    return 0


sys.exit(main())
