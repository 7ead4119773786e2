"""``wherry kubeconfig``: where a sandbox's kubeconfig is."""

from __future__ import annotations

from pathlib import Path

import click

from wherry.cli.options import errors, layout, name_option


@click.command()
@name_option
def command(name: str, state_dir: Path | None) -> None:
    """Print the path of a sandbox's kubeconfig.

    \b
      export KUBECONFIG=$(wherry kubeconfig)
    """
    with errors():
        place = layout(name, state_dir)
        place.load()
        click.echo(place.kubeconfig)
