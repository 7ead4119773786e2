"""OpenAPI documents: what kubectl looks for is there, and every reference leads somewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from wherry.apiserver.kinds.model import Resource
from wherry.apiserver.openapi import OpenApi, description
from wherry.apiserver.schema.custom import CustomSchema
from wherry.apiserver.served import Registry, Served
from wherry.apiserver.storage import MemoryLog, Store

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


def document(found: bytes | None) -> dict[str, Any]:
    assert found is not None
    value: dict[str, Any] = json.loads(found)
    return value


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


def test_the_index_names_every_version_and_changes_with_it(registry: Registry) -> None:
    api = OpenApi(registry)
    paths = json.loads(api.index())["paths"]
    assert sorted(paths) == ["api/v1", "apis/apps/v1"]
    assert paths["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    serve_charts(registry, a={"type": "string"})
    first = json.loads(api.index())["paths"]
    assert first["api/v1"] == paths["api/v1"]
    serve_charts(registry, b={"type": "string"})
    assert json.loads(api.index())["paths"]["apis/e.io/v1"] != first["apis/e.io/v1"]


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


def test_version_two(registry: Registry) -> None:
    found = document(OpenApi(registry).v2())
    assert found["swagger"] == "2.0"
    assert {ref.removeprefix("#/definitions/") for ref in references(found)} <= set(found["definitions"])
    spec = found["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]
    assert spec["$ref"] == "#/definitions/io.k8s.api.core.v1.PodSpec"


def test_descriptions() -> None:
    assert description("", "v1", "Pod", ".metadata.name").startswith("Name must be unique")
    assert description("apps", "v1", "Deployment", ".spec.replicas").startswith("Number of desired pods")
    assert description("", "v1", "Pod", ".spec.nope") == ""
    assert description("e.io", "v1", "Chart", ".spec") == ""


def test_the_data_files_are_there() -> None:
    folder = Path(__file__).parents[3] / "wherry" / "apiserver" / "schema"
    assert sorted(path.name for path in folder.glob("*.gz")) == ["openapi.json.gz", "types.json.gz"]
