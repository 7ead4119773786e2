"""`timeouts { read | write | idle DURATION; maxtcpqueries N }`: of TCP and TLS (https://coredns.io/plugins/timeouts/)."""

from wherry.dns.corefile.model import Block, Directive

_LEAST, _MOST = 1.0, 86_400.0  # seconds


def setup(directives: list[Directive], block: Block) -> None:
    """Read the directives into the block; raises CorefileError."""
    for directive in directives:
        if directive.args:
            raise directive.wrong_arguments()
        if not directive.body:
            raise directive.error("timeouts block with no timeouts specified")
        for line in directive.body:
            _read(line, block)


def _read(line: Directive, block: Block) -> None:
    text = line.argument()
    if line.name == "maxtcpqueries":
        number = line.integer(text, -1, 2**31 - 1)
        if number == 0:
            raise line.error("maxtcpqueries provided '0' needs to be -1 (unlimited) or a positive integer")
        block.timeouts.most_queries = None if number == -1 else number
        return
    if line.name not in ("read", "write", "idle"):
        raise line.error(f"unknown option: '{line.name}'")
    seconds = line.duration(f"{text}s" if text.isdecimal() and text.isascii() else text)
    if not _LEAST <= seconds <= _MOST:
        raise line.error(f"timeout provided '{text}' needs to be between 1 second and 24 hours")
    setattr(block.timeouts, line.name, seconds)
