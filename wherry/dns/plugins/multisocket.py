"""`multisocket [NUMBER]`: sockets for each address (https://coredns.io/plugins/multisocket/).

Every front has a socket of its own for each address, so that this is how many fronts serve the block's addresses.
"""

import os

from wherry.dns.corefile.model import Block, Directive, latest

_MOST = 1024


def setup(directives: list[Directive], block: Block) -> None:
    """Read the directive into the block; raises CorefileError."""
    directive = latest(directives)
    args = directive.arguments(0, 1)
    block.sockets = directive.integer(args[0], 1, _MOST) if args else len(os.sched_getaffinity(0))
