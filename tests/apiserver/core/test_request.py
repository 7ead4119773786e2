"""Paths, queries and Accept headers."""

from __future__ import annotations

import pytest

from wherry.apiserver.kinds.model import Refusal
from wherry.apiserver.negotiate import Format, negotiate
from wherry.apiserver.request import Query, Route, parse_route, split_target

JSON = "application/json"


def route(method: str, target: str) -> Route:
    path, query = split_target(target)
    return parse_route(method, path, Query(query))


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/api/v1/pods", Route("list", "", "v1", "", "pods")),
        ("GET", "/api/v1/pods/", Route("list", "", "v1", "", "pods")),
        ("GET", "/api/v1/namespaces/a/pods/p", Route("get", "", "v1", "a", "pods", "p")),
        ("GET", "/api/v1/namespaces/a", Route("get", "", "v1", "a", "namespaces", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", Route("update", "", "v1", "a", "namespaces", "a", "finalize")),
        ("GET", "/api/v1/namespaces?watch=true", Route("watch", "", "v1", "", "namespaces")),
        ("GET", "/api/v1/namespaces?watch=false", Route("list", "", "v1", "", "namespaces")),
        ("GET", "/api/v1/watch/namespaces/a/pods/p", Route("watch", "", "v1", "a", "pods", "p")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments",
         Route("deletecollection", "apps", "v1", "a", "deployments")),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale",
         Route("patch", "apps", "v1", "a", "deployments", "d", "scale")),
        ("GET", "/api/v1/namespaces/a/services/s/proxy/x/y",
         Route("get", "", "v1", "a", "services", "s", "proxy", "x/y")),
        ("GET", "/api/v1/namespaces/a/pods/p%2Fq", Route("get", "", "v1", "a", "pods", "p", "q")),
        ("GET", "/api/v1//pods", Route("get", "", "v1", "", "", "pods", malformed=True)),
        ("GET", "/api/v1", Route("get")),
        ("GET", "/healthz", Route("get")),
        ("OPTIONS", "/api/v1/pods", Route("", "", "v1", "", "pods")),
    ],
)  # fmt: skip
def test_what_a_path_asks_for(method: str, target: str, expected: Route) -> None:
    assert route(method, target) == expected


def test_query_values_may_repeat_and_be_empty() -> None:
    query = Query("a=1&a=2&b=&c")
    assert query.all("a") == ["1", "2"]
    assert (query.get("a"), query.get("b"), query.get("x", "d")) == ("1", "", "d")
    assert "c" in query
    assert query.flag("c")
    assert not Query("c=0").flag("c")


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format()),
        ("*/*", Format()),
        ("application/vnd.kubernetes.protobuf,application/json", Format()),
        ("application/yaml", Format("application/yaml")),
        ("application/xml;q=0.9, application/json;q=0.1", Format()),
        (f"{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Format(JSON, "Table", "v1")),
        ("application/json;as=Odd;g=meta.k8s.io;v=v1, application/json", Format()),
    ],
)
def test_the_first_form_that_can_be_given_is_taken(accept: str, expected: Format) -> None:
    assert negotiate(accept) == expected


@pytest.mark.parametrize("accept", ["application/xml", "application/cbor", "application/vnd.kubernetes.protobuf"])
def test_nothing_acceptable_is_refused(accept: str) -> None:
    with pytest.raises(Refusal) as caught:
        negotiate(accept)
    assert caught.value.code == 406
