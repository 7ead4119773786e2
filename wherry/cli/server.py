"""``wherry server``: the control plane on this host, which is also a node."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from wherry.cli.options import errors, flag_options

_CONTROL_PLANE_LABELS = {"node-role.kubernetes.io/control-plane": "true"}


@click.command()
@flag_options("server")
def command(**options: Any) -> None:
    """Run the control plane on this host, and be a node, in the foreground.

    \b
      wherry server
      wherry server --node-name one --cluster-cidr 10.42.0.0/16 --flannel-backend host-gw
      wherry server --config /etc/wherry/config.yaml
    """
    from wherry.agent.host import node_addresses, node_resolv_conf, require_root
    from wherry.cli.host import RUN_DIR, read_settings, started_with, supervise
    from wherry.kernel.loop import configure_logging

    with errors():
        settings = read_settings("server", options)
        require_root("server")
        if settings.server:
            raise click.ClickException("--server: several servers are not part of this version; use `wherry agent`")
        configure_logging(debug=settings.debug)

        from wherry.agent.node import NodeSite
        from wherry.kube.endpoint import Endpoint
        from wherry.kube.pki import PkiError
        from wherry.kube.version import GIT_VERSION
        from wherry.server.control_plane import ControlPlane, open_sockets
        from wherry.server.credentials import Credentials, server_names
        from wherry.server.paths import ServerPaths

        addresses = node_addresses(settings)
        advertise = (settings.advertise_address,) if settings.advertise_address else addresses
        bind = [settings.bind_address] if settings.bind_address else ["0.0.0.0", "::"]
        sockets = open_sockets([(address, settings.https_listen_port) for address in bind])
        paths = ServerPaths(settings.data_dir)
        try:
            credentials = Credentials(paths)
            credentials.prepare([*server_names(settings), *addresses, *advertise, settings.node_name], settings.token)
        except PkiError as error:
            raise click.ClickException(str(error)) from error
        kubeconfig = settings.kubeconfig or Path("/etc/wherry/wherry.yaml")
        url = f"https://127.0.0.1:{settings.https_listen_port}"
        credentials.write_kubeconfig(kubeconfig, url, settings.kubeconfig_mode)
        plane = ControlPlane(
            settings=settings,
            paths=paths,
            api_socket=RUN_DIR / "api.sock",
            inherited=sockets,
            advertise=advertise,
            advertise_port=settings.advertise_port,
        )
        processes = plane.processes()
        if settings.agent:
            data_dir = settings.data_dir / "agent"
            files = credentials.node(settings.node_name, addresses, data_dir)
            site = NodeSite(
                settings=settings,
                name=settings.node_name,
                addresses=addresses,
                run_dir=RUN_DIR / settings.node_name,
                data_dir=data_dir,
                hidden=(str(settings.data_dir),),
                inherited=sockets,
                endpoint=partial(Endpoint.unix, plane.api_socket, files.token),
                serving=files.serving,
                serving_key=files.serving_key,
                client_ca=files.client_ca,
                resolv_conf=node_resolv_conf(settings),
                images=settings.images,
                version=GIT_VERSION,
                labels=_CONTROL_PLANE_LABELS,
                config=started_with("server", options),
            )
            processes = [*processes, *site.processes()]
    click.echo(f"API on port {settings.https_listen_port}; kubeconfig {kubeconfig}; join token {paths.join_token}")
    supervise(settings.data_dir / "log", processes)
