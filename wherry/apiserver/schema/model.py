"""Schema nodes: the type of a value as Kubernetes' Go types declare it, with the marks that patches and apply follow.

A node is shared by every place that uses its type; fields and element types are resolved at first use, because a
server that never sees a CronJob shall not pay for one, and because some types contain themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Type(Enum):
    """What kind of value a node describes; the names of the special ones are those of the Go types."""

    OBJECT = "object"
    MAP = "map"
    LIST = "list"
    STRING = "string"
    BYTES = "bytes"
    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    DOUBLE = "double"
    QUANTITY = "quantity"
    INT_OR_STRING = "intOrString"
    TIME = "time"
    MICRO_TIME = "microTime"
    RAW_EXTENSION = "rawExtension"
    FIELDS_V1 = "fieldsV1"
    JSON = "json"
    SCHEMA_OR_ARRAY = "schemaOrArray"
    SCHEMA_OR_BOOL = "schemaOrBool"
    SCHEMA_OR_STRINGS = "schemaOrStrings"
    ANY = "any"


FREE_FORM = frozenset({Type.RAW_EXTENSION, Type.FIELDS_V1, Type.JSON, Type.ANY})
"""Types whose content is any JSON: nothing below them is checked, pruned or merged by key."""


class Schema:
    """One type.

    ``go`` is how Go spells it (``v1.Container``, ``[]v1.Container``, ``int32``), needed in error messages;
    ``definition`` its OpenAPI definition without ``io.k8s.`` (objects only). ``atomic`` objects and maps are owned and
    replaced as a whole by server-side apply. ``wrapped`` lists travel in a protobuf message of their own.
    ``open_ended`` objects of custom kinds may have members beyond their fields.
    """

    __slots__ = (
        "_fields",
        "_items",
        "_load_fields",
        "_load_items",
        "atomic",
        "definition",
        "go",
        "open_ended",
        "type",
        "wrapped",
    )

    def __init__(
        self,
        type: Type,
        *,
        go: str,
        definition: str = "",
        atomic: bool = False,
        wrapped: bool = False,
        open_ended: bool = False,
        load_fields: Callable[[], Mapping[str, Field]] | None = None,
        load_items: Callable[[], Schema] | None = None,
    ) -> None:
        self.type = type
        self.go = go
        self.definition = definition
        self.atomic = atomic
        self.wrapped = wrapped
        self.open_ended = open_ended
        self._load_fields = load_fields
        self._load_items = load_items
        self._fields: Mapping[str, Field] | None = None
        self._items: Schema | None = None

    @property
    def fields(self) -> Mapping[str, Field]:
        """JSON name to field, in Go's order; empty unless this is an object."""
        if self._fields is None:
            self._fields = self._load_fields() if self._load_fields is not None else {}
        return self._fields

    @property
    def items(self) -> Schema:
        """The type of a list's elements, a map's values or of the object behind a ``schemaOr...`` value."""
        if self._items is None:
            if self._load_items is None:
                raise TypeError(f"{self.go} has no elements")
            self._items = self._load_items()
        return self._items

    @property
    def free_form(self) -> bool:
        """Whether any JSON is allowed below this value."""
        return self.type in FREE_FORM

    def __repr__(self) -> str:
        return f"Schema({self.go})"


@dataclass(frozen=True, slots=True)
class Field:
    """One member of an object.

    ``pointer``: nil and zero differ. ``omit_empty``: left out where empty. ``omit_zero``: left out where zero, also
    structs. ``always``: Go writes it even where nothing was said about it. ``path`` holds the protobuf field numbers
    that lead to it (several where Go inlines a struct, none where protobuf does not carry it). ``list_type`` is
    ``atomic``, ``set`` or ``map``, ``list_keys`` belong to the last; ``patch_strategy`` holds ``merge``, ``replace``
    and ``retainKeys``, ``patch_key`` the list key of strategic merges.
    """

    name: str
    schema: Schema
    pointer: bool = False
    omit_empty: bool = False
    omit_zero: bool = False
    path: tuple[int, ...] = ()
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    atomic: bool = False
    patch_strategy: frozenset[str] = field(default_factory=frozenset)
    patch_key: str = ""
    default: Any = None
    always: bool = False
