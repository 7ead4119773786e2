"""Keeping `metadata.managedFields`: who wrote which field, for the conflicts of server-side apply.

Writes of the cluster's own components (told by their User-Agent) are not tracked: it would double the cost of every
status update, and nobody applies against them. What they apply on the server is tracked like anybody's.
"""

from __future__ import annotations

from wherry.apiserver.core import Call
from wherry.apiserver.handlers.objects import custom_schema, schema_of
from wherry.apiserver.handlers.options import WriteOptions
from wherry.apiserver.kinds.model import Object
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.patch.managed import Operation, track_update

OWN_AGENT = "wherry"
_MAX_MANAGER = 128


def manager_of(call: Call, options: WriteOptions) -> str:
    """The name of the manager: as given, else the client's program."""
    if options.manager:
        return options.manager
    agent = call.request.headers.get("user-agent", "").partition("/")[0]
    return "".join(one for one in agent if one.isprintable())[:_MAX_MANAGER] or "unknown"


def track(call: Call, live: Object | None, new: Object, options: WriteOptions) -> None:
    """Set the managedFields of `new`, the defaulted object that is about to replace `live` (None: to be created)."""
    metadata = new["metadata"]
    if call.request.headers.get("user-agent", "").startswith(OWN_AGENT):
        entries = (live["metadata"].get("managedFields") or []) if live is not None else []
    else:
        entries = track_update(live, new, operation(call, options))
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def operation(call: Call, options: WriteOptions) -> Operation:
    """The write as the managed fields see it."""
    served = call.served
    custom = custom_schema(served)
    row = served.resource
    return Operation(
        schema=custom.typed if custom is not None else schema_of(served),
        api_version=row.api_version,
        kind=row.kind,
        manager=manager_of(call, options),
        now=format_time(call.core.clock()),
        subresource=call.route.subresource,
        built_in=custom is None,
    )
