"""A whole server: sockets, identities, writes, restarts, and how it stops."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import aiohttp
import pytest
from aiohttp import ClientConnectionResetError
from aiohttp.test_utils import make_mocked_request

from wherry.apiserver import front
from wherry.apiserver.config import ApiServerConfig, ConfigError
from wherry.apiserver.request import Stream
from wherry.apiserver.server import ApiServer
from wherry.apiserver.storage import StorageError
from wherry.apiserver.testing import ADMIN_TOKEN, AGGREGATED, ALICE_TOKEN, Running, running

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_it_is_ready_and_has_what_a_cluster_begins_with(api: Running) -> None:
    assert (await api.ask("GET", "/readyz", token="")).body == b"ok"
    assert b"[+]ping ok" in (await api.ask("GET", "/livez?verbose", token="")).body
    names = [one["metadata"]["name"] for one in (await api.ask("GET", "/api/v1/namespaces")).body["items"]]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    service = (await api.ask("GET", "/api/v1/namespaces/default/services/kubernetes")).body
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    found = (await api.ask("GET", slices)).body
    assert (found["endpoints"][0]["addresses"], found["ports"][0]["port"]) == (["127.0.0.1"], 6443)
    assert (await api.ask("GET", "/version")).body["gitVersion"].startswith("v1.36")
    assert b"apiserver_storage_objects" in (await api.ask("GET", "/metrics")).body


async def test_callers_are_who_their_credentials_say(api: Running) -> None:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert (await api.ask("POST", path, review)).body["status"]["userInfo"]["username"] == "admin"
    assert (await api.ask("GET", "/api/v1/pods", token="wrong")).status == 401
    assert (await api.ask("GET", "/healthz", token="wrong")).status == 401
    denied = await api.ask("GET", "/api/v1/pods", token="")
    assert denied.status == 403
    assert 'User "system:anonymous" cannot list resource "pods"' in denied.body["message"]
    assert (await api.ask("GET", "/api/v1/pods", token=ALICE_TOKEN)).status == 403
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{api.port}{path}"
        async with session.post(url, json=review, ssl=api.tls("carol")) as response:
            info = (await response.json())["status"]["userInfo"]
            assert (info["username"], info["groups"]) == ("carol", ["system:masters", "system:authenticated"])
        async with session.get(f"https://127.0.0.1:{api.port}/api/v1/pods", ssl=api.tls("dave")) as response:
            assert response.status == 403
        async with session.get(f"https://127.0.0.1:{api.port}/healthz", ssl=api.tls()) as response:
            assert response.status == 200


async def test_impersonation_needs_the_right_to_it(api: Running) -> None:
    granted = await api.ask("GET", "/api/v1/pods", impersonate_user="alice", impersonate_group="system:masters")
    assert granted.status == 200
    assert (await api.ask("GET", "/api/v1/pods", impersonate_user="alice")).status == 403
    refused = await api.ask("GET", "/api/v1/pods", token=ALICE_TOKEN, impersonate_user="root")
    assert refused.status == 403
    assert "cannot impersonate" in refused.body["message"]


async def test_a_service_account_token_lives_as_long_as_what_it_is_bound_to(api: Running) -> None:
    accounts, pods = "/api/v1/namespaces/default/serviceaccounts", "/api/v1/namespaces/default/pods"
    for name in ("default", "bot"):
        made = await api.ask("POST", accounts, {"metadata": {"name": name}})
        assert made.status == 201
    spec = {"serviceAccountName": "bot", "containers": [{"name": "c", "image": "i"}]}
    pod = (await api.ask("POST", pods, {"metadata": {"name": "p"}, "spec": spec})).body
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}
    request = {"spec": {"boundObjectRef": reference}}
    made = await api.ask("POST", f"{accounts}/bot/token", request)
    assert made.status == 201, made.body
    token = made.body["status"]["token"]
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    info = (await api.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, token=token)).body
    assert info["status"]["userInfo"]["username"] == "system:serviceaccount:default:bot"
    assert info["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    keys = (await api.ask("GET", "/openid/v1/jwks")).body
    assert keys["keys"][0]["alg"] == "ES256"
    other = await api.ask("POST", f"{accounts}/bot/token", {"spec": {"audiences": ["vault"]}})
    assert (await api.ask("GET", "/version", token=other.body["status"]["token"])).status == 401
    await api.ask("DELETE", f"{pods}/p?gracePeriodSeconds=0")
    assert (await api.ask("GET", "/version", token=token)).status == 401


async def test_a_body_over_the_limit_is_refused(api: Running) -> None:
    answer = await api.ask("POST", CONFIG_MAPS, b'{"x":"' + b"x" * (3 << 20) + b'"}')
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_broken_bodies_never_end_in_a_500(api: Running) -> None:
    odd = (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe")
    bodies = (*odd, b'{"metadata":5}', b'{"metadata":{"name":5}}', b"[" * 5000)
    for body in bodies:
        for kind in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"):
            answer = await api.ask("POST", CONFIG_MAPS, body, Content_Type=kind)
            assert 400 <= answer.status < 500, (body[:20], kind, answer.body)
    for kind in ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"):
        await api.ask("POST", CONFIG_MAPS, config("patched"))
        for body in bodies:
            path = f"{CONFIG_MAPS}/patched?fieldManager=m"
            answer = await api.ask("PATCH", path, body, Content_Type=f"application/{kind}")
            assert answer.status < 500, (body[:20], kind, answer.body)


async def next_event(response: aiohttp.ClientResponse) -> dict[str, Any] | None:
    async with asyncio.timeout(5):
        line = await response.content.readline()
    return json.loads(line) if line else None


async def test_a_client_that_leaves_before_a_watch_begins_is_no_error() -> None:
    writer = Mock(write_headers=AsyncMock(side_effect=ClientConnectionResetError("closing")))
    base = make_mocked_request("GET", "/", writer=writer)
    run = AsyncMock()
    response = await front._stream(base, Mock(warnings=[]), Stream(run=run))
    assert response._eof_sent
    run.assert_not_awaited()


async def test_stopping_ends_watches_cleanly_and_a_restart_resumes_them(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        await api.ask("POST", CONFIG_MAPS, config("one"))
        listed = (await api.ask("GET", CONFIG_MAPS)).body
        version = listed["metadata"]["resourceVersion"]
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        url = f"http://wherry{CONFIG_MAPS}?watch=true&resourceVersion={version}"
        response = await api.unix.get(url, headers=headers)
        await api.ask("POST", CONFIG_MAPS, config("two"))
        event = await next_event(response)
        assert event is not None
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "two")
        ended = asyncio.get_running_loop().create_task(next_event(response))
    assert await ended is None  # no error, no broken chunk
    async with running(tmp_path) as api:
        url = f"http://wherry{CONFIG_MAPS}?watch=true&resourceVersion={version}"
        response = await api.unix.get(url, headers=headers)
        event = await next_event(response)
        assert event is not None
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "two")
        response.close()


async def test_addresses_of_services_stay_taken_over_a_restart(tmp_path: Path) -> None:
    path = "/api/v1/namespaces/default/services"
    service = {"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    async with running(tmp_path) as api:
        first = (await api.ask("POST", path, service)).body["spec"]
    async with running(tmp_path) as api:
        fixed = {"clusterIP": first["clusterIP"], "ports": [{"port": 80}]}
        taken = await api.ask("POST", path, {"metadata": {"name": "b"}, "spec": fixed})
        assert taken.status == 422
        assert "already allocated" in taken.body["message"]
        await api.ask("DELETE", f"{path}/a")
        assert (await api.ask("POST", path, {"metadata": {"name": "b"}, "spec": fixed})).status == 201


async def test_a_definition_adds_a_resource_and_takes_it_away_with_its_objects(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {
        "type": "integer", "default": 3}}}}}  # fmt: skip
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
               "subresources": {"status": {}}}  # fmt: skip
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    path = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"odd": 1}}
    async with running(tmp_path) as api:
        before = (await api.ask("GET", "/apis", Accept=AGGREGATED)).headers["ETag"]
        made = await api.ask("POST", CRDS, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
        assert made.status == 201, made.body
        await api.eventually(path, lambda answer: answer.status == 200)
        after = (await api.ask("GET", "/apis", Accept=AGGREGATED)).headers["ETag"]
        assert before != after
        stored = (await api.ask("POST", path, widget)).body
        assert stored["spec"] == {"size": 3}  # pruned and defaulted
    async with running(tmp_path) as api:
        assert (await api.ask("GET", f"{path}/w")).body["spec"] == {"size": 3}
        again = {**spec, "group": "example.com", "names": {**names, "plural": "gadgets", "singular": "gadget"}}
        await api.ask("POST", CRDS, {"metadata": {"name": "gadgets.example.com"}, "spec": again})
        path_of = f"{CRDS}/gadgets.example.com"
        found = (await api.eventually(path_of, lambda one: bool(one.body["status"]["conditions"]))).body
        found = found["status"]["conditions"]
        assert {one["type"]: one["status"] for one in found} == {"NamesAccepted": "False", "Established": "False"}
        gone = await api.ask("DELETE", f"{CRDS}/widgets.example.com")
        assert gone.body["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        await api.eventually(f"{CRDS}/widgets.example.com", lambda answer: answer.status == 404)
        assert (await api.ask("GET", path)).status == 404


async def test_settings_that_cannot_work_are_refused_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="node ports"):
        ApiServer(ApiServerConfig(data_dir=None, service_node_port_range=(5, 4)))
    with pytest.raises(ConfigError, match="token file"):
        await ApiServer(ApiServerConfig(data_dir=None, token_file=tmp_path / "none")).run()
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "state.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match=r"state\.db"):
        await ApiServer(ApiServerConfig(data_dir=tmp_path)).run()


async def test_a_disk_that_fails_fails_requests_and_nothing_else(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from wherry.apiserver.storage import sqlite

    def fail(self: Any, batch: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(sqlite.SqliteLog, "_write", fail)
        answer = await api.ask("POST", CONFIG_MAPS, config("lost"))
        assert (answer.status, answer.body["reason"]) == (500, "InternalError")
        assert "No space left" in answer.body["message"]
    assert (await api.ask("GET", f"{CONFIG_MAPS}/lost")).status == 404
    assert (await api.ask("POST", CONFIG_MAPS, config("lost"))).status == 201
