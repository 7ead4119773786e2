"""Network partitions: which nodes of a sandbox do not hear which others, as rules of the bridge they are plugged into.

A node is cut from the control plane, from all other nodes (those that come later too) or from single ones; a cut works
both ways and for every frame, ARP and neighbour discovery included. The node itself is not told: its interface stays
up, its processes and pods run on, connections hang as they do when a switch between racks fails.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

from wherry.kernel.nft import find_nft
from wherry.sandbox.layout import NodeEntry
from wherry.sandbox.network import port

CONTROL_PLANE = "control-plane"
NODES = "nodes"
EVERYTHING = (CONTROL_PLANE, NODES)
"""Words that stand for a part of the cluster; no node has such a name."""

_TABLE = "wherry-isolation"


class IsolationError(Exception):
    """The bridge's rules could not be changed; the message carries nft's words."""


def cut(node: NodeEntry, what: Iterable[str]) -> None:
    """Note that a node is cut from these parts and nodes, besides what it is cut from; nothing means everything."""
    wanted = {*node.isolated_from, *(what or EVERYTHING)}
    # Single nodes say nothing new once all are meant.
    node.isolated_from = sorted(wanted & set(EVERYTHING) if NODES in wanted else wanted)


def heal(node: NodeEntry, nodes: Iterable[NodeEntry]) -> None:
    """Forget every cut of a node, also those that others were given towards it by name."""
    node.isolated_from = []
    for other in nodes:
        other.isolated_from = [each for each in other.isolated_from if each != node.name]


def isolated(node: NodeEntry, nodes: Iterable[NodeEntry]) -> list[str]:
    """What a node is cut from, whichever side was told."""
    by_others = [other.name for other in nodes if other.name != node.name and node.name in other.isolated_from]
    return sorted({*node.isolated_from, *(by_others if NODES not in node.isolated_from else ())})


def ruleset(nodes: Sequence[NodeEntry]) -> str:
    """The nft commands that replace the bridge's rules by those that the nodes' cuts ask for. Pure."""
    numbers = {node.name: node.number for node in nodes}
    between: list[str] = []
    arriving: list[str] = []
    leaving: list[str] = []
    for node in nodes:
        mine = port(node.number)
        if CONTROL_PLANE in node.isolated_from:
            arriving.append(f'iifname "{mine}" drop')
            leaving.append(f'oifname "{mine}" drop')
        if NODES in node.isolated_from:
            between += [f'iifname "{mine}" drop', f'oifname "{mine}" drop']
        for name in node.isolated_from:
            if name in numbers:
                theirs = port(numbers[name])
                between += [f'iifname "{a}" oifname "{b}" drop' for a, b in ((mine, theirs), (theirs, mine))]
    lines = [f"table bridge {_TABLE}", f"delete table bridge {_TABLE}"]
    if between or arriving or leaving:
        lines.append(f"table bridge {_TABLE} {{")
        for chain, hook, rules in (
            ("between-nodes", "forward", between),
            ("to-control-plane", "input", arriving),
            ("from-control-plane", "output", leaving),
        ):
            lines += [f"chain {chain} {{", f"type filter hook {hook} priority 0; policy accept;", *rules, "}"]
        lines.append("}")
    return "\n".join(lines) + "\n"


def apply(rules: str) -> None:
    """Put a ruleset in force, at once and wholly. Runs in the sandbox's root namespace; raises IsolationError."""
    run = subprocess.run(
        [find_nft(), "-f", "-"], input=rules, capture_output=True, text=True, env={"LC_ALL": "C"}, check=False
    )
    if run.returncode != 0:
        said = next(iter(run.stderr.splitlines()), f"exit status {run.returncode}")
        raise IsolationError(f"nft refuses rules of the bridge: {said}; is the kernel module nft_meta_bridge there?")
