"""The key of an object: what flows through work queues instead of the object itself."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """Namespace and name of one object of a known kind; the namespace of a cluster-scoped object is empty."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read ``ns/name`` (or a bare ``name`` of a cluster-scoped object); ValueError for anything else."""
        namespace, slash, name = text.rpartition("/")
        if not name or "/" in namespace or (slash and not namespace):
            raise ValueError(f"not an object key: {text!r}")
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name
