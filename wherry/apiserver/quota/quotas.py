"""Holds objects to the quotas of their namespace, and keeps the amounts in use right.

A write that a quota counts is charged in the same turn of the event loop in which it goes to the store: no other write
comes between, both reach the disk together, and two writers cannot share what is left. What becomes free, because an
object went or a pod ended, is found by counting anew, soon after.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds.model import Object, refuse_forbidden
from wherry.apiserver.kinds.quantity import add, canonical, parse
from wherry.apiserver.quota.usage import Usage, applies, bucket_of, is_over, missing_amounts, usage_of
from wherry.apiserver.storage import Bucket, Conflict, Entry, Event, EventType, Store

log = logging.getLogger("wherry.apiserver")

_QUOTAS = "resourcequotas"

Charge = Callable[[], None]
"""Writes what an object uses into the quotas that count it; to be called right before the object is stored."""


def _free() -> None:
    """The charge where no quota counts."""


class Quotas:
    """The quotas of one server."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._bucket = store.bucket(_QUOTAS)
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._heard: set[str] = set()
        self._bucket.listeners.append(self._on_quota)
        for entry in self._bucket.scan():
            self._hear(entry)
            self._mark(entry.namespace)

    # -- admission -------------------------------------------------------------------------------------------------

    def check(self, group: str, plural: str, new: Object, old: Object | None = None) -> Charge:
        """Find out whether a new object, or a change of one, fits; raises Refusal (403) where it does not."""
        namespace = new["metadata"].get("namespace", "")
        if not namespace or not self._bucket.count(namespace) or (group, plural) == ("", _QUOTAS):
            return _free
        now = self._clock()
        asked, before = usage_of(group, plural, new, now), _before(group, plural, old, now)
        name = new["metadata"].get("name", "")
        charges: list[tuple[Entry, Object]] = []
        for entry in self._heads(namespace):
            quota = entry.object()
            hard: Mapping[str, Any] = (quota.get("spec") or {}).get("hard") or {}
            counted = sorted(key for key in hard if key in asked or key in before)
            if not counted and not (plural == "pods" and not group):
                continue
            if not applies(quota, group, plural, new):
                continue
            if (group, plural) == ("", "pods") and old is None and (lacking := missing_amounts(new, hard)):
                text = f"failed quota: {quota['metadata']['name']}: must specify {lacking}"
                raise refuse_forbidden(group, plural, name, text)
            delta = {key: add(asked.get(key, "0"), before.get(key, "0"), times=-1) for key in counted}
            if all(parse(amount) == 0 for amount in delta.values()):
                continue
            used = self._used(quota)
            _refuse_excess(group, plural, name, quota, delta, used)
            total = {key: add(used[key], delta[key]) if key in delta else used[key] for key in used}
            quota["status"] = {"hard": dict(hard), "used": total}
            charges.append((entry, quota))
        if not charges:
            return _free

        def charge() -> None:
            for entry, quota in charges:
                self._write(entry, quota)

        return charge

    def _used(self, quota: Object) -> Usage:
        """The amounts in use: as last written, or counted where that says nothing about something limited."""
        hard = (quota.get("spec") or {}).get("hard") or {}
        known = (quota.get("status") or {}).get("used") or {}
        if set(hard) <= set(known):
            return {key: str(known[key]) for key in hard}
        return self._count(quota)

    def _write(self, entry: Entry, quota: Object) -> None:
        self._store.update(self._bucket, entry, quota).add_done_callback(_told)

    # -- counting --------------------------------------------------------------------------------------------------

    def _count(self, quota: Object) -> Usage:
        namespace, now = quota["metadata"]["namespace"], self._clock()
        hard = (quota.get("spec") or {}).get("hard") or {}
        total = dict.fromkeys(hard, "0")
        for group, plural in {found for key in hard if (found := bucket_of(key)) is not None}:
            for entry in heads(self._store.bucket(f"{group}/{plural}" if group else plural), namespace):
                obj = entry.object()
                if applies(quota, group, plural, obj):
                    for key, amount in usage_of(group, plural, obj, now).items():
                        if key in total and bucket_of(key) == (group, plural):
                            total[key] = add(total[key], amount)
        return total

    def _heads(self, namespace: str) -> Iterator[Entry]:
        return heads(self._bucket, namespace)

    def _mark(self, namespace: str) -> None:
        self._dirty.add(namespace)
        self._wake.set()

    def _hear(self, entry: Entry) -> None:
        """Listen to what a quota counts, from its first quota on."""
        for key in (entry.object().get("spec") or {}).get("hard") or {}:
            found = bucket_of(key)
            if found is None:
                continue
            group, plural = found
            name = f"{group}/{plural}" if group else plural
            if name not in self._heard:
                self._heard.add(name)
                self._store.bucket(name).listeners.append(self._on_change)

    def _on_quota(self, event: Event) -> None:
        if event.type is EventType.DELETED:
            return
        self._hear(event.entry)
        obj = event.entry.object()
        hard, status = (obj.get("spec") or {}).get("hard") or {}, obj.get("status") or {}
        if hard != (status.get("hard") or {}) or set(hard) != set(status.get("used") or {}):
            self._mark(event.entry.namespace)

    def _on_change(self, event: Event) -> None:
        namespace = event.entry.namespace
        if not self._bucket.count(namespace):
            return
        if event.type is EventType.DELETED or (event.bucket == "pods" and _ended(event, self._clock())):
            self._mark(namespace)

    async def run(self) -> None:
        """Count what may have become free until cancelled; changes of one turn are counted together."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                self._recount(self._dirty.pop())
                await asyncio.sleep(0)

    def _recount(self, namespace: str) -> None:
        for entry in list(self._heads(namespace)):
            quota = entry.object()
            hard = dict((quota.get("spec") or {}).get("hard") or {})
            status = {"hard": hard, "used": dict(sorted(self._count(quota).items()))} if hard else {}
            if (quota.get("status") or {}) != status:
                quota["status"] = status
                try:
                    self._write(entry, quota)
                except Conflict:
                    self._mark(namespace)


def heads(bucket: Bucket, namespace: str) -> Iterator[Entry]:
    """The newest states of a namespace's objects, those on their way to disk included."""
    start = f"{namespace}/"
    waiting = {key: head for key, (head, _) in bucket.pending.items() if key.startswith(start)}
    for entry in bucket.scan(namespace):
        if entry.key not in waiting:
            yield entry
    for head in waiting.values():
        if head is not None:
            yield head


def _before(group: str, plural: str, old: Object | None, now: datetime) -> Usage:
    return usage_of(group, plural, old, now) if old is not None else {}


def _ended(event: Event, now: datetime) -> bool:
    if event.prev is None:
        return False
    return is_over(event.entry.object(), now) and not is_over(event.prev.object(), now)


def _refuse_excess(group: str, plural: str, name: str, quota: Object, delta: Usage, used: Usage) -> None:
    hard = quota["spec"]["hard"]
    exceeded = [
        key
        for key, amount in sorted(delta.items())
        if parse(amount) > 0 and parse(add(used[key], amount)) > parse(hard[key])
    ]
    if exceeded:
        shown = [",".join(f"{key}={canonical(amounts[key])}" for key in exceeded) for amounts in (delta, used, hard)]
        text = (
            f"exceeded quota: {quota['metadata']['name']}, requested: {shown[0]}, used: {shown[1]}, limited: {shown[2]}"
        )
        raise refuse_forbidden(group, plural, name, text)


def _told(done: asyncio.Future[Entry]) -> None:
    """The object that was charged for shares the fate of this write, and its writer is told."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("a quota was not written: %s", error)
