"""What the server tells Prometheus about itself, under the names of the real server where the meaning is the same."""

from __future__ import annotations

from wherry.apiserver.core import Core


def exposition(core: Core) -> str:
    """The text of /metrics."""
    lines = [
        "# HELP apiserver_storage_objects Number of stored objects by resource.",
        "# TYPE apiserver_storage_objects gauge",
        *(
            f'apiserver_storage_objects{{resource="{bucket.name}"}} {len(bucket.entries)}'
            for bucket in sorted(core.store.buckets(), key=lambda bucket: bucket.name)
            if bucket.entries
        ),
        "# HELP apiserver_longrunning_requests Open watches.",
        "# TYPE apiserver_longrunning_requests gauge",
        f'apiserver_longrunning_requests{{verb="WATCH"}} {len(core.hub)}',
        "# HELP wherry_storage_revision The newest revision.",
        "# TYPE wherry_storage_revision counter",
        f"wherry_storage_revision {core.store.revision}",
    ]
    return "\n".join([*lines, ""])
