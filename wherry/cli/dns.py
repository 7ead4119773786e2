"""``wherry dns``: the cluster's name server by itself, and what it makes of a name."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from wherry.cli.dns_ask import explain, query


@click.group()
def command() -> None:
    """The cluster's name server, by itself, and what it makes of a name."""


@command.command()
@click.option(
    "--conf",
    "-conf",
    "conf",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The Corefile.  [default: Corefile, if there is one here]",
)
@click.option(
    "--dns.port",
    "-dns.port",
    "port",
    type=click.IntRange(0, 65535),
    default=53,
    show_default=True,
    metavar="PORT",
    help="Port of server blocks that name none.",
)
@click.option(
    "--fronts",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Processes that receive queries.  [default: one for each processor, 4 at most]",
)
@click.option("--quiet", "-quiet", is_flag=True, help="Do not print zones and version at the start.")
def serve(conf: Path | None, port: int, fronts: int | None, quiet: bool) -> None:
    """Answer queries as a Corefile says, in the foreground; CoreDNS' spelling of the options works too.

    \b
    Without a Corefile it answers with who asked (plugins whoami and log), on all addresses.
      wherry dns serve --conf Corefile --dns.port 1053
    SIGUSR1 reads the Corefile again; SIGTERM ends it.
    """  # fmt: skip
    from wherry.dns.server.options import Options
    from wherry.dns.server.parent import serve as run

    sys.exit(run(Options(conf=conf, port=port, fronts=fronts, quiet=quiet)))


command.add_command(query)
command.add_command(explain)
