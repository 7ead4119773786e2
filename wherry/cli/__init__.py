"""The command line: one file per command, no logic.

Commands are imported when they are used, so that each starts as fast as what it needs.
"""

from __future__ import annotations

import importlib
import sys

import click

#: Command name → module that holds it as ``command``. Those that start with an underscore are not for people.
COMMANDS = {
    "up": "up",
    "down": "down",
    "status": "status",
    "kubeconfig": "kubeconfig",
    "kubectl": "kubectl",
    "node": "node",
    "server": "server",
    "agent": "agent",
    "dns": "dns",
    "version": "version",
    "completion": "completion",
    "sandbox-supervisor": "sandbox_supervisor",
}


class Commands(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None where there is none of that name."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = importlib.import_module(f"wherry.cli.{module}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def wherry() -> None:
    """A multi-node cluster network of real kernel objects on one Linux machine."""


def main() -> None:
    """Run the command line; errors are one line, and the exit code says whether it worked."""
    try:
        # Commands return nothing; what comes back is the code of one that ended by click's Exit.
        sys.exit(wherry.main(prog_name="wherry", standalone_mode=False))
    except click.Abort:
        click.echo("wherry: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context is not None else ""
        click.echo(f"wherry: {error.format_message()}{hint}", err=True)
        sys.exit(error.exit_code)
