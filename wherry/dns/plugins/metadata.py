"""`metadata [ZONES…]`: has plugins describe requests, for `view`, `log` and `template` (https://coredns.io/plugins/metadata/).

Whoever routes a request asks every plugin that can describe it (`MetadataProvider`) before views choose the block.
"""

from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.corefile.zones import zones_of
from wherry.dns.plugin import Base


class Metadata(Base):
    """Requests within `zones`, folded, are described."""

    name = "metadata"

    def __init__(self, zones: list[bytes]) -> None:
        self.zones = zones


def setup(directives: list[Directive], block: Block) -> Metadata:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    directive.no_body()
    return Metadata(zones_of(directive, block))
