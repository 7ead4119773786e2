"""Measurements: ``make bench`` prints a JSON line for each, with the peer's value of the same run where there is one."""
