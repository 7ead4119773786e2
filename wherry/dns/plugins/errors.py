"""`errors [stdout] { stacktrace; consolidate DURATION REGEXP [LEVEL] [show_first] }`: logs what could not be answered.

https://coredns.io/plugins/errors/
"""

import asyncio
import logging

from wherry.dns import names, records
from wherry.dns.corefile.durations import format_duration
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.logbound import LogBound
from wherry.dns.plugin import Base, Next, Reply, Request, ServeError
from wherry.dns.regex import Pattern

log = logging.getLogger(__name__)

_MOST = 200  # lines a second
_LEVELS = {"warning": logging.WARNING, "error": logging.ERROR, "info": logging.INFO, "debug": logging.DEBUG}


class Consolidation:
    """Errors that a pattern matches are counted over a time and logged as one line."""

    def __init__(self, period: float, pattern: Pattern, level: int, *, show_first: bool) -> None:
        self.period = period
        self.pattern = pattern
        self.level = level
        self.show_first = show_first
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def takes(self, bound: LogBound) -> bool:
        """Count an error; whether it needs no line of its own."""
        self._count += 1
        if self._count > 1:
            return True
        self._timer = asyncio.get_running_loop().call_later(self.period, self.flush, bound)
        return not self.show_first

    def flush(self, bound: LogBound) -> None:
        """Log the sum and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        count, self._count = self._count, 0
        if count > 1 or (count and not self.show_first):
            text = f"{count} errors like '{self.pattern.text}' occurred in last {format_duration(self.period)}"
            bound.log(self.level, f"plugin/errors: {text}")


class Errors(Base):
    """Logs what plugins raise; an error without a text is an answer like any other."""

    name = "errors"

    def __init__(self, block: Block, consolidations: list[Consolidation]) -> None:
        self._consolidations = consolidations
        self._bound = LogBound(log, _MOST, block.config.clock)

    async def serve(self, request: Request, next: Next) -> Reply | None:
        """Pass on; raises what the rest of the chain raises."""
        try:
            return await next(request)
        except ServeError as error:
            if error.text:
                self._log(request, error)
            raise

    async def stop(self) -> None:
        """Log what was counted."""
        for consolidation in self._consolidations:
            consolidation.flush(self._bound)
        self._bound.flush()

    def _log(self, request: Request, error: ServeError) -> None:
        level = logging.ERROR
        for consolidation in self._consolidations:
            if consolidation.pattern.matches(error.text):
                if consolidation.takes(self._bound):
                    return
                level = consolidation.level
                break
        asked = f"{names.to_text(request.folded)} {records.type_name(request.type)}"
        self._bound.log(level, f"plugin/errors: {error.rcode} {asked}: {error.text}")


def setup(directives: list[Directive], block: Block) -> Errors:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    if len(directive.args) > 1:
        raise directive.wrong_arguments()
    if directive.args and directive.args[0] != "stdout":
        raise directive.error(f"invalid log file: {directive.args[0]}")
    consolidations = []
    for line in directive.body:
        if line.name == "stacktrace":
            line.arguments(0)
            block.stacktrace = True
        elif line.name == "consolidate":
            consolidations.append(_consolidation(line))
        else:
            raise line.error(f"Unknown field {line.name}; there are stacktrace and consolidate")
    return Errors(block, consolidations)


def _consolidation(line: Directive) -> Consolidation:
    period, text, *options = line.arguments(2, 4)
    seconds = line.duration(period)
    try:
        pattern = Pattern(text)
    except ValueError as error:
        raise line.error(str(error)) from error
    level, show_first = None, False
    for option in options:
        if option in _LEVELS:
            if level is not None:
                raise line.error("multiple log levels specified in consolidate")
            if show_first:
                raise line.error("log level must come before show_first in consolidate")
            level = _LEVELS[option]
        elif option == "show_first":
            show_first = True
        else:
            raise line.error(f"unknown option in consolidate: {option}")
    return Consolidation(seconds, pattern, logging.ERROR if level is None else level, show_first=show_first)
