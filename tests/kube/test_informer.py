"""The promises in the text of wherry.kube.informer, against a server whose connections break."""

import pytest

from wherry.kube.informer import Informer, Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import CONFIG_MAPS, PODS
from wherry.kube.selectors import parse
from wherry.kube.testing.tools import Seen, config_map, running


def lists(server):
    return [path for method, path in server.requests if method == "GET" and "watch=1" not in path]


def watches(server):
    return [path for method, path in server.requests if "watch=1" in path]


@pytest.fixture
def informer(client):
    return Informer(client, CONFIG_MAPS)


@pytest.fixture
def seen(informer):
    seen = Seen()
    informer.add_handler(seen)
    return seen


async def test_starts_with_what_is_there_and_follows(server, informer, seen):
    server.put(CONFIG_MAPS, config_map("a", v="1"))
    async with running(informer.run()):
        await informer.synced()
        assert seen.take() == [(None, "a=1")]
        server.put(CONFIG_MAPS, config_map("a", v="2"))
        server.put(CONFIG_MAPS, config_map("b", v="1"))
        server.remove(CONFIG_MAPS, "a")
        await seen.until(lambda: len(seen.calls) == 3)
        assert seen.take() == [("a=1", "a=2"), (None, "b=1"), ("a=2", None)]
        assert [obj.name for obj in informer.list()] == ["b"]
        assert informer.get(Key("default", "a")) is None


async def test_a_broken_watch_resumes_without_missing_or_repeating(server, informer, seen):
    async with running(informer.run()):
        await informer.synced()
        expected = []
        for round_ in range(20):
            await server.watched()
            server.put(CONFIG_MAPS, config_map("before", v=str(round_)))
            await server.break_watches(inside_event=round_ % 2 == 1)
            server.put(CONFIG_MAPS, config_map("after", v=str(round_)))
            for name in ("before", "after"):
                expected.append((f"{name}={round_ - 1}" if round_ else None, f"{name}={round_}"))
            await seen.until(lambda: len(seen.calls) >= len(expected))
        assert seen.take() == expected
    assert len(lists(server)) == 1


async def test_resumes_at_the_version_of_the_last_event(server, informer, seen):
    async with running(informer.run()):
        await server.watched()
        server.put(CONFIG_MAPS, config_map("a", v="1"))
        await seen.until(lambda: bool(seen.calls))
        await server.break_watches()
        await server.watched()
    assert watches(server)[-1].partition("resourceVersion=")[2].partition("&")[0] == str(server.store.revision)


async def test_a_bookmark_moves_the_version_so_that_compaction_does_no_harm(server, informer, seen):
    async with running(informer.run()):
        await server.watched()
        server.put(PODS, {"metadata": {"name": "other"}})
        server.send_bookmarks()
        server.store.compact()
        await server.break_watches()
        await server.watched()
        server.put(CONFIG_MAPS, config_map("a", v="1"))
        await seen.until(lambda: bool(seen.calls))
    assert len(lists(server)) == 1


async def test_410_lists_again_and_reports_only_differences(server, informer, seen):
    for name in ("kept", "changed", "gone", "remade"):
        server.put(CONFIG_MAPS, config_map(name, v="1"))
    async with running(informer.run()):
        await server.watched()
        seen.take()
        server.fail_next(500, times=1)
        await server.break_watches()
        server.put(CONFIG_MAPS, config_map("changed", v="2"))
        server.remove(CONFIG_MAPS, "gone")
        server.remove(CONFIG_MAPS, "remade")
        server.put(CONFIG_MAPS, config_map("remade", v="1"))
        server.put(CONFIG_MAPS, config_map("new", v="1"))
        server.store.compact()
        await seen.until(lambda: len(seen.calls) >= 5)
        assert sorted(seen.take(), key=str) == sorted(
            [("changed=1", "changed=2"), ("gone=1", None), ("remade=1", None), (None, "remade=1"), (None, "new=1")],
            key=str,
        )
    assert len(lists(server)) == 2


async def test_survives_a_server_that_is_away(server, informer, seen):
    async with running(informer.run()):
        await server.watched()
        await server.stop()
        server.put(CONFIG_MAPS, config_map("a", v="1"))
        await server.start()
        await seen.until(lambda: bool(seen.calls))
    assert seen.take() == [(None, "a=1")]


async def test_a_forbidden_list_is_tried_again(server, informer, seen):
    server.put(CONFIG_MAPS, config_map("a", v="1"))
    server.fail_next(403, times=2)
    async with running(informer.run()):
        await informer.synced()
    assert seen.take() == [(None, "a=1")]


async def test_large_events_pass(server, informer, seen):
    async with running(informer.run()):
        await server.watched()
        server.put(CONFIG_MAPS, config_map("big", v="1", blob="x" * 3_000_000))
        await seen.until(lambda: bool(seen.calls))
    assert len(informer.list()[0].data["blob"]) == 3_000_000


async def test_indexes_follow_changes(server, client):
    informer = Informer(client, CONFIG_MAPS)
    informer.add_index("v", lambda obj: obj.data.get("v", "").split())
    seen = Seen()
    informer.add_handler(seen)
    server.put(CONFIG_MAPS, config_map("a", v="x y"))
    async with running(informer.run()):
        await server.watched()
        assert [obj.name for obj in informer.by_index("v", "x")] == ["a"]
        server.put(CONFIG_MAPS, config_map("a", v="y z"))
        await seen.until(lambda: len(seen.calls) == 2)
        assert {v: [obj.name for obj in informer.by_index("v", v)] for v in "xyz"} == {"x": [], "y": ["a"], "z": ["a"]}
        assert informer.by_index("v", "y")[0].data["v"] == "y z"
        server.remove(CONFIG_MAPS, "a")
        await seen.until(lambda: len(seen.calls) == 3)
        assert informer.by_index("v", "z") == []
        server.put(CONFIG_MAPS, config_map("b", v="late"))
        await seen.until(lambda: len(seen.calls) == 4)
    informer.add_index("late", lambda obj: [obj.namespace])
    assert [obj.name for obj in informer.by_index("late", "default")] == ["b"]


async def test_scope_and_selection(server, client):
    for namespace in ("one", "two"):
        for app in ("web", "db"):
            server.put(CONFIG_MAPS, config_map(app, namespace, labels={"app": app}))
    informers = Informers(client)
    all_ = informers.informer(CONFIG_MAPS)
    web = informers.informer(CONFIG_MAPS, label_selector="app=web")
    one = informers.informer(CONFIG_MAPS, namespace="one", field_selector="metadata.name=db")
    assert informers.informer(CONFIG_MAPS) is all_
    async with running(informers.run()):
        await informers.synced()
        late = informers.informer(CONFIG_MAPS, namespace="two")
        await informers.synced()
    assert (len(all_), len(web), len(late)) == (4, 2, 2)
    assert [str(obj.key) for obj in one.list()] == ["one/db"]
    assert [str(obj.key) for obj in all_.list("two", parse("app in (web)"))] == ["two/web"]


async def test_objects_leaving_a_label_selector_are_gone(server, client):
    informer = Informer(client, CONFIG_MAPS, label_selector="app=web")
    seen = Seen()
    informer.add_handler(seen)
    server.put(CONFIG_MAPS, config_map("a", labels={"app": "web"}, v="1"))
    async with running(informer.run()):
        await server.watched()
        server.put(CONFIG_MAPS, config_map("a", labels={"app": "db"}, v="2"))
        await seen.until(lambda: len(seen.calls) == 2)
        server.put(CONFIG_MAPS, config_map("a", labels={"app": "web"}, v="3"))
        await seen.until(lambda: len(seen.calls) == 3)
    assert seen.take() == [(None, "a=1"), ("a=1", None), (None, "a=3")]


async def test_an_exception_in_a_handler_stops_the_informer(server, informer):
    informer.add_handler(lambda old, new: 1 / 0)
    server.put(CONFIG_MAPS, config_map("a"))
    with pytest.raises(ZeroDivisionError):
        await informer.run()


async def test_a_late_handler_hears_of_everything(server, informer, seen):
    server.put(CONFIG_MAPS, config_map("a", v="1"))
    async with running(informer.run()):
        await informer.synced()
        late = Seen()
        informer.add_handler(late)
        assert late.take() == [(None, "a=1")]


async def test_plain_dictionaries_work_too(server, client):
    informer = Informer(client, CONFIG_MAPS.as_dict())
    server.put(CONFIG_MAPS, config_map("a", labels={"app": "web"}, v="1"))
    async with running(informer.run()):
        await informer.synced()
    assert [obj["data"] for obj in informer.list("default", parse("app"))] == [{"v": "1"}]
