"""The part of kubectl's JSONPath that printer columns use: names, indexes, wildcards and equality filters.

https://kubernetes.io/docs/reference/kubectl/jsonpath/; `.status.conditions[?(@.type=="Ready")].status` is typical.
"""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\\])+)          # .name, with \. for a dot in it
      | \[\s*(?P<index>-?\d+)\s*\]            # [0]
      | \[\s*(?P<star>\*)\s*\]                # [*]
      | \[\s*['"](?P<quoted>[^'"]*)['"]\s*\]  # ['name']
      | \[\?\(\s*@\.(?P<key>[\w.-]+)\s*(?P<operator>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[\w.-]+)\s*\)\]
    """,
    re.VERBOSE,
)


def first(obj: Any, path: str) -> Any:
    """The first value `path` selects, None where there is none or the path is of another form."""
    found = [obj]
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return None
        position = step.end()
        found = [value for one in found for value in _walk(one, step)]
    return found[0] if found else None


def _walk(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["name"].replace("\\.", ".") if step["name"] is not None else step["quoted"]
    if name is not None:
        return [value[name]] if isinstance(value, dict) and name in value else []
    if step["star"]:
        return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if step["index"] is not None:
        index = int(step["index"])
        return [value[index]] if -len(value) <= index < len(value) else []
    wanted = step["value"].strip("\"'")
    equal = step["operator"] == "=="
    return [one for one in value if (_text(one, step["key"]) == wanted) is equal]


def _text(value: Any, path: str) -> str:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
