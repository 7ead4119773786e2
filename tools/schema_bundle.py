"""Cut the API server's schema bundle from the published definitions and Go type packages.

Writes two files beside ``wherry/apiserver/schema``:

* ``types.json.gz``: per type its fields in Go's order with Go type, JSON options, protobuf number and the
  ``x-kubernetes-*`` marks. It is read when the API server starts; every type is decoded at its first use.
* ``openapi.json.gz``: the same types as OpenAPI v3 schemas with descriptions; read when somebody asks for ``/openapi``.

The definitions come from the development dependency kubernetes-validate; the Go declarations from checkouts of
kubernetes/api, kubernetes/apimachinery, kubernetes/apiextensions-apiserver and kubernetes/kube-aggregator (see
go_types.py for why both).

    python tools/schema_bundle.py --go DIR   # DIR holds api/, apimachinery/, apiextensions-apiserver/, kube-aggregator/
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from go_types import GoField, GoPackage, read_package
from schema_kinds import KINDS

VERSION = "v1.37.0"
OUT = Path(__file__).resolve().parent.parent / "wherry" / "apiserver" / "schema"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."

# Go types that are more than their declaration says: they write themselves to JSON and protobuf.
SPECIAL = {
    "k8s.io/apimachinery/pkg/apis/meta/v1.Time": "time",
    "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime": "microTime",
    "k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1": "fieldsV1",
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "quantity",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "intOrString",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "rawExtension",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON": "json",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray": "schemaOrArray",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool": "schemaOrBool",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": "schemaOrStrings",
    "k8s.io/apimachinery/pkg/types.UID": "string",
    "k8s.io/apimachinery/pkg/types.NodeName": "string",
    "k8s.io/apimachinery/pkg/types.NamespacedName": "string",
    "interface{}": "any",
}
SCALARS = {"string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "int": "int64", "float64": "double"}
FLAGS = (("omitempty", "o"), ("omitzero", "z"))


class Packages:
    """The Go packages below one directory, read at first use, and the definition names of their structs."""

    ROOTS: ClassVar[dict[str, tuple[str, str]]] = {
        "k8s.io/api/": ("api", "io.k8s.api."),
        "k8s.io/apimachinery/": ("apimachinery", "io.k8s.apimachinery."),
        "k8s.io/apiextensions-apiserver/": ("apiextensions-apiserver", "io.k8s.apiextensions-apiserver."),
        "k8s.io/kube-aggregator/": ("kube-aggregator", "io.k8s.kube-aggregator."),
    }

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, GoPackage] = {}

    def get(self, path: str) -> GoPackage:
        """Return the package with import path ``path``."""
        if path not in self._read:
            prefix = next(p for p in self.ROOTS if path.startswith(p))
            self._read[path] = read_package(self._root / self.ROOTS[prefix][0] / path.removeprefix(prefix), path)
        return self._read[path]

    def definition(self, path: str, name: str) -> str:
        """Name the definition of struct ``name`` of package ``path``."""
        prefix = next(p for p in self.ROOTS if path.startswith(p))
        return self.ROOTS[prefix][1] + path.removeprefix(prefix).replace("/", ".") + "." + name

    def struct(self, definition: str) -> tuple[GoPackage, list[GoField]]:
        """Find the struct a definition was made from."""
        for root, (_, prefix) in self.ROOTS.items():
            if definition.startswith(prefix):
                *parts, name = definition.removeprefix(prefix).split(".")
                package = self.get(root + "/".join(parts))
                return package, package.structs[name]
        raise KeyError(definition)


class Cutter:
    """Follows the kinds through everything they refer to and renders each type once."""

    def __init__(self, packages: Packages, definitions: dict[str, Any]) -> None:
        self._packages = packages
        self._definitions = definitions
        self._todo: list[str] = []
        self.types: dict[str, Any] = {}

    def add(self, definition: str) -> None:
        """Render ``definition`` and all it needs."""
        self._todo.append(definition)
        while self._todo:
            name = self._todo.pop()
            if name not in self.types:
                self.types[name] = self._render(name)

    def _render(self, name: str) -> dict[str, Any]:
        package, fields = self._packages.struct(name)
        definition = self._definitions.get(name, {})
        properties = definition.get("properties", {})
        rendered: dict[str, Any] = {
            "g": f"{package.path.rsplit('/', 1)[1]}.{name.rsplit('.', 1)[1]}",
            "f": [self._field(package, field, properties.get(field.json, {})) for field in fields],
        }
        if definition.get("x-kubernetes-map-type") == "atomic":
            rendered["a"] = 1
        return rendered

    def _field(self, package: GoPackage, field: GoField, prop: dict[str, Any]) -> list[Any]:
        flags = "".join(letter for option, letter in FLAGS if option in field.options)
        flags += "p" if field.type.startswith("*") else ""
        inline = not field.json and ("embedded" in field.options or "inline" in field.options)
        marks: dict[str, Any] = {}
        for key, mark in (("l", "list-type"), ("k", "list-map-keys"), ("m", "map-type")):
            if f"x-kubernetes-{mark}" in prop:
                marks[key] = prop[f"x-kubernetes-{mark}"]
        if field.patch_strategy:
            marks["s"] = list(field.patch_strategy)
        if field.patch_key:
            marks["p"] = field.patch_key
        if field.default:
            marks["d"] = json.loads(field.default)
        row = ["" if inline else field.json, self._type(package, field.type.lstrip("*")), flags, field.number]
        return [*row, marks] if marks else row

    def _type(self, package: GoPackage, text: str) -> str:
        """Write a Go type as the bundle does.

        ``[]T`` and ``{Key}T``, with the Go name in parentheses before where they are named types and ``!`` before
        that where they travel in a protobuf message of their own; ``@definition``; ``scalar`` or ``scalar=go.Name``.
        """
        if text == "[]byte":
            return "bytes"
        if text.startswith("[]"):
            return "[]" + self._type(package, text[2:].lstrip("*"))
        if text.startswith("map["):
            key, value = text[4:].split("]", 1)
            return f"{{{self._go_name(package, key)}}}" + self._type(package, value.lstrip("*"))
        if text in SCALARS:
            return SCALARS[text] if text != "int" else "int64=int"
        if text in SPECIAL:
            return SPECIAL[text]
        owner, name = self._resolve(package, text)
        qualified = f"{owner}.{name}"
        if qualified in SPECIAL:
            special = SPECIAL[qualified]
            return special if special != "string" else f"string=types.{name}"
        declared = self._packages.get(owner)
        if name in declared.structs:
            definition = self._packages.definition(owner, name)
            self._todo.append(definition)
            return "@" + definition.removeprefix("io.k8s.")
        if name not in declared.named:
            raise KeyError(f"{qualified}, used in {package.path}, is declared nowhere")
        inner = self._type(declared, declared.named[name])
        go_name = f"{owner.rsplit('/', 1)[1]}.{name}"
        if inner.startswith(("[]", "{")):
            return f"{'!' if name in declared.wrapped else ''}({go_name}){inner}"
        return f"{inner.split('=', 1)[0]}={go_name}"

    def _resolve(self, package: GoPackage, text: str) -> tuple[str, str]:
        if "." not in text:
            return package.path, text
        alias, name = text.split(".")
        return package.imports[alias], name

    def _go_name(self, package: GoPackage, text: str) -> str:
        if text in SCALARS:
            return text
        owner, name = self._resolve(package, text)
        return f"{owner.rsplit('/', 1)[1]}.{name}"


def kinds_of(definitions: dict[str, Any]) -> dict[str, str]:
    """Map ``group/version/Kind`` of every kind we carry, and of its list, to its definition."""
    known: dict[tuple[str, str, str], str] = {}
    for name, definition in definitions.items():
        for mark in definition.get("x-kubernetes-group-version-kind", ()):
            known[mark["group"], mark["version"], mark["kind"]] = name
    found = {}
    for group_version, names in KINDS.items():
        group, _, version = group_version.rpartition("/")
        for kind in names:
            definition = known.get((group, version, kind)) or f"{META}{kind}"
            found[f"{group}/{version}/{kind}"] = definition
            if (group, version, f"{kind}List") in known:
                found[f"{group}/{version}/{kind}List"] = known[group, version, f"{kind}List"]
    return found


def openapi_definition(definition: dict[str, Any]) -> Any:
    """Turn a definition back into what Kubernetes publishes; the enums of apiVersion and kind were added to it."""
    properties = dict(definition.get("properties", {}))
    for name in ("apiVersion", "kind"):
        if name in properties:
            properties[name] = {key: value for key, value in properties[name].items() if key != "enum"}
    return openapi_schema({**definition, "properties": properties} if properties else definition)


def openapi_schema(value: Any) -> Any:
    """Turn JSON Schema into OpenAPI v3: no null types, references below components."""
    if isinstance(value, list):
        return [openapi_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for key, item in value.items():
        if key == "$ref" and isinstance(item, str):
            out[key] = item.replace("#/$defs/", "#/components/schemas/")
        elif key == "type" and isinstance(item, list):
            out[key] = next(name for name in item if name != "null")
        elif key == "properties" and isinstance(item, dict):  # names, not keywords: one of them may be "$ref"
            out[key] = {name: openapi_schema(schema) for name, schema in item.items()}
        else:
            out[key] = openapi_schema(item)
    if "$ref" in out and len(out) > 1:  # OpenAPI 3.0 ignores what stands beside a reference
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def write(path: Path, value: Any) -> None:
    """Write ``value`` as gzipped compact JSON, the same bytes for the same value."""
    data = json.dumps(value, separators=(",", ":"), sort_keys=False).encode()
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{path.name}: {len(data)} bytes, {path.stat().st_size} compressed", file=sys.stderr)


def main() -> None:
    """Cut the bundle and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--go", type=Path, required=True, help="directory with the checkouts of the Go type packages")
    arguments = parser.parse_args()
    schemas = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    definitions = json.loads((schemas / f"{VERSION}-local" / "_definitions.json").read_text())["$defs"]
    kinds = kinds_of(definitions)
    cutter = Cutter(Packages(arguments.go), definitions)
    for definition in kinds.values():
        cutter.add(definition)
    missing = sorted(name for name in cutter.types if name not in definitions)
    if missing:
        print("without a published definition:", ", ".join(missing), file=sys.stderr)
    short = {name.removeprefix("io.k8s."): cutter.types[name] for name in sorted(cutter.types)}
    write(OUT / "types.json.gz", {"kinds": {k: v.removeprefix("io.k8s.") for k, v in kinds.items()}, "types": short})
    wanted = {name for name in definitions if name in cutter.types} | set(_leaves(definitions, cutter.types))
    write(OUT / "openapi.json.gz", {name: openapi_definition(definitions[name]) for name in sorted(wanted)})


def _leaves(definitions: dict[str, Any], types: dict[str, Any]) -> set[str]:
    """Name the definitions that rendered types refer to without being structs: Time, Quantity and their like."""
    found: set[str] = set()
    todo = [definitions[name] for name in types if name in definitions]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                name = reference.removeprefix("#/$defs/")
                if name not in types and name not in found:
                    found.add(name)
                    todo.append(definitions[name])
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return found


if __name__ == "__main__":
    main()
