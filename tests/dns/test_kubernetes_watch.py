"""Following an API server: whole at first, then step by step, over gaps, bad objects and reloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.dns.cluster import (
    OPTIONS,
    api_server,
    ask,
    endpoint,
    endpoint_slice,
    key,
    namespace,
    service,
)
from wherry.dns.kubernetes.objects import IMPORT_NAME_LABEL, SERVICE_IMPORTS, ImportSpec, ServiceImport
from wherry.dns.kubernetes.requests import Limits
from wherry.dns.kubernetes.watch import Scope, Watch
from wherry.dns.kubernetes.zone import Change, Zone
from wherry.dns.metrics import Metrics
from wherry.kube import kinds
from wherry.kube import objects as o
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.store import KIND_BY_PATH

LONG = 30.0


class Changes:
    """What a watch tells; waits for what it brings about."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.zone = watch.zone
        self.copy = Zone()
        self.tags: list[set[bytes]] = []
        self._new = asyncio.Event()
        for change in watch.zone.snapshot():
            self.copy.apply(change)
        watch.subscribe(self._told)

    def _told(self, changes: list[Change], tags: set[bytes]) -> None:
        for change in changes:
            self.copy.apply(change)
        self.tags.append(tags)
        self._new.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG):
            while not holds():
                self._new.clear()
                await self._new.wait()

    async def said(self, question: str, *said: str) -> None:
        """Wait until the zone says this, and its copy does too."""
        await self.until(lambda: ask(self.zone, question) == [*said])
        assert ask(self.copy, question) == [*said]


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with api_server() as fake:
        fake.put(kinds.NAMESPACES, namespace("default"))
        fake.put(kinds.SERVICES, service("web", "10.3.0.1"))
        fake.put(kinds.SERVICES, service("db", "None"))
        fake.put(kinds.ENDPOINT_SLICES, endpoint_slice("db", endpoint("10.0.0.1", hostname="db-0")))
        yield fake


def watch_of(server: FakeApiServer, metrics: Metrics | None = None, **scope: Any) -> Watch:
    return Watch(Scope(server="fake", **scope), server.endpoint, metrics or Metrics(), asyncio.get_running_loop().time)


@asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[Changes]:
    changes = Changes(watch)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.run())
        async with asyncio.timeout(LONG):
            await watch.synced.wait()
        yield changes
        task.cancel()


WEB = ("web.default.svc.cluster.local A", "web.default.svc.cluster.local. A 10.3.0.1")
NONE = ("NXDOMAIN", "SOA")


async def test_what_is_there_and_what_changes(server: FakeApiServer) -> None:
    async with running(watch_of(server)) as changes:
        await changes.said(*WEB)
        await changes.said("db.default.svc.cluster.local A", "db.default.svc.cluster.local. A 10.0.0.1")
        server.put(kinds.SERVICES, service("new", "10.3.0.2"))
        await changes.said("new.default.svc.cluster.local A", "new.default.svc.cluster.local. A 10.3.0.2")
        assert changes.tags[-1] >= {b"", key("new")}
        before = changes.zone.serial
        assert before > 0
        server.put(
            kinds.ENDPOINT_SLICES,
            endpoint_slice("db", endpoint("10.0.0.1", hostname="db-0"), endpoint("10.0.0.2", hostname="db-1")),
        )
        await changes.said("db-1.db.default.svc.cluster.local A", "db-1.db.default.svc.cluster.local. A 10.0.0.2")
        server.remove(kinds.SERVICES, "web", "default")
        await changes.said(WEB[0], *NONE)
        server.remove(kinds.ENDPOINT_SLICES, "db-a", "default")
        await changes.said("db.default.svc.cluster.local A", *NONE)
        server.remove(kinds.NAMESPACES, "default")
        await changes.said("default.svc.cluster.local A", *NONE)


async def test_what_names_do_not_show_is_told_to_nobody(server: FakeApiServer) -> None:
    async with running(watch_of(server)) as changes:
        told = len(changes.tags)
        unchanged = service("web", "10.3.0.1")
        marked = o.Service(
            metadata=o.ObjectMeta(name="web", namespace="default", labels={"a": "b"}), spec=unchanged.spec
        )
        server.put(kinds.SERVICES, marked)
        server.put(kinds.SERVICES, service("last", "10.3.0.3"))
        await changes.said("last.default.svc.cluster.local A", "last.default.svc.cluster.local. A 10.3.0.3")
        assert all(key("web") not in tags for tags in changes.tags[told:])


async def test_a_slice_that_gets_another_owner_leaves_the_first(server: FakeApiServer) -> None:
    async with running(watch_of(server)) as changes:
        server.put(kinds.SERVICES, service("other", "None"))
        server.put(kinds.ENDPOINT_SLICES, endpoint_slice("other", endpoint("10.0.0.1", hostname="x"), name="db-a"))
        await changes.said("other.default.svc.cluster.local A", "other.default.svc.cluster.local. A 10.0.0.1")
        assert ask(changes.zone, "db.default.svc.cluster.local A") == [*NONE]
        server.put(kinds.ENDPOINT_SLICES, endpoint_slice("", endpoint("10.0.0.1"), name="db-a"))
        await changes.said("other.default.svc.cluster.local A", *NONE)


async def test_what_went_while_nobody_watched_is_gone(server: FakeApiServer) -> None:
    async with running(watch_of(server)) as changes:
        await server.watched(3)
        await server.stop()
        await changes_of_age(changes.watch, lambda age: age > 0)
        assert ask(changes.zone, WEB[0]) == [WEB[1]]
        server.remove(kinds.SERVICES, "web", "default")
        server.remove(kinds.ENDPOINT_SLICES, "db-a", "default")
        server.put(kinds.SERVICES, service("late", "10.3.0.4"))
        server.store.compact()
        await server.start()
        await changes.said("late.default.svc.cluster.local A", "late.default.svc.cluster.local. A 10.3.0.4")
        await changes.said(WEB[0], *NONE)
        await changes.said("db.default.svc.cluster.local A", *NONE)
        await changes_of_age(changes.watch, lambda age: age == 0)


async def changes_of_age(watch: Watch, holds: Callable[[float], bool]) -> None:
    """Wait for the age, which nothing tells of but the clock and the watch itself."""
    async with asyncio.timeout(LONG):
        while not holds(watch.age()):  # noqa: ASYNC110 - a clock tells nobody
            await asyncio.sleep(0.02)


async def test_one_bad_object_is_left_out(server: FakeApiServer, caplog: pytest.LogCaptureFixture) -> None:
    bad = {"metadata": {"name": "bad", "namespace": "default"}, "spec": {"ports": "none"}}
    server.put(kinds.SERVICES.as_dict(), bad)
    async with running(watch_of(server)) as changes:
        await changes.said(*WEB)
        assert "left out default/bad" in caplog.text
        server.put(kinds.SERVICES.as_dict(), bad | {"metadata": {"name": "worse", "namespace": "default"}})
        server.put(kinds.SERVICES, service("good", "10.3.0.5"))
        await changes.said("good.default.svc.cluster.local A", "good.default.svc.cluster.local. A 10.3.0.5")
        assert "left out default/worse" in caplog.text


async def test_lists_come_in_pages_but_count_only_when_whole(server: FakeApiServer) -> None:
    for number in range(1200):
        server.put(kinds.SERVICES, service(f"s{number}", "10.3.1.1"))
    metrics = Metrics()
    watch = watch_of(server, metrics)
    seen: list[int] = []
    watch.subscribe(lambda changes, tags: seen.append(sum(bool(e.service) for e in watch.zone.entries.values())))
    async with running(watch) as changes:
        assert len(changes.zone.entries) == 1202
        assert set(seen) <= {0, 1202}
        assert (
            len([path for _, path in server.requests if path.startswith("/api/v1/services") and "limit" in path]) == 3
        )
    labels = {"code": "200", "method": "GET", "host": "wherry"}
    assert metrics.registry.get_sample_value("coredns_kubernetes_rest_client_requests_total", labels)


async def test_the_next_owner_of_a_watch_goes_on_where_the_last_one_stopped(server: FakeApiServer) -> None:
    watch = watch_of(server)
    changes = Changes(watch)
    async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
        first = group.create_task(watch.run())
        await watch.synced.wait()
        await server.watched(3)
        second = group.create_task(watch.run())
        listed = len(server.requests)
        first.cancel()
        server.put(kinds.SERVICES, service("new", "10.3.0.2"))
        await changes.said("new.default.svc.cluster.local A", "new.default.svc.cluster.local. A 10.3.0.2")
        assert not [path for _, path in server.requests[listed:] if "watch" not in path]
        second.cancel()


async def test_selectors_and_options_narrow_what_is_followed(server: FakeApiServer) -> None:
    spec = service("seen", "10.3.0.7").spec
    server.put(
        kinds.SERVICES, o.Service(metadata=o.ObjectMeta(name="seen", namespace="default", labels={"a": "b"}), spec=spec)
    )
    async with running(watch_of(server, labels="a=b", endpoints=False)) as changes:
        assert {*changes.zone.entries} == {key("seen")}
        assert not [path for _, path in server.requests if "endpointslices" in path or "pods" in path]
    async with running(watch_of(server, namespace_labels="a=b")) as changes:
        assert ask(changes.zone, WEB[0]) == [*NONE]


async def test_pods_are_followed_by_address(server: FakeApiServer) -> None:
    verified = OPTIONS._replace(pods="verified")

    def put(name: str, address: str, phase: str = "Running", namespace: str = "default") -> None:
        body = {
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}]},
        }
        server.put(kinds.PODS.as_dict(), body)

    put("one", "10.1.0.1")
    question = "10-1-0-1.default.pod.cluster.local A"
    async with running(watch_of(server, pods=True, pod_labels=True)) as changes:
        assert ask(changes.zone, question, verified) == ["10-1-0-1.default.pod.cluster.local. A 10.1.0.1"]
        assert [row.labels for row in changes.watch.pods.at(bytes([10, 1, 0, 1]))] == [{"app": "one"}]
        put("two", "10.1.0.1", namespace="other")
        await changes.until(lambda: len(changes.watch.pods.at(bytes([10, 1, 0, 1]))) == 2)
        put("one", "10.1.0.1", "Succeeded")
        put("two", "10.1.0.2", namespace="other")
        await changes.until(lambda: ask(changes.zone, question, verified) == [*NONE])
        assert changes.watch.pods.at(bytes([10, 1, 0, 1])) == ()


@pytest.mark.parametrize(("code", "counted"), [(503, "503"), (403, "403"), (0, "<error>")])
async def test_what_the_server_refuses_is_asked_again(server: FakeApiServer, code: int, counted: str) -> None:
    # aiohttp itself asks once more where a connection broke
    server.fail_next(code, times=2 if code else 6)
    metrics = Metrics()
    async with running(watch_of(server, metrics)) as changes:
        await changes.said(*WEB)
    labels = {"code": counted, "method": "GET", "host": "wherry"}
    assert metrics.registry.get_sample_value("coredns_kubernetes_rest_client_requests_total", labels)


async def test_services_of_other_clusters_are_followed(server: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KIND_BY_PATH, ("multicluster.x-k8s.io", "v1alpha1", "serviceimports"), SERVICE_IMPORTS)
    meta = o.ObjectMeta(name="far", namespace="default")
    server.put(SERVICE_IMPORTS, ServiceImport(metadata=meta, spec=ImportSpec(type="Headless")))
    slices = endpoint_slice("", endpoint("10.9.0.1"), name="far-a", labels={IMPORT_NAME_LABEL: "far"})
    server.put(kinds.ENDPOINT_SLICES, slices)
    far = OPTIONS._replace(imported=frozenset({OPTIONS.primary}))
    async with running(watch_of(server, imported=True)) as changes:
        assert ask(changes.zone, "far.default.svc.cluster.local A", far)[0].endswith("A 10.9.0.1")
        assert ask(changes.zone, "far.default.svc.cluster.local A") == [*NONE]
        assert ask(changes.zone, "db.default.svc.cluster.local A", far) == [*NONE]
        server.remove(SERVICE_IMPORTS, "far", "default")
        await changes.until(lambda: ask(changes.zone, "far.default.svc.cluster.local A", far) == [*NONE])


async def test_how_long_a_change_took_is_measured(server: FakeApiServer) -> None:
    metrics = Metrics()
    watch = Watch(Scope("fake"), server.endpoint, metrics, asyncio.get_running_loop().time, now=lambda: 1767225605.0)
    changed = endpoint_slice("db", endpoint("10.0.0.9"))
    annotations = {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:01Z"}
    meta = o.ObjectMeta(name="db-a", namespace="default", labels=changed.metadata.labels, annotations=annotations)
    async with running(watch) as changes:
        server.put(
            kinds.ENDPOINT_SLICES, o.EndpointSlice(metadata=meta, endpoints=changed.endpoints, ports=changed.ports)
        )
        await changes.said("db.default.svc.cluster.local A", "db.default.svc.cluster.local. A 10.0.0.9")
    name = "coredns_kubernetes_dns_programming_duration_seconds"
    kind = {"service_kind": "headless_with_selector"}
    assert metrics.registry.get_sample_value(f"{name}_sum", kind) == 4.0
    assert metrics.registry.get_sample_value(f"{name}_count", kind) == 1


async def test_requests_keep_to_their_rate(server: FakeApiServer) -> None:
    """Three lists and three watches, two at once and then ten a second: four of them wait, 0.4 s in sum."""
    started = asyncio.get_running_loop().time()
    async with running(watch_of(server, limits=Limits(rate=10.0, burst=2, in_flight=1))):
        await server.watched(3)
    assert asyncio.get_running_loop().time() - started > 0.3
