"""``wherry node``: more nodes, fewer nodes, failures, partitions, and a command inside a node."""

from __future__ import annotations

import os
from pathlib import Path

import click

from wherry.cli.options import errors, layout, name_option


@click.group()
def command() -> None:
    """Add, remove, stop, start, isolate and rejoin nodes of a sandbox, or run a command in one."""


@command.command()
@name_option
@click.argument("node", required=False, default="")
def add(name: str, state_dir: Path | None, node: str) -> None:
    """Add a node and return when its processes run; it is Ready soon after.

    \b
      wherry node add
      wherry node add edge-1
    """
    from wherry.sandbox.control import Request, ask

    with errors():
        reply = ask(_running(name, state_dir), Request("node-add", node))
    click.echo(f"node {reply.node} added")


@command.command()
@name_option
@click.argument("node")
def remove(name: str, state_dir: Path | None, node: str) -> None:
    """Switch a node off for good and delete it from the cluster."""
    from wherry.sandbox.api import Api, ApiUnavailable
    from wherry.sandbox.control import Request, ask

    with errors():
        ask(_running(name, state_dir), Request("node-remove", node))
        try:
            Api(layout(name, state_dir).kubeconfig).delete(f"/api/v1/nodes/{node}")
        except ApiUnavailable as error:
            raise click.ClickException(f"node {node} is gone, its Node object is not: {error}") from error
    click.echo(f"node {node} removed")


@command.command()
@name_option
@click.argument("node")
def stop(name: str, state_dir: Path | None, node: str) -> None:
    """Cut a node's power: everything on it ends at once, the cluster is told nothing."""
    from wherry.sandbox.control import Request, ask

    with errors():
        ask(_running(name, state_dir), Request("node-stop", node))
    click.echo(f"node {node} stopped")


@command.command()
@name_option
@click.argument("node")
def start(name: str, state_dir: Path | None, node: str) -> None:
    """Switch a stopped node on again, with the same name, addresses and files."""
    from wherry.sandbox.control import Request, ask

    with errors():
        ask(_running(name, state_dir), Request("node-start", node))
    click.echo(f"node {node} started")


@command.command()
@name_option
@click.argument("node")
@click.option(
    "--from",
    "others",
    multiple=True,
    metavar="WHAT",
    help="control-plane, nodes (all the others), or the name of one other node; may be given several times  "
    "[default: everything]",
)
def isolate(name: str, state_dir: Path | None, node: str, others: tuple[str, ...]) -> None:
    """Cut a node from the network, as a failed switch does; it runs on and is told nothing.

    Pods of the node still reach each other. What is asked for comes on top of what is cut already, and stays, also
    over `stop` and `start`, until `wherry node rejoin`.

    \b
      wherry node isolate node-2
      wherry node isolate node-2 --from control-plane
      wherry node isolate node-2 --from node-1 --from node-3
    """
    from wherry.sandbox.control import Request, ask

    with errors():
        ask(_running(name, state_dir), Request("node-isolate", node, list(others)))
    click.echo(f"node {node} isolated from {', '.join(others) or 'everything'}")


@command.command()
@name_option
@click.argument("node")
def rejoin(name: str, state_dir: Path | None, node: str) -> None:
    """End all that a node was cut from, also by other nodes' isolation from it by name.

    A node that is not isolated stays as it is; another one that is cut from all nodes stays cut from this one too.
    """
    from wherry.sandbox.control import Request, ask

    with errors():
        ask(_running(name, state_dir), Request("node-rejoin", node))
    click.echo(f"node {node} rejoined")


@command.command()
@name_option
def ls(name: str, state_dir: Path | None) -> None:
    """List the nodes of a sandbox: name, state, addresses, and what a node is isolated from."""
    from wherry.sandbox.control import Request, ask

    with errors():
        nodes = ask(_running(name, state_dir), Request("status")).nodes
    for node in nodes:
        row = [node.name, "running" if node.running else "stopped", ",".join(node.addresses)]
        if node.isolated_from:
            row.append(f"isolated from {','.join(node.isolated_from)}")
        click.echo("\t".join(row))


@command.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("node")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, state_dir: Path | None, node: str, argv: tuple[str, ...]) -> None:
    """Run a command in a node's network, with this machine's files.

    \b
      wherry node exec node-1 -- ip route
      wherry node exec node-2 -- nft list ruleset
    """
    from wherry.sandbox.control import Request, ask
    from wherry.sandbox.visit import enter_node

    # Parsing stops at the node's name, so the customary dashes before a command arrive as an argument.
    argv = argv[1:] if argv[0] == "--" else argv
    if not argv:
        raise click.UsageError("a command is missing after --")
    with errors():
        reply = ask(_running(name, state_dir), Request("status"))
        enter_node(reply, node)
    # Inside a node one is root, also where the login has no path to the programs of administrators.
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = os.pathsep.join(dict.fromkeys([*path, "/usr/sbin", "/sbin"]))
    try:
        os.execvpe(argv[0], argv, {**os.environ, "PATH": found})
    except OSError as error:
        raise click.ClickException(f"{argv[0]}: {error.strerror}") from error


def _running(name: str, state_dir: Path | None) -> Path:
    place = layout(name, state_dir)
    place.load()
    return place.control
