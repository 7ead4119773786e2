import asyncio
import ssl
from contextlib import aclosing

import pytest
from aiohttp import web

from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Gone,
    NotFound,
    ServerUnavailable,
    TooManyRequests,
    Unauthorized,
)
from wherry.kube.kinds import CONFIG_MAPS, PODS
from wherry.kube.objects import Pod
from wherry.kube.pki import Authority
from wherry.kube.testing.tools import config_map


async def test_create_get_update_delete(server, client):
    created = await client.create(CONFIG_MAPS, config_map("a", v="1"))
    assert created.metadata.uid
    assert (await client.get(CONFIG_MAPS, "a", namespace="default")).data == {"v": "1"}
    whole = await client.get(CONFIG_MAPS, "a", namespace="default", raw=True)
    assert whole["kind"] == "ConfigMap"
    whole["data"]["v"] = "2"
    updated = await client.update(CONFIG_MAPS.as_dict(), whole)
    assert updated["data"] == {"v": "2"}
    with pytest.raises(Conflict):
        await client.update(CONFIG_MAPS.as_dict(), whole)
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "a", namespace="default", uid="another")
    await client.delete(CONFIG_MAPS, "a", namespace="default", uid=created.uid, grace_seconds=0)
    with pytest.raises(NotFound) as caught:
        await client.get(CONFIG_MAPS, "a", namespace="default")
    assert caught.value.reason == "NotFound"


async def test_create_twice_is_already_exists(client):
    await client.create(CONFIG_MAPS, config_map("a"))
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, config_map("a"))


async def test_patch_and_subresources(server, client):
    server.put(PODS, {"metadata": {"name": "p"}, "spec": {"nodeName": ""}, "status": {"phase": "Pending"}})
    where = {"namespace": "default"}
    pod = await client.patch(PODS, "p", {"status": {"phase": "Running"}}, subresource="status", **where)
    assert isinstance(pod, Pod)
    assert pod.status.phase == "Running"
    pod = await client.patch(PODS, "p", {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Failed"}}, **where)
    assert (pod.labels, pod.status.phase) == ({"a": "b"}, "Running")
    binding = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n1"}}
    await client.create_subresource(PODS, "p", "binding", binding, **where)
    assert (await client.get(PODS, "p", **where)).spec.node_name == "n1"


async def test_list_follows_pages(server, client):
    for number in range(7):
        server.put(CONFIG_MAPS, config_map(f"c{number}"))
    listed = await client.list(CONFIG_MAPS, limit=3)
    assert [obj.name for obj in listed.items] == [f"c{number}" for number in range(7)]
    assert len(server.requests) == 3
    assert listed.resource_version == str(server.store.revision)


async def test_an_expired_page_lists_anew(server, client):
    for number in range(4):
        server.put(CONFIG_MAPS, config_map(f"c{number}"))
    send = client.send

    async def compact_after_first_page(*args, **kwargs):
        body = await send(*args, **kwargs)
        if "continue" not in (kwargs.get("params") or {}):
            server.put(CONFIG_MAPS, config_map("late"))
            server.store.compact()
        return body

    client.send = compact_after_first_page
    listed = await client.list(CONFIG_MAPS, limit=2)
    assert [obj.name for obj in listed.items] == ["c0", "c1", "c2", "c3", "late"]


async def test_an_empty_list_may_be_null(client):
    assert (await client.list(CONFIG_MAPS)).items == []


async def test_delete_collection(server, client):
    server.put(CONFIG_MAPS, config_map("a", labels={"x": "y"}))
    server.put(CONFIG_MAPS, config_map("b"))
    await client.delete_collection(CONFIG_MAPS, namespace="default", label_selector="x=y")
    assert [obj.name for obj in (await client.list(CONFIG_MAPS)).items] == ["b"]


@pytest.mark.parametrize("code", [0, 429, 500, 503])
async def test_safe_requests_are_tried_again(server, client, code):
    server.put(CONFIG_MAPS, config_map("a", v="1"))
    server.fail_next(code, times=3)
    assert (await client.get(CONFIG_MAPS, "a", namespace="default")).data == {"v": "1"}
    assert len(server.requests) == 4


async def test_a_post_is_repeated_only_when_it_had_no_effect(server, client):
    server.fail_next(429, times=2)
    await client.create(CONFIG_MAPS, config_map("a"))
    assert len(server.requests) == 3
    for code in (0, 500):
        server.requests.clear()
        server.fail_next(code)
        with pytest.raises(ServerUnavailable):
            await client.create(CONFIG_MAPS, config_map("b"))
        assert len(server.requests) == 1


async def test_a_post_waits_for_a_server_that_is_not_there_yet(server, client):
    await server.stop()
    async with asyncio.TaskGroup() as group:
        created = group.create_task(client.create(CONFIG_MAPS, config_map("a")))
        await asyncio.sleep(0)
        await server.start()
    assert created.result().name == "a"


async def test_gives_up_after_retry_for(server):
    async with server.client(retry_for=0.0) as impatient:
        server.fail_next(429, retry_after=7)
        with pytest.raises(TooManyRequests) as caught:
            await impatient.get(CONFIG_MAPS, "a", namespace="default")
        assert caught.value.retry_after == 7


async def test_errors_that_repeating_cannot_help_are_raised_at_once(server, client):
    server.fail_next(403)
    with pytest.raises(ApiError) as caught:
        await client.get(CONFIG_MAPS, "a", namespace="default")
    assert (caught.value.code, str(caught.value)) == (403, "failure on demand")
    assert len(server.requests) == 1


async def test_the_token_is_read_again_when_its_file_changes(server, tmp_path):
    file = tmp_path / "token"
    file.write_text("one\n")
    server.token = "one"
    async with Client(Endpoint.unix(server.socket, file)) as client:
        await client.list(CONFIG_MAPS)
        server.token = "second"
        with pytest.raises(Unauthorized):
            await client.list(CONFIG_MAPS)
        file.write_text("second\n")
        await client.list(CONFIG_MAPS)


async def test_watch_from_a_forgotten_version_is_gone(server, client):
    server.put(CONFIG_MAPS, config_map("a"))
    server.store.compact()
    async with aclosing(client.watch(CONFIG_MAPS, resource_version="1")) as events:
        with pytest.raises(Gone):
            await anext(events)


async def test_watch_ends_when_its_time_is_up(server, client):
    async with aclosing(client.watch(CONFIG_MAPS, resource_version="1", timeout=1)) as events:
        assert [event async for event in events] == []


async def test_a_watch_cut_inside_an_event_is_an_error(server, client):
    async with asyncio.TaskGroup() as group:

        async def follow():
            async with aclosing(client.watch(CONFIG_MAPS)) as events:
                return [event async for event in events]

        task = group.create_task(_catch(follow()))
        await server.watched()
        await server.break_watches(inside_event=True)
    assert isinstance(task.result(), ServerUnavailable)


async def _catch(coroutine):
    try:
        return await coroutine
    except ApiError as error:
        return error


async def test_a_closed_client_says_so(server):
    client = server.client()
    with pytest.raises(RuntimeError, match="not open"):
        await client.list(CONFIG_MAPS)


async def test_tls_with_a_client_certificate(tmp_path):
    authority = Authority.create("test")
    server = authority.issue_server("api", ["127.0.0.1", "api.test"])
    server.save(tmp_path / "server.crt", tmp_path / "server.key")
    user = authority.issue_client("jane", ["devs"])
    user.save(tmp_path / "user.crt", tmp_path / "user.key")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    (tmp_path / "config").write_text(KUBECONFIG)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    async def who(request):
        subject = dict(pair for (pair,) in request.transport.get_extra_info("peercert")["subject"])
        return web.json_response({"user": subject["commonName"], "groups": subject["organizationName"]})

    app = web.Application()
    app.router.add_get("/who", who)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        config = (tmp_path / "config").read_text().replace("PORT", str(port))
        (tmp_path / "config").write_text(config)
        async with Client(Endpoint.from_kubeconfig(tmp_path / "config")) as client:
            assert await client.request("GET", "/who") == {"user": "jane", "groups": "devs"}
        async with Client(Endpoint.from_kubeconfig(tmp_path / "config", "wrong-name"), retry_for=0) as client:
            with pytest.raises(ServerUnavailable, match="certificate"):
                await client.request("GET", "/who")
    finally:
        await runner.cleanup()


KUBECONFIG = """
current-context: test
contexts:
- {name: test, context: {cluster: test, user: jane}}
- {name: wrong-name, context: {cluster: wrong-name, user: jane}}
clusters:
- {name: test, cluster: {server: "https://127.0.0.1:PORT", certificate-authority: ca.crt, tls-server-name: api.test}}
- {name: wrong-name, cluster: {server: "https://127.0.0.1:PORT", certificate-authority: ca.crt, tls-server-name: x.y}}
users:
- {name: jane, user: {client-certificate: user.crt, client-key: user.key}}
"""
