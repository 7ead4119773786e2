"""Writing the status of an object, where it says something new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from wherry.kube.client import Client
from wherry.kube.errors import NotFound
from wherry.kube.kinds import Kind
from wherry.kube.objects import Model
from wherry.workloads import podstate


class HasStatus(Protocol):
    """An object of a workload kind."""

    @property
    def name(self) -> str:
        """``metadata.name``."""

    @property
    def namespace(self) -> str:
        """``metadata.namespace``."""

    @property
    def uid(self) -> str:
        """``metadata.uid``."""

    @property
    def status(self) -> Model:
        """What was observed."""


async def write_status(client: Client, kind: Kind[Any], obj: HasStatus, status: Mapping[str, Any]) -> None:
    """Patch the fields of ``status`` (plain data) into an object; ApiError, except that it may be gone."""
    if podstate.says_already(obj.status, status):
        return
    patch = {"metadata": {"uid": obj.uid}, "status": status}
    try:
        await client.patch(kind, obj.name, patch, namespace=obj.namespace, subresource="status")
    except NotFound:
        return
