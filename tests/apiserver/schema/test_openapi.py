"""OpenAPI documents: what kubectl looks for is there, and every reference leads somewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from wherry.apiserver.kinds.model import Resource
from wherry.apiserver.openapi import version2
from wherry.apiserver.openapi.answers import V2_PROTOBUF as PROTOBUF
from wherry.apiserver.openapi.answers import OpenApiAnswers
from wherry.apiserver.openapi.documents import Document, OpenApi, bundle, description
from wherry.apiserver.request import Query, Request, Response
from wherry.apiserver.schema.custom import CustomSchema
from wherry.apiserver.served import Registry, Served
from wherry.apiserver.storage import MemoryLog, Store

PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT = "x-kubernetes-int-or-string"
GVK = "x-kubernetes-group-version-kind"
POD = Resource(group="", version="v1", kind="Pod", plural="pods", singular="pod", namespaced=True)
DEPLOYMENT = Resource(
    group="apps", version="v1", kind="Deployment", plural="deployments", singular="deployment", namespaced=True
)
CHART = Resource(group="e.io", version="v1", kind="Chart", plural="charts", singular="chart", namespaced=True)


@pytest.fixture
def registry() -> Registry:
    return Registry(Store(MemoryLog()), [POD, DEPLOYMENT])


def serve_charts(registry: Registry, **properties: Any) -> None:
    schema = CustomSchema({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
    served = Served(CHART, registry.bucket("e.io", "charts"), custom=True, detail=schema)
    registry.replace_custom("e.io", "charts", [served])


def document(found: Document | None) -> dict[str, Any]:
    assert found is not None
    value: dict[str, Any] = json.loads(found.body)
    return value


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


def test_the_index_names_every_version_and_changes_with_it(registry: Registry) -> None:
    api = OpenApi(registry)
    paths = json.loads(api.index().body)["paths"]
    assert sorted(paths) == ["api/v1", "apis/apps/v1"]
    assert paths["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    serve_charts(registry, a={"type": "string"})
    first = json.loads(api.index().body)["paths"]
    assert first["api/v1"] == paths["api/v1"]
    serve_charts(registry, b={"type": "string"})
    assert json.loads(api.index().body)["paths"]["apis/e.io/v1"] != first["apis/e.io/v1"]


@pytest.mark.parametrize("path", ["api/v1", "apis/apps/v1"])
def test_documents_are_complete(registry: Registry, path: str) -> None:
    found = document(OpenApi(registry).document(path))
    schemas = found["components"]["schemas"]
    assert found["openapi"].startswith("3.0")
    assert {ref.removeprefix("#/components/schemas/") for ref in references(found)} <= set(schemas)
    assert '"type": "null"' not in json.dumps(found)


def test_what_kubectl_looks_for(registry: Registry) -> None:
    found = document(OpenApi(registry).document("apis/apps/v1"))
    mark = {"group": "apps", "version": "v1", "kind": "Deployment"}
    schema = found["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]
    assert schema["x-kubernetes-group-version-kind"] == [mark]
    patch = found["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == mark
    assert {"dryRun", "fieldValidation"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    containers = found["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"


def test_custom_kinds_are_described(registry: Registry) -> None:
    serve_charts(registry, size={"type": "integer", "description": "How big."})
    api = OpenApi(registry)
    found = document(api.document("apis/e.io/v1"))["components"]["schemas"]
    assert found["io.e.v1.Chart"]["properties"]["spec"]["properties"]["size"]["description"] == "How big."
    assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in found
    serve_charts(registry, other={"type": "string"})
    again = document(api.document("apis/e.io/v1"))["components"]["schemas"]["io.e.v1.Chart"]
    assert list(again["properties"]["spec"]["properties"]) == ["other"]


@pytest.mark.parametrize("path", ["apis/nosuch/v1", "api", "api/v2", "apis/apps", "", "apis/apps/v1/x"])
def test_unknown_documents(registry: Registry, path: str) -> None:
    assert OpenApi(registry).document(path) is None


def test_a_kind_may_have_a_field_named_like_a_keyword(registry: Registry) -> None:
    name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    properties = json.loads(bundle()[name])["properties"]
    assert properties["$ref"] == {"type": "string"}
    assert properties["allOf"]["type"] == "array"


def test_custom_kinds_have_what_every_kind_has(registry: Registry) -> None:
    serve_charts(registry, pod={"type": "object", "x-kubernetes-embedded-resource": True})
    found = document(OpenApi(registry).document("apis/e.io/v1"))
    schemas = found["components"]["schemas"]
    chart, listing = schemas["io.e.v1.Chart"], schemas["io.e.v1.ChartList"]
    assert chart["properties"]["kind"]["description"].startswith("Kind is a string value")
    assert sorted(listing["properties"]) == ["apiVersion", "items", "kind", "metadata"]
    pod = chart["properties"]["spec"]["properties"]["pod"]
    assert sorted(pod["properties"]) == ["apiVersion", "kind", "metadata"]
    assert pod["required"] == ["kind", "apiVersion"]
    patch = found["paths"]["/apis/e.io/v1/namespaces/{namespace}/charts/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "application/merge-patch+json" in patch["requestBody"]["content"]


def test_version_two(registry: Registry) -> None:
    serve_charts(registry, size={"type": "integer"})
    found = document(OpenApi(registry).v2())
    assert found["swagger"] == "2.0"
    assert {ref.removeprefix("#/definitions/") for ref in references(found)} <= set(found["definitions"])
    spec = found["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]
    assert spec["$ref"] == "#/definitions/io.k8s.api.core.v1.PodSpec"
    assert spec["description"].startswith("Specification of the desired behavior")
    assert found["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] == "string"
    patch = found["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in patch["consumes"]
    assert {"name": "fieldValidation", "in": "query", "type": "string"} in patch["parameters"]
    assert found["definitions"]["io.e.v1.Chart"]["properties"]["metadata"]["$ref"].startswith("#/definitions/")


def test_version_two_is_kept_until_the_kinds_change(registry: Registry) -> None:
    api = OpenApi(registry)
    first = api.v2(protobuf=True)
    assert api.v2(protobuf=True) is first
    assert api.v2().hash == first.hash
    assert b"io.e.v1.Chart" not in first.body
    serve_charts(registry, size={"type": "integer"})
    second = api.v2(protobuf=True)
    assert second.hash != first.hash
    assert b"io.e.v1.Chart" in second.body


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "nullable": True}, {}),
        ({"type": "object", "nullable": True, "properties": {"a": {}}}, {}),
        ({"type": "object", PRESERVE: True, "properties": {"a": {}}}, {PRESERVE: True}),
        ({"type": "array", PRESERVE: True, "items": {}}, {PRESERVE: True}),
        ({"type": "array"}, {}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}], INT: True}, {INT: True}),
        ({"not": {}, "oneOf": [{}], "allOf": [{"minimum": 1}], "type": "integer"}, {"type": "integer"}),
        ({"allOf": [{"$ref": "#/components/schemas/a"}]}, {"$ref": "#/definitions/a"}),
        (
            {"required": ["a", "b"], "properties": {"a": {"nullable": True}}},
            {"required": ["b"], "properties": {"a": {}}},
        ),
        ({"required": ["a"], "properties": {"a": {"nullable": True}}}, {"properties": {"a": {}}}),
        ({"required": ["a"], "additionalProperties": {"nullable": True}}, {"additionalProperties": {}}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"items": {"items": {"oneOf": []}}}, {"items": {"items": {}}}),
        ({"properties": {"allOf": {"type": "array"}}}, {"properties": {"allOf": {}}}),
    ],
)
def test_schemas_of_version_two_hold_what_kubectl_can_read(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert version2.convert(schema) == expected


def test_a_kind_that_keeps_unknown_fields_is_only_named() -> None:
    mark = [{"group": "e.io", "version": "v1", "kind": "Free"}]
    whole = {"type": "object", PRESERVE: True, GVK: mark, "properties": {"kind": {"type": "string"}}}
    assert version2.definition("io.e.v1.Free", whole) == {"type": "object", GVK: mark}


def ask(answers: OpenApiAnswers, target: str, **headers: str) -> Response:
    path, _, query = target.partition("?")

    async def no_body() -> bytes:
        return b""

    request = Request("GET", target, path, Query(query), headers, no_body, lambda name: [], list)
    found = answers.answer(request, path.strip("/").split("/"))
    assert isinstance(found, Response)
    return found


@pytest.mark.parametrize(
    ("accept", "status", "content_type"),
    [
        ("", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", 200, PROTOBUF),
        ("application/com.github.proto-openapi.spec.v2.v1.0+protobuf, application/json;q=0.5", 200, PROTOBUF),
        ("text/plain", 406, ""),
    ],
)
def test_the_media_type_of_version_two(registry: Registry, accept: str, status: int, content_type: str) -> None:
    found = ask(OpenApiAnswers(registry, version="v1"), "/openapi/v2", accept=accept)
    assert (found.status, found.content_type) == (status, content_type)
    assert ("Vary", "Accept") in found.headers
    assert found.body[:1] == {"application/json": b"{", PROTOBUF: b"\n"}.get(content_type, b"")


@pytest.mark.parametrize("target", ["/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1"])
def test_what_a_client_has_is_not_sent_again(registry: Registry, target: str) -> None:
    answers = OpenApiAnswers(registry, version="v1")
    first = ask(answers, target)
    etag = dict(first.headers)["ETag"]
    again = ask(answers, target, **{"if-none-match": etag})
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert ask(answers, target, **{"if-none-match": '"other"'}).status == 200


def test_documents_asked_for_by_their_hash_are_kept(registry: Registry) -> None:
    answers = OpenApiAnswers(registry, version="v1")
    target = json.loads(ask(answers, "/openapi/v3").body)["paths"]["api/v1"]["serverRelativeURL"]
    assert dict(ask(answers, target).headers)["Cache-Control"] == "public, immutable"
    assert "Expires" in dict(ask(answers, target).headers)
    assert "Cache-Control" not in dict(ask(answers, "/openapi/v3/api/v1").headers)
    moved = ask(answers, "/openapi/v3/api/v1?hash=OLD")
    assert (moved.status, dict(moved.headers)["Location"]) == (301, target)


def test_descriptions() -> None:
    assert description("", "v1", "Pod", ".metadata.name").startswith("Name must be unique")
    assert description("apps", "v1", "Deployment", ".spec.replicas").startswith("Number of desired pods")
    assert description("", "v1", "Pod", ".spec.nope") == ""
    assert description("e.io", "v1", "Chart", ".spec") == ""


def test_the_data_files_are_there() -> None:
    folder = Path(__file__).parents[3] / "wherry" / "apiserver" / "schema"
    assert sorted(path.name for path in folder.glob("*.gz")) == ["openapi.json.gz", "types.json.gz"]
