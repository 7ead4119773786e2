"""``wherry up``: start a sandbox cluster and return when it is ready."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from wherry.cli.options import check_images, errors, flag_options, given, layout, name_option

_STEPS = {"network": "network and nodes made", "processes": "processes started", "api": "API server ready"}


@click.command()
@name_option
@click.option("--nodes", type=int, default=2, show_default=True, metavar="N", help="How many nodes.")
@click.option(
    "--publish",
    multiple=True,
    metavar="[HOST_ADDRESS:]HOST_PORT:LB_PORT[/udp]",
    help="Let a port of this host lead to a load balancer's port: of 127.0.0.1, or of the address given. "
    "HOST_PORT 0 is any free one. May be given several times.",
)
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="How long to wait until ready.")
@flag_options("server")
def command(
    name: str, state_dir: Path | None, nodes: int, publish: tuple[str, ...], timeout: str, **options: Any
) -> None:
    """Start a sandbox cluster on this machine and return when it is ready.

    \b
    Takes every flag of `wherry server`. Nothing of the host's network is changed, and no root is needed.
    \b
      wherry up                                   two nodes, IPv4
      wherry up --nodes 3 --name ci               a second sandbox beside it
      wherry up --cluster-cidr 10.42.0.0/16,fd00:42::/56 --service-cidr 10.43.0.0/16,fd00:43::/112
      wherry up --images table.yaml               containers that run real programs
      wherry up --publish 8080:80 --publish 0.0.0.0:5353:53/udp
                                                  load balancers' ports on this host
    """
    from wherry.config.parse import seconds
    from wherry.config.resolve import file_arguments, resolve
    from wherry.config.settings import settings_from
    from wherry.kernel.features import check
    from wherry.sandbox import launch

    began = time.monotonic()
    with errors():
        try:
            patience = seconds(timeout)
        except ValueError as error:
            raise click.ClickException(f"--timeout: {timeout!r} is {error}") from error
        place = layout(name, state_dir)
        said = given("server", options)
        values = launch.values_for_sandbox(resolve("server", said, os.environ), list(said))
        settings = settings_from(values)
        launch.check_ranges([*settings.cluster_cidrs, *settings.service_cidrs])
        check_images(settings.images)
        wanted = ["veth", "bridge", "nftables", "nftables NAT"]
        lacking = check(wanted=[*wanted, "vxlan"] if settings.overlay_backend == "vxlan" else wanted)
        if lacking:
            raise click.ClickException("; ".join(missing.line for missing in lacking))

        def progress(step: str) -> None:
            click.echo(f"{time.monotonic() - began:5.1f} s  {_STEPS.get(step, step)}")

        try:
            published = launch.up(
                place,
                values=values,
                nodes=nodes,
                api_port=settings.https_listen_port if "https-listen-port" in said else None,
                images=settings.images,
                publish=publish,
                arguments=[*file_arguments("server", said, os.environ), *sys.argv[2:]],
                timeout=patience,
                said=progress,
            )
        except launch.UpError as error:
            raise click.ClickException(f"sandbox {name!r} did not start: {error}") from error
    plural = "node" if nodes == 1 else "nodes"
    click.echo(f"{time.monotonic() - began:5.1f} s  {nodes} {plural} ready")
    for way in published:
        click.echo(f"published {way}")
    click.echo(f"export KUBECONFIG={place.kubeconfig}")
