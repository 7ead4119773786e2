"""``wherry agent``: this host is a node of a server elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from wherry.cli.options import errors, flag_options


@click.command()
@flag_options("agent")
def command(**options: Any) -> None:
    """Join a server and be a node, in the foreground.

    \b
    The token is in the file server/token below the server's --data-dir.
      wherry agent --server https://10.0.0.1:6443 --token K10...::server:...
    """
    from wherry.agent.host import node_addresses, node_resolv_conf, require_root
    from wherry.agent.join import JoinError, join
    from wherry.cli.host import RUN_DIR, read_settings, started_with, supervise
    from wherry.kernel.loop import configure_logging

    with errors():
        settings = read_settings("agent", options)
        require_root("agent")
        if not settings.server or not settings.token:
            raise click.ClickException("--server and --token are needed to join a cluster")
        configure_logging(debug=settings.debug)
        addresses = node_addresses(settings)
        data_dir = settings.data_dir / "agent"
        try:
            files = join(settings.server, settings.token, settings.node_name, addresses, data_dir)
        except JoinError as error:
            raise click.ClickException(str(error)) from error

        # Ranges, DNS and backend are the cluster's, not this machine's.
        settings = read_settings("agent", options, cluster=files.cluster_values())
        addresses = node_addresses(settings)

        from wherry.agent.node import NodeSite
        from wherry.kube.version import GIT_VERSION

        serving, serving_key = files.serving
        site = NodeSite(
            settings=settings,
            name=settings.node_name,
            addresses=addresses,
            run_dir=RUN_DIR / settings.node_name,
            data_dir=data_dir,
            hidden=(str(settings.data_dir),),
            inherited=(),
            endpoint=partial(_endpoint, settings.server, files.context),
            serving=serving,
            serving_key=serving_key,
            client_ca=files.client_authority,
            resolv_conf=node_resolv_conf(settings),
            images=settings.images,
            version=GIT_VERSION,
            labels={},
            config=started_with("agent", options),
        )
    click.echo(f"node {settings.node_name} of {settings.server}; logs in {settings.data_dir / 'log'}")
    supervise(settings.data_dir / "log", site.processes())


def _endpoint(server: str, context: Any) -> Any:
    from wherry.kube.endpoint import Endpoint

    return Endpoint(url=server, ssl=context())
