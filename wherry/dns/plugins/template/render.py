"""Filling in Go templates: data, functions, and what counts as empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from wherry.dns.plugins.template.syntax import Access, Branch, Function, Literal, Node, Operand, Pipeline, parse

Data = Mapping[str, object]
"""What fields of dot give; a value that is a function is called with the arguments that follow it."""
_VERB = re.compile(r"%([-+# 0]*)([0-9]*)(?:\.([0-9]+))?([vdsqxXobcteft%])")
_MISSING = "<no value>"
_MOST = 65536
"""Characters that a template may make: no record is longer."""


class RenderError(Exception):
    """A template cannot be filled in with these data."""


class Template:
    """One template."""

    def __init__(self, text: str, fields: frozenset[str]) -> None:
        """Read it; raises ValueError. ``fields`` are those that the data will have."""
        self.text = text
        self._nodes = parse(text, frozenset(_FUNCTIONS))
        self.uses = frozenset(_fields(self._nodes))
        unknown = self.uses - fields
        if unknown:
            raise ValueError(f"can't evaluate field {min(unknown)}; there are {', '.join(sorted(fields))}")

    def render(self, data: Data) -> str:
        """Fill it in; raises RenderError."""
        out: list[str] = []
        try:
            _Run(data, out).nodes(self._nodes, data, [{"$": data}])
        except (TypeError, ValueError, LookupError) as error:
            raise RenderError(str(error)) from error
        return "".join(out)


def _fields(nodes: list[Node], *, root: bool = True) -> list[str]:
    """The fields of the data that a template names, as far as its text shows: dot is something else within a branch."""
    found: list[str] = []
    for node in nodes:
        if isinstance(node, Branch):
            inside = root and node.kind == "if"
            found += (
                _of(node.pipeline, root=root) + _fields(node.body, root=inside) + _fields(node.otherwise, root=root)
            )
        elif isinstance(node, Pipeline):
            found += _of(node, root=root)
    return found


def _of(pipeline: Pipeline, *, root: bool) -> list[str]:
    found: list[str] = []
    for operand in (operand for command in pipeline.commands for operand in command):
        if isinstance(operand, Access):
            if operand.inner is not None:
                found += _of(operand.inner, root=root)
            elif operand.fields and (operand.variable == "$" or (operand.variable is None and root)):
                found.append(operand.fields[0])
    return found


class _Run:
    def __init__(self, data: Data, out: list[str]) -> None:
        self._data = data
        self._out = out
        self._left = _MOST

    def nodes(self, nodes: list[Node], dot: object, scopes: list[dict[str, object]]) -> None:
        for node in nodes:
            if isinstance(node, str):
                self._write(node)
            elif isinstance(node, Branch):
                self._branch(node, dot, [*scopes, {}])
            else:
                value = self._pipeline(node, dot, scopes)
                if not node.variables:
                    self._write(shown(value))

    def _write(self, text: str) -> None:
        self._left -= len(text)
        if self._left < 0:
            raise ValueError(f"more than {_MOST} characters")
        self._out.append(text)

    def _branch(self, branch: Branch, dot: object, scopes: list[dict[str, object]]) -> None:
        if branch.kind == "range":
            items = _items(self._pipeline(branch.pipeline, dot, scopes, ranges=True))
            for key, item in items:
                for name, value in zip(reversed(branch.pipeline.variables), (item, key), strict=False):
                    scopes[-1][name] = value
                self.nodes(branch.body, item, [*scopes, {}])
            if not items:
                self.nodes(branch.otherwise, dot, scopes)
            return
        value = self._pipeline(branch.pipeline, dot, scopes)
        if value:
            self.nodes(branch.body, value if branch.kind == "with" else dot, scopes)
        else:
            self.nodes(branch.otherwise, dot, scopes)

    def _pipeline(
        self, pipeline: Pipeline, dot: object, scopes: list[dict[str, object]], *, ranges: bool = False
    ) -> object:
        value: object = None
        for number, command in enumerate(pipeline.commands):
            value = self._command(command, dot, scopes, [value] if number else [])
        if pipeline.variables and not ranges:
            name = pipeline.variables[0]
            if pipeline.declares:
                scopes[-1][name] = value
            else:
                _scope_of(name, scopes)[name] = value
        return value

    def _command(
        self, command: list[Operand], dot: object, scopes: list[dict[str, object]], last: list[object]
    ) -> object:
        first, *rest = command
        if isinstance(first, Function):
            if first.name in ("and", "or"):
                return self._short(first.name, rest, dot, scopes, last)
            args = [self._operand(operand, dot, scopes) for operand in rest]
            return _FUNCTIONS[first.name](*args, *last)
        value = self._operand(first, dot, scopes, call=False)
        args = [*(self._operand(operand, dot, scopes) for operand in rest), *last]
        if callable(value):
            return value(*args)
        if args:
            raise TypeError("can't give argument to non-function")
        return value

    def _short(
        self, name: str, operands: list[Operand], dot: object, scopes: list[dict[str, object]], last: list[object]
    ) -> object:
        value: object = None
        for operand in operands:
            value = self._operand(operand, dot, scopes)
            if bool(value) == (name == "or"):
                return value
        return last[0] if last else value

    def _operand(self, operand: Operand, dot: object, scopes: list[dict[str, object]], *, call: bool = True) -> object:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Function):
            return _FUNCTIONS[operand.name]()
        if operand.inner is not None:
            value = self._pipeline(operand.inner, dot, scopes)
        elif operand.variable is not None:
            value = _scope_of(operand.variable, scopes)[operand.variable]
        else:
            value = dot
        for name in operand.fields:
            if not isinstance(value, Mapping):
                raise TypeError(f"can't evaluate field {name} in {shown(value)}")
            value = value.get(name)
        return value() if call and callable(value) else value


def _scope_of(name: str, scopes: list[dict[str, object]]) -> dict[str, object]:
    for scope in reversed(scopes):
        if name in scope:
            return scope
    raise LookupError(f"undefined variable {name}")


def _items(value: object) -> list[tuple[object, object]]:
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        if value > _MOST:
            raise ValueError(f"range over {value}; {_MOST} are the limit")
        return [(number, number) for number in range(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(enumerate(value))
    if value is None:
        return []
    raise TypeError(f"range can't iterate over {shown(value)}")


def shown(value: object) -> str:
    """A value as Go prints it."""
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{shown(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(shown, value)) + "]"
    return str(value)


def _parse_uint(text: object, base: object, bits: object) -> int:
    """Go's strconv.ParseUint: base 0 reads a prefix, bits 0 means 64."""
    if not (isinstance(text, str) and isinstance(base, int) and isinstance(bits, int)):
        raise TypeError("parseInt takes a string, a base and a size in bits")
    if not re.fullmatch(r"[0-9A-Za-z_]+" if base == 0 else r"[0-9A-Za-z]+", text):
        raise ValueError(f"parsing {text!r}: invalid syntax")
    number = int(text, base)
    if number >= 1 << (bits or 64):
        raise ValueError(f"parsing {text!r}: value out of range")
    return number


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(str(key), "")
        elif isinstance(value, str | list | tuple) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise LookupError(f"index out of range: {key}")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        else:
            raise TypeError(f"can't index item of {shown(value)}")
    return value


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, str | list | tuple) or not all(isinstance(bound, int) for bound in bounds):
        raise TypeError(f"can't slice item of {shown(value)}")
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(value)
    if not (isinstance(low, int) and isinstance(high, int) and 0 <= low <= high <= len(value)):
        raise LookupError(f"slice bounds out of range [{shown(low)}:{shown(high)}]")
    return value[low:high]


def _len(value: object) -> int:
    if not isinstance(value, str | Mapping | list | tuple):
        raise TypeError(f"len of {shown(value)}")
    return len(value)


def _printf(pattern: object, *args: object) -> str:
    left = list(args)

    def one(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if not left:
            raise ValueError(f"printf: no value for {found[0]}")
        value = left.pop(0)
        spec = f"%{flags}{width}" + (f".{precision}" if precision else "")
        if verb in "vsq":
            text = shown(value)
            return (spec + "s") % ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if verb == "q" else text)
        if verb == "t":
            return (spec + "s") % shown(bool(value))
        if verb in "xX" and isinstance(value, str):
            digits = value.encode().hex()
            return (spec + "s") % (digits.upper() if verb == "X" else digits)
        if verb == "b":
            return f"{value:{'0' if '0' in flags else ''}{width}b}"
        return (spec + verb) % value

    text = _VERB.sub(one, str(pattern))
    if left:
        raise ValueError(f"printf: {len(left)} values too many")
    return text


def _same(value: object, *others: object) -> bool:
    if not others:
        raise TypeError("eq: missing argument for comparison")
    for other in others:
        if isinstance(value, str) != isinstance(other, str) or isinstance(value, bool) != isinstance(other, bool):
            raise TypeError("incompatible types for comparison")
    return any(value == other for other in others)


def _compare(judge: Callable[[int], bool]) -> Callable[[object, object], bool]:
    def compare(one: object, other: object) -> bool:
        if isinstance(one, str) and isinstance(other, str):
            return judge((one > other) - (one < other))
        if isinstance(one, int | float) and isinstance(other, int | float):
            return judge((one > other) - (one < other))
        raise TypeError("incompatible types for comparison")

    return compare


def _print(*args: object) -> str:
    """Go's Sprint: a blank between two values neither of which is a string."""
    text = ""
    for place, value in enumerate(args):
        if place and not (isinstance(value, str) or isinstance(args[place - 1], str)):
            text += " "
        text += shown(value)
    return text


def _not(value: object) -> bool:
    return not value


def _refused(*args: object) -> object:
    raise TypeError("missing argument")


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "parseInt": _parse_uint, "index": _index, "slice": _slice, "len": _len, "print": _print, "printf": _printf,
    "println": lambda *args: " ".join(map(shown, args)) + "\n",
    "eq": _same, "ne": lambda one, other: not _same(one, other),
    "lt": _compare(lambda sign: sign < 0), "le": _compare(lambda sign: sign <= 0),
    "gt": _compare(lambda sign: sign > 0), "ge": _compare(lambda sign: sign >= 0),
    "not": _not, "and": _refused, "or": _refused,
}  # fmt: skip
