"""One measurement, one line."""

from __future__ import annotations

import json


def report(name: str, value: float, unit: str, **more: object) -> None:
    """Print a measurement; ``more`` holds the target of the issue, the peer's value, spread."""
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, **more}), flush=True)
