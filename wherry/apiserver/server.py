"""The API server: puts the parts together, listens, and stops cleanly."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from wherry.apiserver.app import App, PartHandler
from wherry.apiserver.authn import Authenticator
from wherry.apiserver.authn.serviceaccount import ServiceAccountTokens
from wherry.apiserver.authn.tokenfile import TokenFile, TokenFileError
from wherry.apiserver.authz import Rbac
from wherry.apiserver.authz.aggregation import Aggregation
from wherry.apiserver.bootstrap import Bootstrap
from wherry.apiserver.config import ApiServerConfig, ConfigError
from wherry.apiserver.core import Call, Core
from wherry.apiserver.crd.controller import Definitions
from wherry.apiserver.describe import describe
from wherry.apiserver.encode import Tables
from wherry.apiserver.front import Front
from wherry.apiserver.handlers.connect import Kubelets, KubeletTls, handlers
from wherry.apiserver.handlers.creates import TokenRequests, bind, create_part
from wherry.apiserver.handlers.eviction import evict
from wherry.apiserver.handlers.proxy import proxies
from wherry.apiserver.handlers.resource_metrics import ResourceMetrics
from wherry.apiserver.handlers.reviews import Reviews
from wherry.apiserver.join import Joins
from wherry.apiserver.kinds.control.apiservices import GROUP as API_SERVICES
from wherry.apiserver.kinds.model import ClusterDefaults, Subresource
from wherry.apiserver.kinds.resourcemetrics import GROUP as METRICS
from wherry.apiserver.kinds.resourcemetrics import NODE_METRICS, POD_METRICS
from wherry.apiserver.kinds.table import builtin_resources
from wherry.apiserver.metrics import exposition
from wherry.apiserver.occupancy import occupy
from wherry.apiserver.paths import Paths
from wherry.apiserver.quota.quotas import Quotas
from wherry.apiserver.request import Answer
from wherry.apiserver.served import Registry
from wherry.apiserver.status import unavailable
from wherry.apiserver.storage import Log, MemoryLog, Store
from wherry.apiserver.storage.sqlite import SqliteLog
from wherry.apiserver.tls import server_context
from wherry.apiserver.watch import Hub
from wherry.net.service import PortPool, ServiceAddressPool

log = logging.getLogger("wherry.apiserver")


class ApiServer:
    """One API server. `run` serves until cancelled; `started` is set once requests are answered."""

    def __init__(self, config: ApiServerConfig) -> None:
        config.check()
        self._config = config
        self.started = asyncio.Event()
        self._ready = False

    async def run(self) -> None:
        """Serve until cancelled. Raises ConfigError, StorageError or TokenFileError before anything is served."""
        config = self._config
        tokens = _token_file(config)
        tls = server_context(config.tls) if config.tls is not None else None
        async with self._storage() as store:
            core, app, background = self._assemble(store, tokens)
            for work in background.initial:
                await work()
            front = Front(app.handle, shutdown_seconds=config.shutdown_seconds)
            await front.start()
            try:
                for sock in config.plain_sockets:
                    await front.listen(sock)
                for sock in config.tls_sockets:
                    await front.listen(sock, tls)
                # What lives now lives as long as the server: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                self._ready = True
                self.started.set()
                await background.run()
            finally:
                self._ready = False
                core.hub.close()
                await front.stop()

    @asynccontextmanager
    async def _storage(self) -> AsyncIterator[Store]:
        directory = self._config.data_dir
        log_: Log = SqliteLog(directory / "db" / "state.db") if directory is not None else MemoryLog()
        store = Store(log_)
        try:
            yield store
        finally:
            store.close()

    def _assemble(self, store: Store, tokens: TokenFile | None) -> tuple[Core, App, _Background]:
        config = self._config
        clock = partial(datetime.now, UTC)
        low, high = config.service_node_port_range
        rows = builtin_resources() + ((NODE_METRICS, POD_METRICS) if config.resource_metrics else ())
        registry = Registry(store, rows)
        core = Core(
            store=store,
            registry=registry,
            hub=Hub(store),
            tables=Tables(describe, clock),
            rbac=Rbac(store),
            defaults=ClusterDefaults(
                service_cidrs=config.service_cidrs,
                node_port_range=config.service_node_port_range,
                not_ready_toleration=config.default_not_ready_toleration_seconds,
                unreachable_toleration=config.default_unreachable_toleration_seconds,
                allow_privileged=config.allow_privileged,
            ),
            address_pools={f"IPv{one.version}": ServiceAddressPool(one) for one in config.service_cidrs},
            node_ports=PortPool(range(low, high + 1)),
            quotas=Quotas(store, clock),
            notices=config.notices,
            clock=clock,
        )
        audiences = config.audiences or (config.issuer,)
        accounts = _accounts(config, store)
        authenticator = Authenticator(tokens=tokens, accounts=accounts, audiences=audiences)
        reviews = Reviews(authenticator)
        kubelets = _kubelets(config)
        metrics = ResourceMetrics(kubelets)
        app = App(
            core,
            authenticator,
            special={**reviews.handlers(), ("", "bindings"): bind},
            parts=_parts(accounts, audiences),
            connects={**handlers(kubelets), **proxies(kubelets)},
            computed={(METRICS, "nodes"): metrics.nodes, (METRICS, "pods"): metrics.pods},
            paths=Paths(registry, accounts, config, lambda: self._ready, partial(exposition, core)).table(),
            join=Joins(store, config.join, clock).handle if config.join is not None else None,
        )
        return core, app, _Background(config, core)


class _Background:
    """What a server does besides answering: first once, then all the time."""

    def __init__(self, config: ApiServerConfig, core: Core) -> None:
        bootstrap = Bootstrap(core.store, core.clock)
        self._aggregation = Aggregation(core.store)
        self._definitions = Definitions(core.store, core.registry, core.clock)
        self._core = core
        service = partial(
            bootstrap.kubernetes_service,
            ranges=config.service_cidrs,
            addresses=config.advertise_addresses,
            port=config.advertise_port,
        )

        async def api_services() -> None:
            # The group of API services is no API service itself.
            known = (pair for pair in core.registry.group_versions() if pair[0] != API_SERVICES)
            await bootstrap.api_services(known)

        async def restore() -> None:
            self._definitions.restore()
            occupy(core)

        self.initial = (
            bootstrap.namespaces,
            bootstrap.policy,
            bootstrap.priorities,
            api_services,
            self._aggregation.settle,
            service,
            restore,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._core.hub.run())
            tasks.create_task(self._aggregation.run())
            tasks.create_task(self._definitions.run())
            tasks.create_task(self._core.quotas.run())


def _token_file(config: ApiServerConfig) -> TokenFile | None:
    try:
        return TokenFile(config.token_file) if config.token_file is not None else None
    except TokenFileError as error:
        raise ConfigError(str(error)) from error


def _accounts(config: ApiServerConfig, store: Store) -> ServiceAccountTokens | None:
    key = config.service_account_key
    if key is None:
        return None
    if not key.exists():
        raise ConfigError(f"the key for service-account tokens {key} does not exist")

    def uid_of(plural: str, namespace: str, name: str) -> str | None:
        entry = store.bucket(plural).get(f"{namespace}/{name}" if namespace else name)
        return entry.uid if entry is not None else None

    return ServiceAccountTokens(key, issuer=config.issuer, uid_of=uid_of)


def _parts(
    accounts: ServiceAccountTokens | None, audiences: tuple[str, ...]
) -> dict[tuple[str, str, str], PartHandler]:
    async def no_tokens(call: Call, sub: Subresource) -> Answer:
        raise unavailable("this server has no key to sign tokens with")

    return {
        ("", "", "create"): create_part,
        ("", "pods", "eviction"): evict,
        ("", "serviceaccounts", "token"): TokenRequests(accounts, audiences).create if accounts else no_tokens,
    }


def _kubelets(config: ApiServerConfig) -> Kubelets:
    files = config.kubelet
    return Kubelets(KubeletTls(files.certificate, files.key, files.authority) if files is not None else None)
