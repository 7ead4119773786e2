"""`cache`: keeps replies, and says how long fronts may repeat them.

Receive loops import `clamp` from here: the rest is loaded only by `setup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.dns.corefile.model import Block, Directive
    from wherry.dns.plugins.cache.plugin import Cache


def setup(directives: list[Directive], block: Block) -> Cache:
    """Read the one `cache` directive of a block."""
    from wherry.dns.corefile.model import once
    from wherry.dns.plugins.cache.options import read
    from wherry.dns.plugins.cache.plugin import Cache

    return Cache(read(once(directives), block), block)
