"""The bundle: every kind resolves, and the marks that patches live on are there."""

import pytest

from wherry.apiserver.schema.bundle import kinds, schema_for
from wherry.apiserver.schema.model import Schema, Type


def test_every_type_of_every_kind_resolves() -> None:
    seen: set[int] = set()
    todo: list[Schema] = [found for key in kinds() if (found := schema_for(*key)) is not None]
    assert len(todo) == len(kinds())
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.type in (Type.LIST, Type.MAP) or node.type.value.startswith("schemaOr"):
            todo.append(node.items)
        todo.extend(field.schema for field in node.fields.values())
    assert len(seen) > 700


def test_marks_of_a_container() -> None:
    pod = schema_for("", "v1", "Pod")
    assert pod is not None
    containers = pod.fields["spec"].schema.fields["containers"]
    assert (containers.patch_strategy, containers.patch_key) == (frozenset({"merge"}), "name")
    assert (containers.list_type, containers.list_keys) == ("map", ("name",))
    container = containers.schema.items
    assert container.go == "v1.Container"
    assert container.fields["ports"].list_keys == ("containerPort", "protocol")
    assert container.fields["ports"].schema.items.fields["protocol"].default == "TCP"
    assert container.fields["livenessProbe"].pointer
    assert not container.fields["image"].pointer


def test_inlined_structs_keep_their_place_and_protobuf_path() -> None:
    pod = schema_for("", "v1", "Pod")
    assert pod is not None
    volume = pod.fields["spec"].schema.fields["volumes"].schema.items
    assert list(volume.fields)[:2] == ["name", "hostPath"]
    assert volume.fields["secret"].path == (2, 6)
    assert pod.fields["kind"].path == ()


@pytest.mark.parametrize("group", ["", "apps", "policy"])
def test_delete_options_belong_to_every_group(group: str) -> None:
    found = schema_for(group, "v1", "DeleteOptions")
    assert found is not None
    assert found.go == "v1.DeleteOptions"


def test_unknown_kinds_have_none() -> None:
    assert schema_for("", "v1", "Nope") is None
    assert schema_for("example.com", "v1", "Pod") is None
