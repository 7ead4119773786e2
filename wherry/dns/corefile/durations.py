"""Durations as Go writes them: `300ms`, `1.5h`, `2h45m` (https://pkg.go.dev/time#ParseDuration)."""

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_MOST = (2**63 - 1) / 1e9  # seconds: Go keeps nanoseconds in 64 bits


def parse_duration(text: str) -> float:
    """Seconds of a Go duration; raises ValueError, in Go's words, where it is none."""
    if text in ("0", "+0", "-0"):
        return 0.0
    if not text.isascii() and not set(text) - set(map(chr, range(128))) <= {"µ", "μ"}:
        raise ValueError(f'time: invalid duration "{text}"')
    if not _WHOLE.fullmatch(text):
        if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", text):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _MOST:
        raise ValueError(f'time: invalid duration "{text}"')
    return -seconds if text.startswith("-") else seconds


def format_duration(seconds: float) -> str:
    """A duration as Go prints it: `1m30s`, `250ms`, `0s`."""
    if seconds == 0:
        return "0s"
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    if rest < 1:
        for unit in ("ms", "µs", "ns"):
            if rest >= _UNITS[unit] or unit == "ns":
                return f"{sign}{_plain(rest / _UNITS[unit])}{unit}"
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{_plain(rest)}s"
    if hours or minutes:
        text = f"{int(minutes)}m{text}"
    return f"{sign}{int(hours)}h{text}" if hours else sign + text


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
