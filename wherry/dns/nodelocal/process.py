"""The process that answers on a node.

It is forked, and forks in its turn; so what the packaged Corefile needs is imported here, where all nodes of a sandbox
share it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from wherry.dns.filewatch import FileWatch
from wherry.dns.nodelocal.files import PROCESS
from wherry.dns.plugins import errors, forward, hosts, kubernetes, loadbalance, loop, reload  # noqa: F401
from wherry.dns.plugins.cache import plugin  # noqa: F401
from wherry.dns.server import back  # noqa: F401
from wherry.dns.server.options import Options
from wherry.dns.server.parent import serve
from wherry.kube.endpoint import Endpoint


def main(conf: Path, *, addresses: Sequence[str], endpoint: Callable[[], Endpoint]) -> None:
    """Serve by the Corefile that the agent writes, once it is there, on these addresses, until told to end."""
    conf.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    asyncio.run(_present(conf))
    (conf.parent / PROCESS).write_text(str(os.getpid()))
    sys.exit(serve(Options(conf=conf, fronts=1, quiet=True, bind=tuple(addresses), endpoint=endpoint)))


async def _present(path: Path) -> None:
    """Return when there is such a file."""
    watch = FileWatch()
    try:
        while True:
            watch.watch([str(path)])
            if path.exists():
                return
            await watch.wait()
    finally:
        watch.close()
