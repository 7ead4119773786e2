"""``wherry dns query`` and ``wherry dns explain``: a name as it is seen from a pod or a node of a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.options import errors, layout, name_option

if TYPE_CHECKING:
    from wherry.dns.explain.search import Resolver
    from wherry.kube.objects import ConfigMap
    from wherry.sandbox.layout import Layout
    from wherry.sandbox.viewpoint import Viewpoint


def _options(function: Any) -> Any:
    for option in (
        click.option("--from", "pod", default="", metavar="[NAMESPACE/]POD", help="Ask as this pod does."),
        click.option("--type", "-t", "kind", default="A", show_default=True, metavar="TYPE", help="Type of record."),
        name_option,
        click.argument("hostname", metavar="NAME"),
    ):
        function = option(function)
    return function


@click.command()
@_options
def query(hostname: str, name: str, state_dir: Path | None, kind: str, pod: str) -> None:
    """Ask cluster DNS for NAME, and for what a search list makes of it. Exit code 1 where nothing is found.

    \b
      wherry dns query web.shop.svc.cluster.local
      wherry dns query web --from shop/reports            as a program in that pod does
      wherry dns query _http._tcp.web.shop.svc.cluster.local --type SRV
    """
    from wherry.dns.errors import DnsError
    from wherry.dns.explain.ask import NoAnswer
    from wherry.dns.explain.report import queried, questions

    _, view, resolver = _look(name, state_dir, pod)
    if not resolver.servers:
        raise click.ClickException(f"the resolv.conf of {view.name} names no server")
    view.enter()
    click.echo(f"from {view.name}, server {resolver.servers[0]}")
    try:
        found = queried(resolver.servers[0], questions(hostname, kind, resolver), click.echo)
    except (DnsError, NoAnswer, ValueError) as error:
        raise click.ClickException(str(error)) from error
    raise click.exceptions.Exit(0 if found else 1)


@click.command()
@_options
def explain(hostname: str, name: str, state_dir: Path | None, kind: str, pod: str) -> None:
    """Show which server block, plugin and object answers NAME, for every name that a resolver tries.

    Runs the cluster's DNS configuration here, on the node that the question comes from.

    \b
      wherry dns explain web --from shop/reports
      wherry dns explain example.com --type AAAA
    """
    import asyncio
    import tempfile

    from wherry.sandbox.api import ApiUnavailable

    home = layout(name, state_dir)
    try:
        with errors():
            home.load()
            maps = _config_maps(home)
    except ApiUnavailable as error:
        raise click.ClickException(f"the API server does not answer: {error}") from error
    home, view, resolver = _look(name, state_dir, pod)
    click.echo(f"from {view.name}, search {' '.join(resolver.searches) or '(none)'}, ndots {resolver.ndots}")
    with tempfile.TemporaryDirectory(prefix="wherry-") as folder:
        asyncio.run(_explain(home, view, resolver, hostname, kind, Path(folder), *maps))


def _look(name: str, state_dir: Path | None, pod: str) -> tuple[Layout, Viewpoint, Resolver]:
    """Find the place to ask from, and move into its node."""
    from wherry.config.settings import settings_from
    from wherry.dns.explain.search import Resolver, read
    from wherry.sandbox.api import ApiUnavailable
    from wherry.sandbox.viewpoint import Viewpoint

    home = layout(name, state_dir)
    with errors():
        try:
            view = Viewpoint(home, pod)
        except ApiUnavailable as error:
            raise click.ClickException(f"the API server does not answer: {error}") from error
        settings = settings_from(home.load().values)
        view.enter_node()
    if view.resolv_conf is not None:
        return home, view, read(view.resolv_conf.read_text())
    # A node's own programs do not ask cluster DNS; whoever looks from a node wants to see what it would say.
    return home, view, Resolver(tuple(str(address) for address in settings.cluster_dns))


def _config_maps(home: Layout) -> tuple[ConfigMap, ConfigMap | None]:
    """The ConfigMaps `coredns` and, where there is one, `coredns-custom`."""
    import msgspec

    from wherry.kube.objects import ConfigMap
    from wherry.sandbox.api import Api

    listed = Api(home.kubeconfig).get("/api/v1/namespaces/kube-system/configmaps")["items"]
    found = {each["metadata"]["name"]: each for each in listed}
    if "coredns" not in found:
        raise click.ClickException("there is no ConfigMap kube-system/coredns: is coredns disabled?")
    custom = found.get("coredns-custom")
    return msgspec.convert(found["coredns"], ConfigMap), msgspec.convert(custom, ConfigMap) if custom else None


async def _explain(
    home: Layout,
    view: Viewpoint,
    resolver: Resolver,
    hostname: str,
    kind: str,
    folder: Path,
    config: ConfigMap,
    custom: ConfigMap | None,
) -> None:
    from wherry.dns.errors import DnsError
    from wherry.dns.explain.report import explained, questions
    from wherry.dns.explain.serving import LEFT_OUT, serving
    from wherry.dns.nodelocal.files import Folder
    from wherry.kube.endpoint import Endpoint
    from wherry.sandbox.layout import API_SOCKET
    from wherry.server.paths import ServerPaths

    files = Folder(folder, home.resolv_conf, left_out=LEFT_OUT)
    files.write(config, custom)
    token = ServerPaths(home.directory).controllers_token
    try:
        async with serving(files.corefile, lambda: Endpoint.unix(API_SOCKET, token), view.address) as explainer:
            async for line in explained(explainer, questions(hostname, kind, resolver)):
                click.echo(line)
    except* (DnsError, OSError, ValueError) as group:
        raise click.ClickException(str(group.exceptions[0])) from group
