"""``wherry down``: stop a sandbox and remove every trace of it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from wherry.cli.options import errors, layout, name_option


@click.command()
@name_option
@click.option("--all", "everything", is_flag=True, help="Every sandbox.")
def command(name: str, state_dir: Path | None, everything: bool) -> None:
    """Stop a sandbox and remove every trace of it, also after a crash.

    \b
      wherry down
      wherry down --name ci
      wherry down --all
    """
    from wherry.sandbox.layout import names, state_home
    from wherry.sandbox.remove import DownError, down

    with errors():
        wanted = names(state_dir or state_home(os.environ)) if everything else [name]
        failures = []
        for one in wanted:
            try:
                was_there = down(layout(one, state_dir))
            except DownError as error:
                failures.append(str(error))
                continue
            if not was_there:
                raise click.ClickException(f"there is no sandbox {one!r}")
            click.echo(f"sandbox {one!r} removed")
        if everything and not wanted:
            click.echo("there is no sandbox")
        if failures:
            raise click.ClickException("; ".join(failures))
