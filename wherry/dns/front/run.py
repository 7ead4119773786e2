"""A front as a process."""

from __future__ import annotations

import gc
import resource
import signal
import socket

from wherry.dns.front.channel import Channel
from wherry.dns.front.front import Front
from wherry.dns.front.loop import Loop


def run(descriptor: int) -> None:
    """Serve until the back says to stop; ``descriptor`` is this end of the channel.

    Made to be called in a process of its own, forked without threads or started for it. SIGINT is for whoever started
    us, and SIGTERM ends a front at once: the back's `STOP` is the way that loses nothing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever forked us may have blocked some
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # connections take one each
    # Next to nothing here is a cycle, and looking for some takes milliseconds with a large zone.
    gc.set_threshold(100_000, 50, 1000)
    with socket.socket(fileno=descriptor) as opened:
        Loop(Channel(opened), Front()).run()
