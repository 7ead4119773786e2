"""`multisocket [NUMBER]`: sockets for each address (https://coredns.io/plugins/multisocket/).

That is how every block is served here: each front, a process of its own, has a socket for each address. How many fronts
there are is chosen where the server is started, and said here, as a Corefile cannot start processes.
"""

import logging

from wherry.dns.corefile.model import Block, Directive, latest

log = logging.getLogger(__name__)

_MOST = 1024


def setup(directives: list[Directive], block: Block) -> None:
    """Check the directive; raises CorefileError."""
    directive = latest(directives)
    for text in directive.arguments(0, 1):
        number = directive.integer(text, 1, _MOST)
        log.info(
            "plugin/multisocket: each address has as many sockets as there are fronts, whatever the Corefile says; "
            "start with --fronts %d to have %d",
            number,
            number,
        )
