"""`prometheus [ADDRESS] { runtime_metrics }`: figures at /metrics, under CoreDNS' names.

https://coredns.io/plugins/metrics/; what they count is in `wherry.dns.traffic`. The families of Go's runtime are not
there; those of the process (`process_…`) are, and `runtime_metrics` adds Python's.
"""

import platform
from importlib.metadata import version

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

from wherry.dns import names
from wherry.dns.corefile.addresses import endpoint_of
from wherry.dns.corefile.model import Block, Directive, once
from wherry.dns.http import Page
from wherry.dns.metrics import Metrics
from wherry.dns.plugin import Base

_PATH = "/metrics"
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Prometheus(Base):
    """Serves the process' metrics. The server counts the queries of blocks that have this plugin."""

    name = "prometheus"

    def __init__(self, block: Block, host: str, port: int, *, runtime: bool) -> None:
        self._config = block.config
        self._address = (host, port)
        self._runtime = runtime
        self.port = port
        """Where it listens once started; differs from the directive's only for port 0."""

    async def start(self) -> None:
        """Listen; raises OSError."""
        self.port = await self._config.process.http.serve(*self._address, _PATH, self._page)
        metrics = self._config.metrics
        labels = ("version", "revision", "goversion")
        info = metrics.gauge("coredns_build_info", "Information about the server.", labels)
        info.labels(version("wherry"), "", f"python{platform.python_version()}").set(1)
        metrics.counter("coredns_panics_total", "A metrics that counts the number of panics.")
        state = self._config.process.state
        if "prometheus" not in state:
            state["prometheus"] = ProcessCollector(registry=metrics.registry)
        if self._runtime and "prometheus/runtime" not in state:
            state["prometheus/runtime"] = (GCCollector(metrics.registry), PlatformCollector(metrics.registry))
        _say_enabled(metrics, self._config.blocks)

    async def stop(self) -> None:
        """Leave the listener to the next configuration."""
        await self._config.process.http.release(self._address[0], self.port, _PATH, self._page)

    async def _page(self) -> Page:
        await self._config.metrics.traffic.refresh()
        return Page(self._config.metrics.expose(), content_type=_TYPE)


def _say_enabled(metrics: Metrics, blocks: list[Block]) -> None:
    enabled = metrics.gauge(
        "coredns_plugin_enabled",
        "A metric that indicates whether a plugin is enabled on per server and zone basis.",
        ("server", "zone", "view", "name"),
    )
    enabled.clear()
    for block in blocks:
        if Prometheus.name not in block.plugins:
            continue
        for key in block.keys:
            for address in block.bind or ("",):
                server = f"{key.scheme}://{f'[{address}]' if ':' in address else address}:{key.port}"
                for name in block.plugins:
                    enabled.labels(server, names.to_text(key.zone), block.view, name).set(1)


def setup(directives: list[Directive], block: Block) -> Prometheus:
    """Read the directive; raises CorefileError."""
    directive = once(directives)
    if len(directive.args) > 1:
        raise directive.wrong_arguments()
    runtime = False
    for line in directive.body:
        if line.name == "tls":
            raise line.error("metrics over TLS are not part of wherry; there is runtime_metrics")
        if line.name != "runtime_metrics":
            raise line.unknown_property()
        line.arguments(0)
        runtime = True
    address = endpoint_of(directive, directive.args[0] if directive.args else "localhost:9153")
    return Prometheus(block, *address, runtime=runtime)
