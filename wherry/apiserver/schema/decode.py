"""From a request's body to an object as the API server keeps it: typed, pruned, without what says nothing.

What Go's strict decoder does in one pass is done in one pass here: wrong types end the decoding with Go's message,
unknown and doubled fields are noted, nulls vanish, and zero values vanish where Go's type leaves them out when it
writes (``omitempty`` without a pointer). Field validation is described in the API concepts page and in KEP-2885.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from wherry.apiserver.schema import scalars
from wherry.apiserver.schema.gojson import Doubled, JsonError, Number, loads, plain
from wherry.apiserver.schema.model import Field, Schema, Type
from wherry.apiserver.schema.scalars import DecodeError, json_kind, literal
from wherry.apiserver.schema.yamlbody import load_yaml

__all__ = ["DecodeError", "Decoded", "JsonError", "Validation", "Walk", "decode", "decode_value", "is_yaml"]

Validation = Literal["Ignore", "Warn", "Strict"]

MAX_FINDINGS = 100
"""Unknown and doubled fields that are reported; an object has to be fixed, not listed."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded object, and what is wrong with its fields: as warnings or, in Strict mode, as errors."""

    obj: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def strict_error(self) -> str:
        """The message of the strict decoder; "" where there is no error."""
        return "strict decoding error: " + ", ".join(self.errors) if self.errors else ""


def is_yaml(content_type: str) -> bool:
    """Tell whether a body of this media type is YAML (which includes JSON)."""
    return content_type.partition(";")[0].strip().endswith("yaml")


def parse(body: bytes, content_type: str) -> tuple[Any, list[str]]:
    """Read JSON or YAML; give the value and the strict findings that only the text shows (YAML's doubled keys).

    Raises JsonError where the body is not what its media type says.
    """
    return load_yaml(body) if is_yaml(content_type) else (loads(body), [])


def decode(body: bytes, content_type: str, schema: Schema, validation: Validation = "Warn") -> Decoded:
    """Decode a JSON or YAML body as ``schema``. Raises JsonError for a broken body, DecodeError for a wrong type."""
    value, findings = parse(body, content_type)
    return decode_value(value, schema, validation, findings=findings)


def decode_value(
    value: Any, schema: Schema, validation: Validation = "Warn", *, findings: list[str] | None = None
) -> Decoded:
    """Decode a parsed value as ``schema``; ``findings`` precede the strict findings. Raises DecodeError."""
    walk = Walk(findings or [])
    if not isinstance(value, dict):
        raise DecodeError(f"json: cannot unmarshal {json_kind(value)} into Go value of type {schema.go}")
    obj = walk.object(value, schema)
    found = walk.findings if validation != "Ignore" else []
    if validation == "Strict":
        return Decoded(obj, errors=found)
    return Decoded(obj, warnings=found)


_ZERO_OF: dict[Type, Any] = {Type.STRING: "", Type.BOOL: False, Type.INT32: 0, Type.INT64: 0, Type.DOUBLE: 0}
"""What a null element of a list or map becomes, by type; the others stay null or become an empty object."""

_LEAVES: dict[Type, Callable[[Any], Any]] = {
    Type.QUANTITY: scalars.quantity,
    Type.INT_OR_STRING: scalars.int_or_string,
    Type.TIME: scalars.time,
    Type.MICRO_TIME: scalars.micro_time,
    Type.RAW_EXTENSION: plain,
    Type.FIELDS_V1: plain,
    Type.JSON: plain,
    Type.ANY: plain,
}

_EMPTIED = (Type.STRING, Type.BYTES, Type.BOOL, Type.INT32, Type.INT64, Type.DOUBLE, Type.LIST, Type.MAP)


class Walk:
    """One pass over one body, with what it finds on the way.

    ``_path`` is where we are as findings show it, ``_names`` as Go's errors do.
    """

    def __init__(self, findings: list[str], *, path: str = "") -> None:
        self.findings = findings
        self._path: list[str] = [f".{path}"] if path else []
        self._names: list[str] = [path] if path else []
        self._owner = ""

    def object(self, value: dict[str, Any], schema: Schema) -> dict[str, Any]:
        """Decode the members of one object."""
        if type(value) is Doubled:
            self._note_doubled(value)
        fields = schema.fields
        owner, self._owner = self._owner, schema.go.rpartition(".")[2]
        out: dict[str, Any] = {}
        for name, item in value.items():
            known = fields.get(name)
            if known is None:
                self._note("unknown", name)
            elif item is not None:
                self._path.append(f".{name}")
                self._names.append(name)
                decoded = self.value(item, known.schema)
                self._path.pop()
                self._names.pop()
                if not dropped(decoded, known):
                    out[name] = decoded
        self._owner = owner
        return out

    def value(self, value: Any, schema: Schema) -> Any:
        """Decode one value that is not null."""
        kind = schema.type
        if kind is Type.STRING:
            if type(value) is str:
                return value
        elif kind is Type.OBJECT:
            if isinstance(value, dict):
                return self.object(value, schema)
        elif kind is Type.LIST:
            if isinstance(value, list):
                return self.list(value, schema.items)
        elif kind is Type.MAP:
            if isinstance(value, dict):
                return self._map(value, schema.items)
        elif kind is Type.INT32 or kind is Type.INT64:
            if type(value) is int and -_LIMIT[kind] <= value < _LIMIT[kind]:
                return value
        elif kind is Type.BOOL:
            if isinstance(value, bool):
                return value
        elif kind is Type.DOUBLE:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value) if isinstance(value, Number) else value
        elif kind is Type.BYTES:
            if isinstance(value, str):
                return scalars.base64_bytes(value)
        elif kind in _LEAVES:
            return _LEAVES[kind](value)
        else:
            return self._schema_or(value, schema)
        raise self.mismatch(value, schema)

    def list(self, values: list[Any], items: Schema) -> list[Any]:
        """Decode the elements of a list."""
        out = []
        for index, item in enumerate(values):
            self._path.append(f"[{index}]")
            out.append(_null(items) if item is None else self.value(item, items))
            self._path.pop()
        return out

    def _map(self, values: dict[str, Any], items: Schema) -> dict[str, Any]:
        if type(values) is Doubled:
            self._note_doubled(values)
        out = {}
        for key, item in values.items():
            self._path.append(f".{key}")
            out[key] = _null(items) if item is None else self.value(item, items)
            self._path.pop()
        return out

    def _schema_or(self, value: Any, schema: Schema) -> Any:
        """Decode a field of a JSON schema that is a schema or something else."""
        if isinstance(value, dict):
            return self.object(value, schema.items)
        if schema.type is Type.SCHEMA_OR_BOOL and isinstance(value, bool):
            return value
        if schema.type is Type.SCHEMA_OR_ARRAY and isinstance(value, list):
            return self.list(value, schema.items)
        if schema.type is Type.SCHEMA_OR_STRINGS and isinstance(value, list):
            return [str(item) for item in value]
        if schema.type is Type.SCHEMA_OR_BOOL:
            raise DecodeError("boolean or JSON schema expected")
        raise self.mismatch(value, schema)

    def mismatch(self, value: Any, schema: Schema) -> DecodeError:
        """Say that ``value`` is not of this type."""
        what = json_kind(value)
        if what == "number" and schema.type in _LIMIT:
            what = f"number {literal(value)}"
        where = f"{self._owner}.{'.'.join(self._names)}"
        return DecodeError(f"json: cannot unmarshal {what} into Go struct field {where} of type {schema.go}")

    def _note_doubled(self, value: Doubled) -> None:
        for key in value.keys_again:
            self._note("duplicate", key)

    def _note(self, what: str, name: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            path = "".join((*self._path, f".{name}")).removeprefix(".")
            self.findings.append(f'{what} field "{path}"')


_LIMIT = {Type.INT32: 2**31, Type.INT64: 2**63}


def _null(schema: Schema) -> Any:
    return {} if schema.type is Type.OBJECT else _ZERO_OF.get(schema.type)


def dropped(value: Any, known: Field) -> bool:
    """Tell whether Go leaves this value out when it writes the field."""
    if known.pointer or not known.omit_empty:
        return False
    return not value and (known.schema.type in _EMPTIED or (known.omit_zero and known.schema.type is Type.OBJECT))
