"""What goes along with answers: warnings about kinds, conditions of rows, the state that a deletion leaves."""

from __future__ import annotations

import asyncio
from typing import Any

from wherry.apiserver.testing import Running

DEFAULT = "/api/v1/namespaces/default"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(*versions: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Boat", "plural": "boats"},
            "versions": [
                {"served": True, "storage": index == 0, "schema": {"openAPIV3Schema": {"type": "object"}}, **version}
                for index, version in enumerate(versions)
            ],
        },
    }


async def test_every_answer_about_a_deprecated_kind_warns(api: Running) -> None:
    text = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    assert (await api.ask("GET", f"{DEFAULT}/endpoints")).headers.getall("Warning") == [text]
    missing = await api.ask("GET", f"{DEFAULT}/endpoints/none")
    assert (missing.status, missing.headers.getall("Warning")) == (404, [text])
    assert "Warning" not in (await api.ask("GET", f"{DEFAULT}/configmaps")).headers


async def test_deprecated_versions_of_custom_kinds_warn(api: Running) -> None:
    versions = (
        {"name": "v3"},
        {"name": "v2", "deprecated": True, "deprecationWarning": "sail v3"},
        {"name": "v1", "deprecated": True},
    )
    assert (await api.ask("POST", CRDS, definition(*versions))).status == 201
    path = "/apis/example.com/{}/namespaces/default/boats".format
    await api.eventually(path("v3"), lambda answer: answer.status == 200)
    assert "Warning" not in (await api.ask("GET", path("v3"))).headers
    assert (await api.ask("GET", path("v2"))).headers["Warning"] == '299 - "sail v3"'
    assert (await api.ask("GET", path("v1"))).headers["Warning"] == '299 - "example.com/v1 Boat is deprecated"'


async def test_columns_of_custom_kinds_reach_labels_with_dots(api: Running) -> None:
    columns = [
        {"name": "Fleet", "type": "string", "jsonPath": ".metadata.labels.example\\.com/fleet"},
        {"name": "Odd", "type": "string", "jsonPath": ".items[?(@.a && @.b)]"},
    ]
    made = await api.ask("POST", CRDS, definition({"name": "v1", "additionalPrinterColumns": columns}))
    assert made.status == 201, made.body
    path = "/apis/example.com/v1/namespaces/default/boats"
    await api.eventually(path, lambda answer: answer.status == 200)
    boat = {"apiVersion": "example.com/v1", "kind": "Boat"}
    await api.ask("POST", path, {**boat, "metadata": {"name": "b", "labels": {"example.com/fleet": "north"}}})
    [row] = (await api.ask("GET", path, Accept=TABLE)).body["rows"]
    assert row["cells"] == ["b", "north", None]


async def test_finalizers_of_custom_objects_need_no_slash(api: Running) -> None:
    assert (await api.ask("POST", CRDS, definition({"name": "v1"}))).status == 201
    path = "/apis/example.com/v1/namespaces/default/boats"
    await api.eventually(path, lambda answer: answer.status == 200)
    boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "b", "finalizers": ["keel.boats.io"]}}
    assert (await api.ask("POST", path, boat)).status == 201
    change = {"metadata": {"finalizers": ["mast.boats.io"]}}
    changed = await api.ask("PATCH", f"{path}/b", change, Content_Type="application/merge-patch+json")
    assert changed.body["metadata"]["finalizers"] == ["mast.boats.io"]
    change = {"metadata": {"finalizers": ["-"]}}
    refused = await api.ask("PATCH", f"{path}/b", change, Content_Type="application/merge-patch+json")
    assert refused.status == 422


async def test_rows_of_finished_pods_say_so(api: Running) -> None:
    await api.ask("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "default"}})
    pods = f"{DEFAULT}/pods"
    await api.ask("POST", pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert "conditions" not in (await api.ask("GET", pods, Accept=TABLE)).body["rows"][0]
    done = {"status": {"phase": "Succeeded"}}
    await api.ask("PATCH", f"{pods}/p/status", done, Content_Type="application/merge-patch+json")
    (row,) = (await api.ask("GET", pods, Accept=TABLE)).body["rows"]
    assert [(one["type"], one["reason"]) for one in row["conditions"]] == [("Completed", "Succeeded")]


async def test_pods_of_a_new_namespace_wait_for_its_account(api: Running) -> None:
    await api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "new"}})
    spec = {"containers": [{"name": "c", "image": "i"}]}
    pod = {"metadata": {"name": "p"}, "spec": spec}
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        made = tasks.create_task(api.ask("POST", "/api/v1/namespaces/new/pods", pod))
        # A read that is answered later than the create was sent: the create waits by now.
        assert (await api.ask("GET", "/api/v1/namespaces/new/pods")).body["items"] == []
        assert not made.done()
        await api.ask("POST", "/api/v1/namespaces/new/serviceaccounts", {"metadata": {"name": "other"}})
        await api.ask("POST", "/api/v1/namespaces/new/serviceaccounts", {"metadata": {"name": "default"}})
    assert (await made).body["spec"]["serviceAccountName"] == "default"
    # Accounts that people make are not waited for.
    pod["spec"] = {**spec, "serviceAccountName": "people-s"}
    refused = await api.ask("POST", "/api/v1/namespaces/new/pods", pod)
    assert refused.status == 403


async def test_a_deletion_answers_the_object_as_of_the_deletion(api: Running) -> None:
    accounts = f"{DEFAULT}/serviceaccounts"
    made = await api.ask("POST", accounts, {"metadata": {"name": "bot"}})
    deleted = await api.ask("DELETE", f"{accounts}/bot")
    assert (deleted.body["kind"], deleted.body["metadata"]["uid"]) == ("ServiceAccount", made.body["metadata"]["uid"])
    assert int(deleted.body["metadata"]["resourceVersion"]) > int(made.body["metadata"]["resourceVersion"])
    await api.ask("POST", f"{DEFAULT}/configmaps", {"metadata": {"name": "c"}})
    assert (await api.ask("DELETE", f"{DEFAULT}/configmaps/c")).body["kind"] == "Status"


async def test_unknown_field_labels_are_refused_in_the_words_of_the_kind(api: Running) -> None:
    async def refused(path: str) -> str:
        answer = await api.ask("GET", f"{path}?fieldSelector=spec.odd=1")
        assert answer.status == 400
        return str(answer.body["message"])

    known = '"spec.odd" is not a known field selector: only "metadata.name", "metadata.namespace"'
    assert await refused(f"{DEFAULT}/configmaps") == known
    assert await refused(f"{DEFAULT}/pods") == "field label not supported: spec.odd"
    assert await refused("/apis/batch/v1/jobs") == 'field label "spec.odd" not supported for batchv1.Job'
