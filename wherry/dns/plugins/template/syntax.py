"""Reading Go templates (https://pkg.go.dev/text/template), as far as records need them.

Text, fields, variables, literals, calls, pipelines, `if`, `range`, `with`, trim markers and comments. Named templates
(`define`, `template`, `block`), `break` and `continue` are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ACTION = re.compile(
    r"\{\{(?P<left>- )?(?P<body>(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|'(?:\\.|[^'\\])+'|[^\"`'])*?)(?P<right> -)?\}\}", re.S
)
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:\\.|[^"\\])*")|(?P<raw>`[^`]*`)|(?P<char>'(?:\\.|[^'\\])+')|
    (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[0-9]+)(?:\.[0-9]+)?)|
    (?P<variable>\$\w*(?:\.\w+)*)|(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<dot>\.)|(?P<word>[A-Za-z_]\w*)|
    (?P<mark>:=|=|\||\(|\)|,)
    )""",
    re.X | re.S,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}|.)", re.S)
_REFUSED = ("define", "template", "block", "break", "continue")
_DEEPEST = 64
_CONTROL = ("if", "range", "with", "else", "end")


@dataclass(slots=True)
class Literal:
    """A constant."""

    value: object


@dataclass(slots=True)
class Access:
    """A chain of fields from dot (``variable`` None), from a variable, or from a pipeline in parentheses."""

    fields: tuple[str, ...]
    variable: str | None = None
    inner: Pipeline | None = None


@dataclass(slots=True)
class Function:
    """A function by name."""

    name: str


Operand = Literal | Access | Function


@dataclass(slots=True)
class Pipeline:
    """Commands, each given the result of the one before as its last argument; the result may go to variables."""

    commands: list[list[Operand]]
    variables: tuple[str, ...] = ()
    declares: bool = False


@dataclass(slots=True)
class Branch:
    """`if`, `range` or `with`."""

    kind: str
    pipeline: Pipeline
    body: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


Node = str | Pipeline | Branch


def parse(text: str, functions: frozenset[str]) -> list[Node]:
    """Read a template; raises ValueError that says what is wrong."""
    root: list[Node] = []
    stack: list[tuple[Branch, int]] = []
    bodies = [root]
    place = 0
    trim = False
    while place <= len(text):
        start = text.find("{{", place)
        if start < 0:
            _text(bodies[-1], text[place:], left=trim)
            break
        action = _ACTION.match(text, start)
        if action is None:
            raise ValueError(f"unclosed action: {text[start:]}")
        _text(bodies[-1], text[place:start], left=trim, right=bool(action["left"]))
        trim = bool(action["right"])
        place = action.end()
        body = action["body"].strip()
        if body.startswith("/*") and body.endswith("*/"):
            continue
        _action(body, functions, bodies, stack)
    if stack:
        raise ValueError(f"no {{{{end}}}} for {{{{{stack[-1][0].kind}}}}}")
    return root


def _text(nodes: list[Node], text: str, *, left: bool = False, right: bool = False) -> None:
    text = text.lstrip(" \t\r\n") if left else text
    text = text.rstrip(" \t\r\n") if right else text
    if text:
        nodes.append(text)


def _action(body: str, functions: frozenset[str], bodies: list[list[Node]], stack: list[tuple[Branch, int]]) -> None:
    word, _, rest = body.partition(" ")
    if word in _REFUSED:
        raise ValueError(f"{{{{{word}}}}} is not part of templates here")
    if word == "end":
        if not stack or rest.strip():
            raise ValueError("unexpected {{end}}")
        _, nested = stack.pop()
        del bodies[-nested:]
    elif word == "else":
        if not stack or bodies[-1] is stack[-1][0].otherwise:
            raise ValueError("unexpected {{else}}")
        branch, nested = stack[-1]
        bodies[-1] = branch.otherwise
        kind, _, condition = rest.strip().partition(" ")
        if kind:
            if kind not in ("if", "with"):
                raise ValueError(f"unexpected {kind} in {{{{else}}}}")
            # The chain ends with one {{end}}, so that the inner branch closes with the outer one.
            inner = Branch(kind, _pipeline(condition, functions))
            branch.otherwise.append(inner)
            bodies.append(inner.body)
            stack[-1] = (inner, nested + 1)
    elif word in ("if", "range", "with"):
        branch = Branch(word, _pipeline(rest, functions))
        bodies[-1].append(branch)
        bodies.append(branch.body)
        stack.append((branch, 1))
    else:
        bodies[-1].append(_pipeline(body, functions))
    if len(bodies) > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} branches within one another")


def _pipeline(text: str, functions: frozenset[str]) -> Pipeline:
    tokens = _tokens(text)
    variables: tuple[str, ...] = ()
    declares = False
    marks = [place for place, (kind, value) in enumerate(tokens) if kind == "mark" and value in (":=", "=")]
    if marks:
        targets = tokens[: marks[0]]
        names = [value for kind, value in targets if kind == "variable"]
        if not names or any(kind != "variable" and value != "," for kind, value in targets):
            raise ValueError(f"only variables can be set: {text}")
        variables, declares = tuple(names), tokens[marks[0]][1] == ":="
        tokens = tokens[marks[0] + 1 :]
    pipeline, rest = _commands(tokens, functions, text)
    if rest:
        raise ValueError(f"unexpected {rest[0][1]!r} in {text}")
    pipeline.variables, pipeline.declares = variables, declares
    return pipeline


Token = tuple[str, str]


def _tokens(text: str) -> list[Token]:
    tokens = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            raise ValueError(f"unexpected {text[place:].strip()[:1]!r} in {text}")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        place = found.end()
    return tokens


def _commands(
    tokens: list[Token], functions: frozenset[str], text: str, depth: int = 0
) -> tuple[Pipeline, list[Token]]:
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} parentheses within one another")
    commands: list[list[Operand]] = [[]]
    while tokens:
        kind, value = tokens[0]
        if (kind, value) == ("mark", ")"):
            break
        tokens = tokens[1:]
        if kind == "mark" and value == "|":
            commands.append([])
        elif kind == "mark" and value == "(":
            inner, tokens = _commands(tokens, functions, text, depth + 1)
            if not tokens:
                raise ValueError(f"unclosed parenthesis in {text}")
            tokens = tokens[1:]
            fields: tuple[str, ...] = ()
            if tokens and tokens[0][0] == "field":
                fields, tokens = tuple(tokens[0][1][1:].split(".")), tokens[1:]
            commands[-1].append(Access(fields, inner=inner))
        else:
            commands[-1].append(_operand(kind, value, functions, text))
    if not all(commands):
        raise ValueError(f"missing value for command in {text or '{{}}'}")
    return Pipeline(commands), tokens


def _operand(kind: str, value: str, functions: frozenset[str], text: str) -> Operand:
    match kind:
        case "string":
            return Literal(_unquoted(value[1:-1]))
        case "raw":
            return Literal(value[1:-1])
        case "char":
            character = _unquoted(value[1:-1])
            if len(character) != 1:
                raise ValueError(f"{value} is no character")
            return Literal(ord(character))
        case "number":
            return Literal(_number(value))
        case "variable":
            name, *fields = value.split(".")
            return Access(tuple(fields), variable=name)
        case "field":
            return Access(tuple(value[1:].split(".")))
        case "dot":
            return Access(())
        case "word" if value in ("true", "false", "nil"):
            return Literal({"true": True, "false": False, "nil": None}[value])
        case "word" if value in functions:
            return Function(value)
        case "word" if value in _CONTROL:
            raise ValueError(f"unexpected {value} in {text}")
        case "word":
            raise ValueError(f'function "{value}" not defined')
        case _:
            raise ValueError(f"unexpected {value!r} in {text}")


def _number(text: str) -> object:
    if "." in text:
        return float(text)
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal():
        return int(text, 8)
    return int(text, 0)


def _unquoted(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found[1]
        if code[0] in "xu" and len(code) > 1:
            return chr(int(code[1:], 16))
        if len(code) == 3:
            return chr(int(code, 8))
        if code not in _ESCAPES:
            raise ValueError(f"invalid escape \\{code}")
        return _ESCAPES[code]

    return _ESCAPE.sub(one, text)
