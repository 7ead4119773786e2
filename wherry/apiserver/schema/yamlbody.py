"""YAML request bodies: the value as Go reads it, and the keys that stand twice."""

from __future__ import annotations

from typing import Any

import yaml

from wherry.apiserver.schema.gojson import JsonError
from wherry.apiserver.schema.scalars import json_kind
from wherry.config.yaml import YamlError, load


def load_yaml(body: bytes) -> tuple[Any, list[str]]:
    """Read one YAML document; give its value and the finding about doubled keys, worded as Go's YAML reader does.

    Raises JsonError where it cannot be read.
    """
    try:
        value = load(body.decode("utf-8", "replace"))
        doubled = _doubled_keys(body)
    except (YamlError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise JsonError(f"error converting YAML to JSON: yaml: {_problem(error)}") from error
    return value, ["yaml: unmarshal errors:\n" + "\n".join(doubled)] if doubled else []


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


def _doubled_keys(body: bytes) -> list[str]:
    """Find mapping keys that occur again, one line of text each."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[str] = []
    todo: list[Any] = [yaml.compose(body.decode("utf-8", "replace"), Loader=loader)]
    seen_nodes: set[int] = set()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen_nodes:  # aliases share their node, and may even contain themselves
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
