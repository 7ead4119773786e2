"""CEL trees as functions of their variables.

Evaluation follows the language definition: ``&&`` and ``||`` forgive an error on one side where the other decides,
everything else that does not fit is a CelError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from wherry.apiserver.patch.json_patch import same_json
from wherry.apiserver.schema.cel.functions import FUNCTIONS, METHODS, CelError
from wherry.apiserver.schema.cel.parse import Node, Unsupported, parse

__all__ = ["CelError", "Program", "compile_rule"]

Variables = Mapping[str, Any]
Program = Callable[[Variables], Any]

_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_ESCAPES = (("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "__"))


@lru_cache(maxsize=2048)
def compile_rule(text: str) -> Program:
    """Compile an expression. Raises Unsupported where it cannot be evaluated here."""
    return _compile(parse(text))


def _compile(node: Node) -> Program:
    kind = node[0]
    if kind == "literal":
        return lambda _variables: node[1]
    if kind == "name":
        return _name(node[1])
    if kind == "select":
        operand, field = _compile(node[1]), _field_name(node[2])
        return lambda variables: _select(operand(variables), field)
    if kind == "index":
        operand, index = _compile(node[1]), _compile(node[2])
        return lambda variables: _index(operand(variables), index(variables))
    if kind == "list":
        items = [_compile(item) for item in node[1]]
        return lambda variables: [item(variables) for item in items]
    if kind == "map":
        pairs = [(_compile(key), _compile(value)) for key, value in node[1]]
        return lambda variables: {key(variables): value(variables) for key, value in pairs}
    return _call(node[1], node[2], node[3])


def _name(name: str) -> Program:
    def lookup(variables: Variables) -> Any:
        if name not in variables:
            raise CelError(f"undeclared reference to '{name}'")
        return variables[name]

    return lookup


def _field_name(name: str) -> str:
    """Undo the escapes that make a property's name an identifier."""
    for escape, text in _ESCAPES:
        name = name.replace(escape, text)
    if name.startswith("__") and name.endswith("__") and len(name) > 4:
        return name[2:-2]
    return name


def _select(value: Any, field: str) -> Any:
    if isinstance(value, dict) and field in value:
        return value[field]
    raise CelError(f"no such key: {field}")


def _index(value: Any, index: Any) -> Any:
    if isinstance(value, dict) and isinstance(index, str) and index in value:
        return value[index]
    if isinstance(value, list) and isinstance(index, int) and 0 <= index < len(value):
        return value[index]
    raise CelError(f"no such key: {index}")


def _call(name: str, target: Node | None, arguments: tuple[Node, ...]) -> Program:
    if target is None and name == "has":
        return _has(arguments)
    if target is not None and name in _MACROS and len(arguments) in (2, 3):
        return _macro(name, target, arguments)
    if name in ("_&&_", "_||_"):
        return _logical(_compile(arguments[0]), _compile(arguments[1]), decided=name == "_||_")
    if name == "_?_:_":
        condition, then, otherwise = (_compile(argument) for argument in arguments)
        return lambda variables: (then if _truth(condition(variables)) else otherwise)(variables)
    operands = [_compile(argument) for argument in arguments]
    if target is not None:
        if (name, len(operands)) not in METHODS:
            raise Unsupported(f"unknown method {name}")
        method, receiver = METHODS[name, len(operands)], _compile(target)
        return lambda variables: method(receiver(variables), *(operand(variables) for operand in operands))
    if (name, len(operands)) not in FUNCTIONS:
        raise Unsupported(f"unknown function {name}")
    function = FUNCTIONS[name, len(operands)]
    return lambda variables: function(*(operand(variables) for operand in operands))


def _has(arguments: tuple[Node, ...]) -> Program:
    if len(arguments) != 1 or arguments[0][0] != "select":
        raise Unsupported("has() needs a field")
    operand, field = _compile(arguments[0][1]), _field_name(arguments[0][2])

    def present(variables: Variables) -> bool:
        value = operand(variables)
        if not isinstance(value, dict):
            raise CelError(f"no such key: {field}")
        return field in value

    return present


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError("no such overload")
    return value


def _logical(left: Program, right: Program, *, decided: bool) -> Program:
    """Build && (decided by false) or || (decided by true)."""

    def evaluate(variables: Variables) -> bool:
        error: CelError | None = None
        for side in (left, right):
            try:
                if _truth(side(variables)) is decided:
                    return decided
            except CelError as caught:
                error = caught
        if error is not None:
            raise error
        return not decided

    return evaluate


def _macro(name: str, target: Node, arguments: tuple[Node, ...]) -> Program:
    if arguments[0][0] != "name":
        raise Unsupported(f"{name}() needs a variable")
    variable = arguments[0][1]
    if (len(arguments) == 3) and name != "map":
        raise Unsupported(f"{name}() with three arguments")
    range_, body = _compile(target), _compile(arguments[-1])
    keep = _compile(arguments[1]) if len(arguments) == 3 else None

    def evaluate(variables: Variables) -> Any:
        found = range_(variables)
        if not isinstance(found, list | dict):
            raise CelError("no such overload")
        scopes = [{**variables, variable: item} for item in found]
        if name == "map":
            return [body(scope) for scope in scopes if keep is None or _truth(keep(scope))]
        if name == "filter":
            return [scope[variable] for scope in scopes if _truth(body(scope))]
        if name in ("exists_one", "existsOne"):
            return sum(_truth(body(scope)) for scope in scopes) == 1
        return _fold(body, scopes, decided=name == "exists")

    return evaluate


def _fold(body: Program, scopes: list[dict[str, Any]], *, decided: bool) -> bool:
    """Fold a test over elements with && or ||, errors forgiven where another element decides."""
    error: CelError | None = None
    for scope in scopes:
        try:
            if _truth(body(scope)) is decided:
                return decided
        except CelError as caught:
            error = caught
    if error is not None:
        raise error
    return not decided


FUNCTIONS["_==_", 2] = same_json
FUNCTIONS["_!=_", 2] = lambda left, right: not same_json(left, right)
