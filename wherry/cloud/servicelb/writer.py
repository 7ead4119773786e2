"""What ServiceLB writes to the API, one function for each thing. Every function does nothing where all is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.cloud.servicelb import merge
from wherry.cloud.servicelb.model import ACCOUNT, FINALIZER, LEGACY_FINALIZER, PART, PART_NAME
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import AlreadyExists, NotFound
from wherry.kube.objects import Namespace, ObjectMeta, Service, ServiceAccount

DAEMON_SETS = kinds.DAEMON_SETS.as_dict()
_OURS = {PART: PART_NAME}


async def finalize(client: Client, service: Service) -> Service:
    """Hold a Service until it is cleaned up; return it as it is then."""
    finalizers = [one for one in service.metadata.finalizers if one != LEGACY_FINALIZER]
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    return await _set_finalizers(client, service, finalizers)


async def release(client: Client, service: Service) -> None:
    """Hold a Service no longer."""
    kept = [one for one in service.metadata.finalizers if one not in (FINALIZER, LEGACY_FINALIZER)]
    try:
        await _set_finalizers(client, service, kept)
    except NotFound:  # The last finalizer was taken away by somebody else.
        return


async def _set_finalizers(client: Client, service: Service, wanted: list[str]) -> Service:
    if [*service.metadata.finalizers] == wanted:
        return service
    # The list is written whole: the version keeps what another controller adds meanwhile.
    meta = {"finalizers": wanted, "uid": service.uid, "resourceVersion": service.metadata.resource_version}
    return await client.patch(kinds.SERVICES, service.name, {"metadata": meta}, namespace=service.namespace)


async def status(client: Client, service: Service, patch: dict[str, Any]) -> Service:
    """Change the status of a Service as it was read; return it as it is then."""
    meta = {"uid": service.uid, "resourceVersion": service.metadata.resource_version}
    body = {"metadata": meta, "status": patch}
    return await client.patch(kinds.SERVICES, service.name, body, namespace=service.namespace, subresource="status")


async def account(client: Client, namespace: str) -> None:
    """Make the namespace and the service account of forwarders where they are missing."""
    meta = ObjectMeta(name=ACCOUNT, namespace=namespace, labels=_OURS)
    wanted = ServiceAccount(metadata=meta, automount_service_account_token=False)
    try:
        await client.create(kinds.SERVICE_ACCOUNTS, wanted, namespace=namespace)
    except AlreadyExists:
        return
    except NotFound:
        try:
            await client.create(kinds.NAMESPACES, Namespace(metadata=ObjectMeta(name=namespace)))
        except AlreadyExists:
            pass
        await client.create(kinds.SERVICE_ACCOUNTS, wanted, namespace=namespace)


async def remove_accounts(client: Client, *, keep: str | None) -> None:
    """Delete the service accounts that were made for forwarders, but for that of one namespace."""
    found = await client.list(kinds.SERVICE_ACCOUNTS, label_selector=f"{PART}={PART_NAME}")
    for each in found.items:
        if each.name == ACCOUNT and each.namespace != keep:
            await _gone(client, kinds.SERVICE_ACCOUNTS, each.namespace, each.name)


async def apply(client: Client, current: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Make a DaemonSet as wanted; return whether something had to be written."""
    if current is None:
        await client.create(DAEMON_SETS, merge.pruned(wanted))
        return True
    if merge.holds(current, wanted):
        return False
    await client.update(DAEMON_SETS, merge.applied(current, wanted))
    return True


async def delete(client: Client, daemon_sets: Sequence[dict[str, Any]]) -> None:
    """Delete DaemonSets, and with them their pods."""
    for each in daemon_sets:
        meta = each["metadata"]
        if not meta.get("deletionTimestamp"):
            await _gone(client, DAEMON_SETS, meta["namespace"], meta["name"], meta["uid"])


async def _gone(client: Client, kind: kinds.Kind[Any], namespace: str, name: str, uid: str | None = None) -> None:
    try:
        await client.delete(kind, name, namespace=namespace, uid=uid, propagation="Background")
    except NotFound:  # Somebody else was quicker.
        return
