"""``wherry status``: processes, nodes and addresses of a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from wherry.cli.options import errors, layout, name_option


@click.command()
@name_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(name: str, state_dir: Path | None, output: Literal["text", "json"]) -> None:
    """Show a sandbox's processes, nodes, components and addresses.

    Exits with 1 where a part of it does not run.
    """
    from wherry.sandbox.status import collect, render_json, render_text

    with errors():
        report = collect(layout(name, state_dir))
    click.echo(render_json(report) if output == "json" else render_text(report))
    if not report.healthy:
        raise click.exceptions.Exit(1)
