"""``wherry version``."""

from __future__ import annotations

import platform

import click


@click.command()
def command() -> None:
    """Print the version of wherry and of what it runs on."""
    from importlib.metadata import version

    click.echo(f"wherry {version('wherry')} (Python {platform.python_version()}, Linux {platform.release()})")
