"""``wherry kubectl``: kubectl with a sandbox's kubeconfig."""

from __future__ import annotations

import os
from pathlib import Path

import click

from wherry.cli.options import errors, layout, name_option


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, state_dir: Path | None, arguments: tuple[str, ...]) -> None:
    """Run kubectl against a sandbox.

    \b
      wherry kubectl get pods -A
      wherry kubectl --name ci -- apply -f app.yaml
    """
    from wherry.sandbox.kubectl import find_kubectl

    with errors():
        place = layout(name, state_dir)
        place.load()
        program = find_kubectl(os.environ)
    os.execve(program, [str(program), *arguments], {**os.environ, "KUBECONFIG": str(place.kubeconfig)})
