"""YAML request bodies: the value as Go reads it, and the keys that stand twice."""

from __future__ import annotations

from typing import Any

import yaml

from wherry.apiserver.schema.gojson import JsonError, check_depth
from wherry.apiserver.schema.scalars import json_kind
from wherry.config.yaml import YamlError, load

MAX_NODES = 1_000_000
"""Values in a document once its aliases are written out; a body of a few lines can ask for billions."""


def load_yaml(body: bytes) -> tuple[Any, list[str]]:
    """Read one YAML document; give its value and the finding about doubled keys, worded as Go's YAML reader does.

    Raises JsonError where it cannot be read.
    """
    text = body.decode("utf-8", "replace")
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        root = yaml.compose(text, Loader=loader)
        if _size(root) > MAX_NODES:
            raise JsonError("error converting YAML to JSON: yaml: document contains excessive aliasing")
        value = load(text)
    except JsonError:
        raise
    except (YamlError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise JsonError(f"error converting YAML to JSON: yaml: {_problem(error)}") from error
    check_depth(value)
    doubled = _doubled_keys(root)
    return value, ["yaml: unmarshal errors:\n" + "\n".join(doubled)] if doubled else []


def _size(root: Any) -> int:
    """Count the values of a document with its aliases written out. Raises ValueError where a node holds itself."""
    sizes: dict[int, int] = {}
    todo: list[Any] = [root] if root is not None else []
    while todo:
        node = todo[-1]
        known = sizes.get(id(node))
        parts = _parts(node)
        if known is None:
            sizes[id(node)] = -1  # being counted
            for part in parts:
                if sizes.get(id(part)) == -1:
                    raise ValueError("anchor contains itself")
                if id(part) not in sizes:
                    todo.append(part)
        else:
            todo.pop()
            if known == -1:
                sizes[id(node)] = 1 + sum(sizes[id(part)] for part in parts)
    return sizes.get(id(root), 0)


def _parts(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _problem(error: Exception) -> str:
    """Word a YAML error as Go's reader does; it counts lines from zero where the parser complains."""
    cause = error.__cause__ if isinstance(error, YamlError) and error.__cause__ is not None else error
    if not isinstance(cause, yaml.MarkedYAMLError):
        return str(cause)
    line = next((mark.line for mark in (cause.problem_mark, cause.context_mark) if mark is not None and mark.line), 0)
    if line and isinstance(cause, yaml.scanner.ScannerError):
        line += 1
    return f"line {line}: {cause.problem}" if line else str(cause.problem)


def load_apply(body: bytes) -> dict[str, Any]:
    """Read the body of an apply patch. Raises JsonError in the words of Kubernetes."""
    try:
        value, _ = load_yaml(body)
    except JsonError as error:
        raise JsonError(f"error decoding YAML: {error}") from error
    if not isinstance(value, dict):
        kind = json_kind(value) if value is not None else "null"
        text = f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        raise JsonError(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {text}")
    return value


def _doubled_keys(root: Any) -> list[str]:
    """Find mapping keys that occur again, one line of text each."""
    found: list[str] = []
    todo: list[Any] = [root]
    seen_nodes: set[int] = set()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen_nodes:  # aliases share their node
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                text = getattr(key, "value", None)
                if isinstance(text, str):
                    if text in seen:
                        found.append(f'  line {key.start_mark.line + 1}: key "{text}" already set in map')
                    seen.add(text)
                todo.append(value)
        elif isinstance(node, yaml.SequenceNode):
            todo.extend(node.value)
    return found
