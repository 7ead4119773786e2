"""The runtime process: ``python -m wherry.pods.runtime SETTINGS`` with `service.Settings` as JSON.

It is started by exec rather than forked from a large parent, so that it stays small.
"""

from __future__ import annotations

import gc
import resource
import sys

import msgspec

from wherry.pods.runtime.service import AlreadyRunning, Settings, serve


def command(settings: Settings) -> list[str]:
    """The command line that starts a runtime process; it inherits the network namespace of its caller."""
    return [sys.executable, "-I", "-m", "wherry.pods.runtime", msgspec.json.encode(settings).decode()]


def main() -> int:
    """Serve until asked to end; an unusable setting is one line on standard error and exit code 1."""
    try:
        settings = msgspec.json.decode(sys.argv[1], type=Settings)
    except (IndexError, msgspec.MsgspecError) as error:
        print(f"wherry.pods.runtime wants its settings as JSON: {error}", file=sys.stderr)
        return 1
    # Every stand-in costs a descriptor for each port.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()
    try:
        serve(settings)
    except (AlreadyRunning, OSError) as error:
        print(f"runtime: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
