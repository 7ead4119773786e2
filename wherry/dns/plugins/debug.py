"""`debug`: a plugin that fails takes its error up instead of being answered with SERVFAIL (https://coredns.io/plugins/debug/)."""

from wherry.dns.corefile.model import Block, Directive


def setup(directives: list[Directive], block: Block) -> None:
    """Read the directive into the block; raises CorefileError."""
    for directive in directives:
        directive.arguments(0)
    block.debug = True
