from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.model import Column
from wherry.apiserver.kinds.table import builtin_resources
from wherry.apiserver.schema.bundle import schema_for

ROWS = builtin_resources()
BY_NAME = {f"{row.plural}.{row.group}".rstrip("."): row for row in ROWS}
SERVED = {name: row for name, row in BY_NAME.items() if "list" in row.verbs}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _minimal(row):
    obj = {"metadata": {"name": "x", "creationTimestamp": "2025-12-31T23:59:00Z"}}
    row.default(obj)
    return obj


def test_every_kind_of_the_foundation_is_there():
    wanted = {
        "namespaces", "nodes", "pods", "services", "endpoints", "configmaps", "secrets", "serviceaccounts", "events",
        "endpointslices.discovery.k8s.io", "events.events.k8s.io", "leases.coordination.k8s.io", "deployments.apps",
        "replicasets.apps", "daemonsets.apps", "roles.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io", "customresourcedefinitions.apiextensions.k8s.io",
    }  # fmt: skip
    assert wanted <= set(BY_NAME)


def test_no_row_twice():
    rows = [(row.group, row.version, row.plural) for row in ROWS]
    assert len(set(rows)) == len(rows)
    kinds = [(row.group, row.version, row.kind) for row in ROWS]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("name", BY_NAME)
def test_each_row_has_a_schema(name):
    row = BY_NAME[name]
    assert schema_for(row.group, row.version, row.kind) is not None


@pytest.mark.parametrize("name", SERVED)
def test_each_object_has_a_cell_per_column(name):
    row = SERVED[name]
    cells = (row.cells or printing.name_and_age)(_minimal(row), NOW)
    assert len(cells) == len(row.columns)


@pytest.mark.parametrize("name", SERVED)
def test_defaulting_twice_changes_nothing(name):
    row = SERVED[name]
    obj = _minimal(row)
    once = repr(obj)
    row.default(obj)
    assert repr(obj) == once


@pytest.mark.parametrize("name", SERVED)
def test_selectable_fields_are_declared(name):
    row = SERVED[name]
    offered = set(row.selectable_fields(_minimal(row)))
    assert offered <= set(row.field_labels) | {"metadata.namespace"}
    assert "metadata.name" in offered


@pytest.mark.parametrize("name", SERVED)
def test_columns_are_of_known_types(name):
    for column in SERVED[name].columns:
        assert isinstance(column, Column)
        assert column.type in ("string", "integer", "boolean", "date")


def test_unknown_field_labels_are_refused_in_the_words_of_their_kind():
    assert BY_NAME["pods"].unknown_field_label("x") == "field label not supported: x"
    assert BY_NAME["replicasets.apps"].unknown_field_label("x") == (
        '"x" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (130, "2m10s"), (599, "9m59s"),
        (600, "10m"), (3 * 3600 - 1, "179m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (8 * 3600, "8h"),
        (47 * 3600, "47h"), (48 * 3600, "2d"), (49 * 3600, "2d1h"), (8 * 86400, "8d"), (400 * 86400, "400d"),
        (800 * 86400, "2y70d"), (8 * 365 * 86400, "8y"),
    ],
)  # fmt: skip
def test_ages(seconds, text):
    assert printing.human_duration(seconds) == text


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (None, "<none>"),
        ({}, "<none>"),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "k", "operator": "In", "values": ["y", "x"]}]}, "k in (x,y)"),
        ({"matchExpressions": [{"key": "k", "operator": "DoesNotExist"}]}, "!k"),
    ],
)
def test_selectors_as_text(selector, text):
    assert printing.label_selector(selector) == text
