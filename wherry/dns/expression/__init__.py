"""A small expression language, the part of expr-lang (https://expr-lang.org) that Corefiles use."""
