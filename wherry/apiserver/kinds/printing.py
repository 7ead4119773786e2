"""Texts in the cells of `kubectl get`: ages, lists, selectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from wherry.apiserver.kinds.model import Object

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"

_DAY = 24


def parse_time(value: str | None) -> datetime | None:
    """An RFC 3339 time, with or without fractions; None for none."""
    if not value:
        return None
    return datetime.fromisoformat(value)


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes Time."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def human_duration(seconds: float) -> str:
    """A length of time in at most two units, coarser the longer it is: `45s`, `3m10s`, `5h`, `2d3h`, `400d`."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours, rest = divmod(minutes, 60)
    if hours < 8:
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days, rest = divmod(hours, _DAY)
    if hours < 8 * _DAY:
        return f"{days}d{rest}h" if rest else f"{days}d"
    if hours < 2 * 365 * _DAY:
        return f"{days}d"
    years, rest = divmod(days, 365)
    if hours < 8 * 365 * _DAY:
        return f"{years}y{rest}d" if rest else f"{years}y"
    return f"{years}y"


def since(value: str | None, now: datetime) -> str:
    """How long ago a time was."""
    moment = parse_time(value)
    return UNKNOWN if moment is None else human_duration((now - moment).total_seconds())


def age(obj: Object, now: datetime) -> str:
    """How long ago the object was created."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def name_of(obj: Object) -> str:
    """The object's name."""
    name: str = obj["metadata"].get("name", "")
    return name


def name_and_age(obj: Object, now: datetime) -> list[Any]:
    """The cells of kinds that show nothing else."""
    return [name_of(obj), age(obj, now)]


def name_and_created(obj: Object, now: datetime) -> list[Any]:
    """The cells of kinds that show the time of creation itself."""
    return [name_of(obj), obj["metadata"].get("creationTimestamp")]


def label_map(labels: Mapping[str, str] | None) -> str:
    """`a=b,c=d`, sorted."""
    if not labels:
        return NONE
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def label_selector(selector: Object | None) -> str:
    """A LabelSelector in the notation of `kubectl -l`."""
    if selector is None:
        return NONE
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key", ""), expression.get("operator", "")
        values = ",".join(sorted(expression.get("values") or ()))
        text = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }.get(operator, "<error>")
        parts.append((key, text))
    if not parts:
        return NONE
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0]))


def joined(values: Iterable[str]) -> str:
    """Comma-separated, `<none>` for nothing."""
    return ",".join(values) or NONE


def limited(values: Sequence[str], limit: int) -> str:
    """The first few, and how many more there are."""
    if not values:
        return NONE
    text = ",".join(values[:limit])
    return f"{text} + {len(values) - limit} more..." if len(values) > limit else text


def containers_of(template: Object) -> tuple[str, str]:
    """Names and images of the main containers of a pod template."""
    containers = (template.get("spec") or {}).get("containers") or ()
    names = ",".join(container.get("name", "") for container in containers)
    return names, ",".join(container.get("image", "") for container in containers)
