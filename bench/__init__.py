"""Measurements: ``make bench`` prints a JSON line for each, with the peer's value where it ran beside ours."""
