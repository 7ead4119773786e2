"""Run all tests in three parts side by side, since most of what the whole-cluster tests do is wait.

``tools/test.py [PYTEST OPTION]...`` gives the options to each part. What a part prints carries its name; the exit code
is 0 only where every part's is.
"""

from __future__ import annotations

import subprocess
import sys
import threading

WHOLE = ["tests/agent", "tests/chaos", "tests/cluster"]
PARTS = {
    "shared": [*WHOLE, "-m", "shared"],
    "own": [*WHOLE, "-m", "not shared"],
    "parts": ["tests", *(f"--ignore={folder}" for folder in WHOLE)],
}
"""Tests of the cluster they share, tests with a cluster of their own, and tests that need no whole cluster."""


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start one part, with all it prints in one pipe."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def show(name: str, part: subprocess.Popen[str], width: int) -> None:
    """Print what a part prints, line by line."""
    assert part.stdout is not None
    for line in part.stdout:
        print(f"{name:{width}} | {line}", end="", flush=True)


def main() -> int:
    """Run the parts. Returns 1 where one of them failed."""
    options = sys.argv[1:]
    parts = {name: start([*arguments, *options]) for name, arguments in PARTS.items()}
    width = max(map(len, parts))
    readers = [threading.Thread(target=show, args=(name, part, width)) for name, part in parts.items()]
    for reader in readers:
        reader.start()
    try:
        for reader in readers:
            reader.join()
        codes = {name: part.wait() for name, part in parts.items()}
    except KeyboardInterrupt:  # Each part got it too, and tidies up.
        codes = {name: part.wait() for name, part in parts.items()}
    for name, code in codes.items():
        if code:
            print(f"{name}: pytest ended with {code}", file=sys.stderr)
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main())
