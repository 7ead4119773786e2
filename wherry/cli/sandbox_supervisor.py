"""``wherry sandbox-supervisor``: the process that ``wherry up`` starts; not for people."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wherry.sandbox.layout import Layout, Record
    from wherry.sandbox.supervisor import Parts, Processes, Site


@click.command(hidden=True)
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("sockets")
@click.argument("progress", type=int)
def command(directory: Path, sockets: str, progress: int) -> None:
    """Supervise the sandbox in DIRECTORY, given its listening sockets and the pipe that `wherry up` reads."""
    import msgspec

    from wherry.kernel.loop import configure_logging
    from wherry.sandbox import published
    from wherry.sandbox.launch import Progress
    from wherry.sandbox.layout import Layout
    from wherry.sandbox.supervisor import SandboxSupervisor

    layout = Layout(directory.parent, directory.name)
    record = layout.load()
    configure_logging(debug=bool(record.values.get("debug")))
    opened = published.inherited(sockets)
    first = len(opened) - len(record.published)
    with open(progress, "wb", buffering=0) as pipe:

        def said(step: str) -> None:
            pipe.write(msgspec.json.encode(Progress(step=step)) + b"\n")

        supervisor = None
        try:
            supervisor = SandboxSupervisor(layout, record, _parts(layout, record, opened[:first], opened[first:]), said)
            supervisor.start(progress)
        except Exception as error:
            traceback.print_exc()
            if supervisor is not None:
                supervisor.abandon()
            pipe.write(msgspec.json.encode(Progress(error=str(error) or repr(error))) + b"\n")
            sys.exit(1)
    supervisor.run()


def _parts(layout: Layout, record: Record, inherited: list[socket.socket], published: list[socket.socket]) -> Parts:
    """Hand the control plane and the agents to the supervisor, which knows neither.

    ``inherited`` are the API server's sockets, ``published`` those of the record's published ports.
    """
    from wherry.agent.nodeconfig import node_config
    from wherry.config.settings import settings_from
    from wherry.sandbox import network
    from wherry.sandbox.layout import API_SOCKET, RUN_DIR
    from wherry.sandbox.supervisor import Parts
    from wherry.server.control_plane import close_all
    from wherry.server.credentials import Credentials, server_names
    from wherry.server.paths import ServerPaths

    settings = settings_from(record.values)
    config = node_config("up", (), record.arguments, os.environ)
    paths = ServerPaths(layout.directory)
    credentials = Credentials(paths)
    hosts = [*server_names(settings), *network.SERVER_ADDRESSES]

    def prepare() -> None:
        credentials.prepare(hosts, settings.token)
        for entry in record.nodes:
            addresses = [str(address) for address in network.addresses(entry.number)]
            credentials.node(entry.name, addresses, layout.agent(entry.name))
        credentials.write_kubeconfig(layout.kubeconfig, f"https://127.0.0.1:{record.api_port}")

    def host(enter: Callable[[], None]) -> Processes:
        from wherry.sandbox import resolver

        def relay() -> None:
            close_all(inherited)
            source = settings.resolv_conf or Path("/etc/resolv.conf")
            resolver.main(enter, network.SERVER_ADDRESSES, source, debug=settings.debug)

        return _without(published, [("resolver", relay)])

    def control_plane() -> Processes:
        from wherry.server.control_plane import ControlPlane

        plane = ControlPlane(
            settings=settings,
            paths=paths,
            api_socket=API_SOCKET,
            inherited=inherited,
            listen=[("0.0.0.0", network.API_PORT), ("::", network.API_PORT)],
            advertise=network.SERVER_ADDRESSES,
            advertise_port=network.API_PORT,
        )
        return [*_without(published, plane.processes()), *publish()]

    def publish() -> Processes:
        if not published:
            return []
        from wherry.kernel.loop import run
        from wherry.kube.endpoint import Endpoint
        from wherry.sandbox.publisher import Publisher

        def main() -> None:
            close_all(inherited)
            endpoint = partial(Endpoint.unix, API_SOCKET, paths.controllers_token)
            run(Publisher(record.published, published).run(endpoint), debug=settings.debug)

        return [("publish", main)]

    def node(site: Site) -> Processes:
        from wherry.agent.node import NodeSite
        from wherry.kube.endpoint import Endpoint
        from wherry.kube.version import GIT_VERSION

        server = f"https://{network.SERVER_ADDRESSES[0]}:{network.API_PORT}"
        data_dir = layout.agent(site.name)
        addresses = tuple(str(address) for address in site.addresses)
        files = credentials.node(site.name, addresses, data_dir)
        one = NodeSite(
            settings=settings,
            name=site.name,
            addresses=addresses,
            run_dir=RUN_DIR / site.name,
            data_dir=data_dir,
            hidden=(str(layout.directory),),
            inherited=inherited,
            # Through the LAN like any node's, so that a partition cuts it from the API server too.
            endpoint=partial(Endpoint.remote, server, files.server_ca, files.token),
            serving=files.serving,
            serving_key=files.serving_key,
            client_ca=files.client_ca,
            resolv_conf=layout.resolv_conf,
            images=layout.images if layout.images.exists() else None,
            version=GIT_VERSION,
            labels={},
            config=config,
        )
        return _without(published, one.processes())

    return Parts(prepare, host, control_plane, node, lambda name: credentials.forget(f"system:node:{name}"))


def _without(sockets: Sequence[socket.socket], processes: Processes) -> Processes:
    """Processes that close these sockets first, as they are others'."""

    def closing(main: Callable[[], None]) -> None:
        for one in sockets:
            one.close()
        main()

    return [(name, partial(closing, main)) for name, main in processes]
