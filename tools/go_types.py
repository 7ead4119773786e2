"""Read Go struct declarations: JSON names, field order, pointers, ``omitempty`` and protobuf numbers.

OpenAPI definitions say what fields exist, but not which Go type holds them. That type decides what an API server
writes: a pointer to zero is kept, a plain zero with ``omitempty`` is dropped, a plain struct always appears. The
declarations in the published type packages are the only place where this stands, so the generation script reads them
from a checkout.

Only what those packages use is understood: one field per line, a tag in back quotes, named and embedded types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_STRUCT = re.compile(r"^type (\w+) struct \{\s*$")
_EMPTY_STRUCT = re.compile(r"^type (\w+) struct\s*\{\s*\}")
_NAMED = re.compile(r"^(?:type )?\t?(\w+)\s+=?\s*([\[\]\w.*]+)\s*(?://.*)?$")
_FIELD = re.compile(r"^\t(?:(\w+)\s+)?([\[\]\w.*]+)\s+`([^`]*)`")
_IMPORT = re.compile(r'^\t(?:(\w+) )?"([^"]+)"')
_DEFAULT = re.compile(r"^\t// \+default=((?!ref\().*)$")
_TAG = re.compile(r'(\w+):"([^"]*)"')


@dataclass(frozen=True, slots=True)
class GoField:
    """One field: its JSON name ("" where inlined), Go type, protobuf number (0: not in protobuf), JSON options,
    patch marks and its default as JSON text ("" where none is declared)."""

    json: str
    type: str
    number: int
    options: frozenset[str]
    patch_strategy: tuple[str, ...]
    patch_key: str
    default: str


@dataclass(slots=True)
class GoPackage:
    """The declarations of one directory: structs, other named types, and those wrapped in a protobuf message."""

    path: str
    structs: dict[str, list[GoField]] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    wrapped: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)


def read_package(directory: Path, path: str) -> GoPackage:
    """Read ``types*.go`` and the few other hand-written declarations of ``directory``; ``path`` is its import path."""
    package = GoPackage(path)
    for source in sorted(directory.glob("*.go")):
        if source.name.startswith("zz_generated") or source.name.endswith(("_test.go", ".pb.go")):
            continue
        _read_file(source.read_text(), package)
    return package


def _read_file(text: str, package: GoPackage) -> None:
    current: list[GoField] | None = None
    comments: list[str] = []
    default = ""
    in_imports = in_types = False
    for line in text.splitlines():
        if current is not None:
            if line.startswith("}"):
                current = None
            elif (match := _DEFAULT.match(line)) is not None:
                default = match[1]
            elif (match := _FIELD.match(line)) is not None:
                current.append(_field(match, default))
                default = ""
            continue
        if line.startswith("import ("):
            in_imports = True
        elif in_imports:
            if line.startswith(")"):
                in_imports = False
            elif (match := _IMPORT.match(line)) is not None:
                package.imports[match[1] or match[2].rsplit("/", 1)[-1]] = match[2]
        elif line.startswith("type ("):
            in_types = True
        elif line.startswith(")"):
            in_types = False
        elif line.startswith("//"):
            comments.append(line)
            continue
        elif (match := _EMPTY_STRUCT.match(line)) is not None:
            package.structs[match[1]] = []
        elif (match := _STRUCT.match(line)) is not None:
            current = package.structs.setdefault(match[1], [])
        elif (line.startswith("type ") or in_types) and (match := _NAMED.match(line)) is not None:
            package.named[match[1]] = match[2]
            if any("protobuf.nullable=true" in comment for comment in comments):
                package.wrapped.add(match[1])
        comments = []


def _field(match: re.Match[str], default: str) -> GoField:
    tags = dict(_TAG.findall(match[3]))
    name, *options = tags.get("json", "").split(",")
    protobuf = tags.get("protobuf", "").split(",")
    strategy = tuple(part for part in tags.get("patchStrategy", "").split(",") if part)
    return GoField(
        json=name,
        type=match[2],
        number=int(protobuf[1]) if len(protobuf) > 1 else 0,
        options=frozenset(options) | ({"embedded"} if match[1] is None else set()),
        patch_strategy=strategy,
        patch_key=tags.get("patchMergeKey", ""),
        default=default,
    )
