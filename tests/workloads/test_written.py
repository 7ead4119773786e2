"""What was written counts until the cache shows it."""

from __future__ import annotations

from tests.workloads.make import meta, of
from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.workloads.written import PATIENCE, Written


def version(number: int, uid: str = "u") -> Pod:
    return of(Pod, {"metadata": {**meta("a", "default", uid=uid), "resourceVersion": str(number)}})


class Cache:
    """One pod in a cache, a clock, and the memory of what was written."""

    def __init__(self, pod: Pod | None) -> None:
        self.pod = pod
        self.now = 0.0
        self.written = Written(self.look_up, lambda: self.now)

    def look_up(self, key: Key) -> Pod | None:
        return self.pod if key == Key("default", "a") else None

    def shown(self) -> bool:
        return self.written.shown("owner")


def test_an_older_version_does_not_show_a_write() -> None:
    cache = Cache(version(9))
    assert cache.shown()
    cache.written.note("owner", version(10))
    assert not cache.shown()
    assert cache.written.shown("another")
    cache.pod = version(11)
    assert cache.shown()


def test_an_object_that_is_gone_shows_everything() -> None:
    for after in (None, version(3, uid="another")):
        cache = Cache(version(9))
        cache.written.note("owner", version(10))
        cache.written.note_gone("owner", version(9))
        assert not cache.shown()
        cache.pod = after
        assert cache.shown()


def test_patience_ends() -> None:
    cache = Cache(version(9))
    cache.written.note("owner", version(10))
    cache.now = PATIENCE + 1
    assert cache.shown()


def test_an_owner_that_is_gone_is_forgotten() -> None:
    cache = Cache(version(9))
    cache.written.note("owner", version(10))
    cache.written.forget("owner")
    assert cache.shown()
