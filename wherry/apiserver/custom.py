"""What a custom resource's definition says about one of its versions, as the generic handlers need it."""

from __future__ import annotations

from typing import Any, Protocol

from wherry.apiserver.kinds.model import Object


class CustomVersion(Protocol):
    """One served version of a custom resource."""

    def prune(self, value: dict[str, Any]) -> tuple[Object, list[str]]:
        """The object without the fields that the schema does not know, and findings about them."""
