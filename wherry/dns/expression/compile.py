"""From the text of an expression to a function of an environment.

Known are literals, arrays, `not and or`, comparisons, `in`, `matches`, `contains`, `startsWith`, `endsWith`,
arithmetic, `?:`, `??`, ranges `a..b`, members `x[i]`, and functions that the environment or `BUILTINS` has. Nothing
else can be reached: no attributes, no Python. What is known to be wrong without values is an error at once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wherry.dns.expression import operators as op
from wherry.dns.expression.lexer import Word, words_of

Environment = Mapping[str, Callable[..., Any]]
"""Functions by name; expressions call them with values."""
Node = Callable[[Environment], Any]

_DEEPEST = 24  # Python calls itself about 14 times for each level

# Operators by how tightly they bind, from the loosest; each level's are taken from the left, but for the power.
_LEVELS: tuple[dict[str, Callable[[Any, Any], Any]], ...] = (
    {
        "==": op.equal, "!=": op.unequal, "<": op.less, "<=": op.not_more, ">": op.more, ">=": op.not_less,
        "in": op.is_in, "not in": op.is_not_in, "matches": op.matches, "contains": op.contains,
        "startsWith": op.starts_with, "endsWith": op.ends_with,
    },
    {"..": op.span},
    {"+": op.add, "-": op.subtract},
    {"*": op.multiply, "/": op.divide, "%": op.remainder},
)  # fmt: skip
_WORDS = frozenset("and or not in matches contains startsWith endsWith".split())  # noqa: SIM905
_CONSTANTS = {"true": True, "false": False, "nil": None}

BUILTINS: dict[str, tuple[int, Callable[..., Any]]] = {
    "len": (1, op.length),
    "lower": (1, op.lower),
    "upper": (1, op.upper),
    "trim": (1, op.trim),
    "hasPrefix": (2, op.starts_with),
    "hasSuffix": (2, op.ends_with),
    "split": (2, op.split),
    "int": (1, op.integer),
    "string": (1, op.text),
}
"""Functions that need nothing of the environment, with how many arguments they take."""


def compile_expression(text: str, functions: Mapping[str, int]) -> Node:
    """Compile an expression; `functions` are the environment's, with how many arguments each takes.

    Raises ValueError where it is no expression. What it returns raises TypeError or ValueError where values do not fit.
    """
    parser = _Parser(words_of(text), functions)
    node = parser.choice(0)
    parser.expect_end()
    return node


class _Parser:
    def __init__(self, words: Sequence[Word], functions: Mapping[str, int]) -> None:
        self._words = words
        self._functions = functions
        self._place = 0

    def _peek(self) -> Word:
        return self._words[self._place]

    def _take(self) -> Word:
        word = self._peek()
        self._place += word.kind != "end"
        return word

    def _skip(self, *texts: str) -> str | None:
        """Take the next word if it is a mark or an operator's word among these."""
        word = self._peek()
        if word.text in texts and word.kind in ("mark", "name"):
            self._take()
            return word.text
        return None

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise self._unexpected(f"; expected {text!r}")

    def expect_end(self) -> None:
        if self._peek().kind != "end":
            raise self._unexpected()

    def _unexpected(self, more: str = "") -> ValueError:
        word = self._peek()
        return ValueError(f"unexpected {word.text} at {word.place + 1}{more}")

    def choice(self, depth: int) -> Node:
        """`condition ? yes : no`."""
        if depth > _DEEPEST:
            raise ValueError(f"expression is nested more than {_DEEPEST} deep")
        condition = self._otherwise(depth)
        if not self._skip("?"):
            return condition
        yes = self.choice(depth + 1)
        self._expect(":")
        no = self.choice(depth + 1)
        return lambda env: yes(env) if op.truth(condition(env)) else no(env)

    def _otherwise(self, depth: int) -> Node:
        nodes = [self._or(depth)]
        while self._skip("??"):
            nodes.append(self._or(depth))
        return nodes[0] if len(nodes) == 1 else _first(nodes)

    def _or(self, depth: int) -> Node:
        nodes = [self._and(depth)]
        while self._skip("||", "or"):
            nodes.append(self._and(depth))
        return nodes[0] if len(nodes) == 1 else (lambda env: any(op.truth(node(env)) for node in nodes))

    def _and(self, depth: int) -> Node:
        nodes = [self._level(0, depth)]
        while self._skip("&&", "and"):
            nodes.append(self._level(0, depth))
        return nodes[0] if len(nodes) == 1 else (lambda env: all(op.truth(node(env)) for node in nodes))

    def _level(self, level: int, depth: int) -> Node:
        if level == len(_LEVELS):
            return self._unary(depth)
        node = self._level(level + 1, depth)
        steps: list[op.Step] = []
        while (operator := self._operator(_LEVELS[level])) is not None:
            steps.append(op.step(operator, _LEVELS[level][operator], self._level(level + 1, depth)))
        return _chain(node, steps) if steps else node

    def _operator(self, known: Mapping[str, object]) -> str | None:
        word, after = self._peek(), self._words[min(self._place + 1, len(self._words) - 1)]
        if word.kind == "name" and word.text == "not" and after.text == "in" and "not in" in known:
            self._place += 2
            return "not in"
        return self._skip(*known)

    def _unary(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise ValueError(f"expression is nested more than {_DEEPEST} deep")
        if self._skip("!", "not"):
            inner = self._unary(depth + 1)
            return lambda env: not op.truth(inner(env))
        if sign := self._skip("-", "+"):
            operand = self._unary(depth + 1)
            return (lambda env: op.negative(operand(env))) if sign == "-" else (lambda env: op.number(operand(env)))
        return self._power(depth)

    def _power(self, depth: int) -> Node:
        base = self._member(depth)
        if not self._skip("**", "^"):
            return base
        exponent = self._unary(depth + 1)
        return lambda env: op.power(base(env), exponent(env))

    def _member(self, depth: int) -> Node:
        node = self._primary(depth)
        steps: list[op.Step] = []
        while self._skip("["):
            steps.append(op.step("[", op.member, self.choice(depth + 1)))
            self._expect("]")
        return _chain(node, steps) if steps else node

    def _primary(self, depth: int) -> Node:
        if self._skip("("):
            inner = self.choice(depth + 1)
            self._expect(")")
            return inner
        if self._skip("["):
            return op.gathered(self._list("]", depth))
        word = self._peek()
        if word.kind in ("string", "number"):
            self._take()
            return op.constant(word.value)
        if word.kind == "name" and word.text in _CONSTANTS:
            self._take()
            return op.constant(_CONSTANTS[word.text])
        if word.kind == "name" and word.text not in _WORDS:
            self._take()
            return self._call(word, depth)
        raise self._unexpected()

    def _list(self, end: str, depth: int) -> list[Node]:
        nodes: list[Node] = []
        while not self._skip(end):
            if nodes:
                self._expect(",")
                if self._skip(end):
                    break
            nodes.append(self.choice(depth + 1))
        return nodes

    def _call(self, word: Word, depth: int) -> Node:
        name = word.text
        count = self._functions.get(name)
        if count is None and name in BUILTINS:
            count = BUILTINS[name][0]
        if count is None:
            known = ", ".join(sorted({*self._functions, *BUILTINS}))
            raise ValueError(f"unknown name {name} at {word.place + 1}; there are {known}")
        if not self._skip("("):
            raise self._unexpected(f"; {name} is a function, write {name}(…)")
        arguments = self._list(")", depth)
        if len(arguments) != count:
            raise ValueError(f"{name} takes {count} arguments, not {len(arguments)}, at {word.place + 1}")
        if name in self._functions:
            return lambda env: env[name](*[argument(env) for argument in arguments])
        function = BUILTINS[name][1]
        return lambda env: function(*[argument(env) for argument in arguments])


def _chain(node: Node, steps: list[op.Step]) -> Node:
    """One value taken through operators from the left; a loop, so that long expressions need no deep calls."""

    def run(env: Environment) -> Any:
        value = node(env)
        for step in steps:
            value = step(env, value)
        return value

    return run


def _first(nodes: list[Node]) -> Node:
    """The first value that is not nil."""

    def run(env: Environment) -> Any:
        for node in nodes:
            if (value := node(env)) is not None:
                return value
        return None

    return run
