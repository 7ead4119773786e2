from __future__ import annotations

import pytest

from wherry.sandbox import isolation
from wherry.sandbox.layout import NodeEntry


def nodes(**isolated_from: list[str]) -> list[NodeEntry]:
    return [
        NodeEntry(name, number, isolated_from=isolated_from.get(name, [])) for number, name in enumerate("abc", start=1)
    ]


@pytest.mark.parametrize(
    ("before", "what", "after"),
    [
        ([], [], ["control-plane", "nodes"]),
        ([], ["b"], ["b"]),
        (["b"], ["c", "b"], ["b", "c"]),
        (["b"], ["control-plane"], ["b", "control-plane"]),
        (["b", "control-plane"], ["nodes"], ["control-plane", "nodes"]),
        (["nodes"], ["b"], ["nodes"]),
    ],
)
def test_cuts_add_up(before: list[str], what: list[str], after: list[str]) -> None:
    node = NodeEntry("a", 1, isolated_from=before)
    isolation.cut(node, what)
    assert node.isolated_from == after
    isolation.cut(node, what)
    assert node.isolated_from == after


def test_both_sides_of_a_cut_show_it_and_healing_one_heals_both() -> None:
    all_nodes = nodes(a=["b"], c=["nodes", "control-plane"])
    a, b, c = all_nodes
    assert [isolation.isolated(each, all_nodes) for each in all_nodes] == [["b"], ["a"], ["control-plane", "nodes"]]
    isolation.heal(b, all_nodes)
    assert [each.isolated_from for each in (a, b, c)] == [[], [], ["nodes", "control-plane"]]


def dropped(text: str) -> dict[str, list[str]]:
    """The drop rules of a ruleset by hook."""
    found: dict[str, list[str]] = {}
    hook = ""
    for line in text.splitlines():
        if line.startswith("type filter hook"):
            hook = line.split()[3]
        elif line.endswith("drop"):
            found.setdefault(hook, []).append(line)
    return {hook: sorted(lines) for hook, lines in found.items()}


def test_rules_of_the_bridge() -> None:
    assert dropped(isolation.ruleset(nodes(a=["b"]))) == {
        "forward": ['iifname "node1" oifname "node2" drop', 'iifname "node2" oifname "node1" drop']
    }
    assert dropped(isolation.ruleset(nodes(a=["control-plane", "nodes"]))) == {
        "forward": ['iifname "node1" drop', 'oifname "node1" drop'],
        "input": ['iifname "node1" drop'],
        "output": ['oifname "node1" drop'],
    }
    # Without a cut the table only goes; a node that is gone is no reason for a rule.
    for none in (nodes(), nodes(a=["gone"])):
        assert isolation.ruleset(none) == "table bridge wherry-isolation\ndelete table bridge wherry-isolation\n"
