"""CEL, the Common Expression Language, as far as rules of custom kinds need it.

`parse` turns a rule into a tree, `evaluate` turns the tree into a function. What is not known here (optional values,
times, quantities, addresses, URLs) is refused when the rule is compiled, and a rule that does not compile is not
enforced.
"""

from wherry.apiserver.schema.cel.evaluate import CelError, Program, compile_rule
from wherry.apiserver.schema.cel.parse import Unsupported

__all__ = ["CelError", "Program", "Unsupported", "compile_rule"]
